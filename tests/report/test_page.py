"""The report: numbers against NumPy and SciPy, and the page in a browser."""

import base64
import contextlib
import json
import re
import shutil

import numpy as np
import pytest
from scipy import stats

from ipixmatch_jax.config import load_snapshot
from ipixmatch_jax.main import main
from ipixmatch_jax.predictor import load_predictor
from ipixmatch_jax.report import page
from ipixmatch_jax.report.runs import read_run
from ipixmatch_jax.workdir.diagnoses import write_diagnosis
from tests.references.browser import Browser
from tests.references.untrained import save_untrained

SECTIONS = ["summary", "curves", "classes", "explorer", "confusion", "calibration", "images"]
DIAGNOSIS = {
    "step": 4,
    "split": "val",
    "images": 5,
    "batches": 3,
    "losses": [
        {"name": name, "kind": "run", "own": not pair}
        | dict.fromkeys(("norm", "truth", "other", "extra_truth", "extra_other"), pair)
        for name, pair in (("supervised", None), ("class_map/kl T 4, valid", [0.5, 0.25]))
    ],
    "recommendation": {"share": 0.5, "lines": ["Nothing is."], "keys": {"relation.weight": 0.5}},
}
# Clicks a pixel, moves by a key, changes the image and the theme; notes what the page then shows.
DRIVER = """(() => {
const seen = { steps: [] };
const canvas = (name) => document.querySelector(`canvas[data-panel=${name}]`);
const drawn = (name) => canvas(name).toDataURL().slice(-400);
const note = (what) => seen.steps.push({
  what,
  text: document.getElementById('readout').textContent,
  table: document.querySelector('.readout table')?.innerText,
  maps: ['teacher', 'student', 'difference'].map(drawn),
});
const click = (row, column) => {
  const box = canvas('photo').getBoundingClientRect();
  const clientX = box.left + (column + 0.5) / 24 * box.width;
  const clientY = box.top + (row + 0.5) / 20 * box.height;
  canvas('photo').dispatchEvent(new MouseEvent('click', { bubbles: true, clientX, clientY }));
};
const key = new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true });
click(5, 7); note('click');
click(15, 20); note('other click');
canvas('teacher').dispatchEvent(key); note('key');
document.querySelectorAll('#explorer .thumb')[1].click(); note('image');
document.getElementById('theme').click(); note('theme');
seen.sections = [...document.querySelectorAll('section')].map((s) => s.id);
seen.titles = [...document.querySelectorAll('.chart')].map((c) => c.innerText);
seen.charts = document.querySelectorAll('.chart svg path').length;
seen.gradients = document.getElementById('gradients').innerText;
seen.wide = document.documentElement.scrollWidth - window.innerWidth;
return seen;
})()"""


def data_of(path):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    return json.loads(text[1])


def run_of(config_file, workdir, *overrides, **options):
    save_untrained(config_file, workdir, *overrides, **options)
    return read_run(workdir, load_snapshot(workdir))


def test_the_page_of_a_run(config_file, tmp_path, one_device):
    run_of(config_file, tmp_path / "run", "pictures=0")
    add_throughput_and_labels(tmp_path / "run")
    write_diagnosis(tmp_path / "run" / "diagnose" / "4.json", DIAGNOSIS)
    assert main(["--workdir", str(tmp_path / "run"), "--mode", "report"]) == 0
    report = tmp_path / "run" / "report.html"
    shown = data_of(report)
    assert shown["runs"][0]["miou"]["teacher"] == [[2, 4], [0.25, 0.5]]
    assert shown["runs"][0]["curves"]["loss"][1] == [1.0, 0.5, 1 / 3, 0.25]
    assert shown["runs"][0]["curves"]["pseudo_label_accuracy"] == [[2, 4], [0.5, 0.75]]
    assert shown["runs"][0]["curves"]["images_per_second"] == [[2, 3, 4], [90.0, 110.0, 100.0]]
    assert ["speed", "100 images/s, 12 % of the time waiting for input"] in shown["runs"][0][
        "facts"
    ]
    assert shown["runs"][0]["diagnosis"] == DIAGNOSIS
    result = shown["results"][0]
    assert (result["step"], result["images"], result["of"]) == (4, 5, 5)
    check_against_predictions(tmp_path, result)
    # Addresses in the page are names of markup, never places; and the browser forbids the rest.
    assert set(re.findall(r"https?://[^'\"\s<]+", report.read_text())) == {
        "http://www.w3.org/2000/svg"
    }
    assert "default-src 'none'" in report.read_text()
    if not shutil.which("chromium"):
        pytest.skip("all but the browser's part has passed; that one needs chromium")
    drive(report, result, tmp_path)


def add_throughput_and_labels(workdir):
    """Pseudo-label statistics of evaluations, and throughput."""
    with (workdir / "metrics.jsonl").open("a") as file:
        for step, accuracy in ((2, 0.5), (4, 0.75)):
            labels = {"pseudo_label_share": 0.25, "pseudo_label_accuracy": accuracy}
            file.write(json.dumps({"step": step, **labels}) + "\n")
    speeds = {2: (90.0, 0.5), 3: (110.0, 0.12), 4: (100.0, 0.01)}
    text = "".join(
        json.dumps({"step": step, "images_per_second": images, "input_wait": waiting}) + "\n"
        for step, (images, waiting) in speeds.items()
    )
    (workdir / "throughput.jsonl").write_text(text)


def check_against_predictions(tmp_path, result):
    """Confusion, calibration and probabilities by the predictor and NumPy."""
    from PIL import Image

    predict = load_predictor(tmp_path / "run")
    confusion, confidences, right = np.zeros((2, 2), int), [], []
    labels = np.zeros((2, 2), int)
    for i in range(5):
        root = tmp_path / "data" / "val"
        image, mask = (np.asarray(Image.open(root / k / f"v{i}.png")) for k in ("images", "masks"))
        found = predict.predict(image, probs=True)
        known = mask != 255
        np.add.at(confusion, (mask[known], found.mask[known]), 1)
        sure = known & (found.confidence >= result["confidence"])
        np.add.at(labels, (mask[sure], found.mask[sure]), 1)
        confidences.append(found.confidence[known])
        right.append((found.mask == mask)[known])
        if i == 0:
            got = np.frombuffer(base64.b64decode(result["explorer"][0]["teacher"]), np.uint8)
            np.testing.assert_allclose(got.reshape(20, 24, 2), 255 * found.probs, atol=0.51)
    assert result["confusion"]["teacher"] == confusion.tolist()
    assert result["labels"]["teacher"] == labels.tolist()
    confidence, right = np.concatenate(confidences).astype(np.float64), np.concatenate(right)
    ece, at = 0.0, np.minimum((confidence * 15).astype(int), 14)
    for b in set(at):
        ece += abs(right[at == b].mean() - confidence[at == b].mean()) * (at == b).mean()
    assert result["calibration"]["teacher"]["ece"] == pytest.approx(ece, abs=1e-5)


def drive(report, result, tmp_path):
    """Opens the page in Chromium and compares what a click shows with the affinities of NumPy."""
    with contextlib.closing(Browser(tmp_path / "profile")) as browser:
        browser.resize(390, 900)
        browser.call("Page.navigate", url=report.as_uri())
        browser.wait("document.querySelectorAll('.chart svg').length >= 5")
        seen = browser.run(DRIVER)
        assert browser.run("document.body.innerText.match(/\\b(null|undefined|NaN)\\b/)") is None
        unsized = "[...document.images].filter((i) => !i.hasAttribute('width')).length"
        assert browser.run(unsized) == 0 < browser.run("document.images.length")
    assert browser.complaints == []
    assert seen["sections"] == [*SECTIONS, "pseudo", "gradients"]
    for text in ("supervised", "–", "0.50 ± 0.25", "Nothing is.", "--config.relation.weight=0.5"):
        assert text in seen["gradients"]
    assert seen["charts"] >= 5
    titles = "\n".join(seen["titles"])
    for title in ("accuracy on validation", "Throughput, images a second", "waits for input"):
        assert title in titles
    assert seen["wide"] <= 0  # nothing makes a phone scroll sideways
    steps = {step["what"]: step for step in seen["steps"]}
    assert steps["click"]["text"].startswith("Row 5, column 7.")
    assert steps["key"]["text"].startswith("Row 15, column 21.")
    for before, after in (("click", "other click"), ("other click", "image"), ("image", "theme")):
        assert steps[before]["maps"][2] != steps[after]["maps"][2], after
    image = result["explorer"][0]
    truth = np.frombuffer(base64.b64decode(image["truth"]), np.uint8)
    pixel = 5 * image["width"] + 7
    for name in ("teacher", "student"):
        probs = np.frombuffer(base64.b64decode(image[name]), np.uint8).reshape(-1, 2).astype(float)
        probs /= probs.sum(1, keepdims=True)
        row = probs @ probs[pixel]
        same, other = (truth == truth[pixel]), (truth != truth[pixel]) & (truth != 255)
        want = [name, f"{row[same].mean():.3f}", f"{row[other].mean():.3f}"]
        assert want in [line.split() for line in steps["click"]["table"].splitlines()]


def test_without_the_images_the_page_says_so(
    config_file, folder_data, tmp_path, one_device, capsys
):
    run_of(config_file, tmp_path / "run")
    folder_data.rename(tmp_path / "away")
    assert main(["--workdir", str(tmp_path / "run"), "--mode", "report"]) == 0
    result = data_of(tmp_path / "run" / "report.html")["results"][0]
    assert "is not a folder" in result["missing"]
    assert "no images, confusion or relations" in capsys.readouterr().out


def test_two_methods_of_two_seeds(config_file, tmp_path, one_device):
    scores = {("a", 0): 0.50, ("a", 1): 0.54, ("b", 0): 0.58, ("b", 1): 0.60}
    for (name, seed), miou in scores.items():
        method = "fixmatch" if name == "a" else "mean_teacher"
        save_untrained(
            config_file, tmp_path / f"{name}{seed}", f"seed={seed}", f"method.name={method}",
            "relation.name=none", mious=(0.1, miou),
        )  # fmt: skip
    first, *others = (str(tmp_path / f"{name}{seed}") for name, seed in scores)
    out = tmp_path / "both.html"
    command = ["--workdir", first, "--mode", "report", "--output", str(out)]
    assert main([*command, "--runs", *others]) == 0
    shown = data_of(out)
    assert [group["name"] for group in shown["groups"]] == ["fixmatch", "mean_teacher"]
    assert shown["groups"][1]["teacher"]["mean"] == pytest.approx(0.59)
    assert shown["groups"][1]["teacher"]["sd"] == pytest.approx(np.std([0.58, 0.60], ddof=1))
    pair = next(p for p in shown["pairs"] if p["network"] == "teacher")
    interval = stats.ttest_rel([0.58, 0.60], [0.50, 0.54]).confidence_interval(0.95)
    assert pair["seeds"]["mean"] == pytest.approx(0.07)
    assert (pair["seeds"]["low"], pair["seeds"]["high"]) == pytest.approx(tuple(interval))
    # Both methods have the same random weights here, so that they agree on every image.
    assert (pair["images"]["low"], pair["images"]["high"]) == (0.0, 0.0)
    assert ["method.name", ["fixmatch", "fixmatch", "mean_teacher", "mean_teacher"]] in shown[
        "differing"
    ]


@pytest.mark.parametrize("evil", ["</script><script>alert(1)</script>", "<!--<script>", "<b>&"])
def test_names_cannot_break_out_of_the_page(evil, tmp_path):
    text = page({"title": evil})
    assert text.count("</script>") == 2 and evil not in text.partition("<body>")[2]
    (tmp_path / "page.html").write_text(text)
    assert data_of(tmp_path / "page.html") == {"title": evil}
