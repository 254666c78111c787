"""The report: numbers against NumPy and SciPy, and the page in a browser."""

import base64
import contextlib
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ipixmatch_jax.config import load_snapshot
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.main import main
from ipixmatch_jax.predictor import load_predictor
from ipixmatch_jax.report import page
from ipixmatch_jax.report.intervals import bootstrap_paired, calibration, paired, spread
from ipixmatch_jax.report.measure import BINS, bin_counts
from ipixmatch_jax.report.runs import check_comparable, grouped, read_run
from ipixmatch_jax.web.explorer import grid_size, packed
from tests.references.browser import Browser
from tests.references.untrained import save_untrained

SECTIONS = ["summary", "curves", "classes", "explorer", "confusion", "calibration", "images"]
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
seen.wide = document.documentElement.scrollWidth - window.innerWidth;
return seen;
})()"""


@pytest.fixture
def one_device(monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)


def data_of(path):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    return json.loads(text[1])


def run_of(config_file, workdir, *overrides, **options):
    save_untrained(config_file, workdir, *overrides, **options)
    return read_run(workdir, load_snapshot(workdir))


def test_the_page_of_a_run(config_file, tmp_path, one_device):
    run_of(config_file, tmp_path / "run", "pictures=0")
    add_throughput_and_labels(tmp_path / "run")
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
    look = shown["looks"][0]
    assert (look["step"], look["images"], look["of"]) == (4, 5, 5)
    check_against_predictions(tmp_path, look)
    # Addresses in the page are names of markup, never places; and the browser forbids the rest.
    assert set(re.findall(r"https?://[^'\"\s<]+", report.read_text())) == {
        "http://www.w3.org/2000/svg"
    }
    assert "default-src 'none'" in report.read_text()
    if not shutil.which("chromium"):
        pytest.skip("all but the browser's part has passed; that one needs chromium")
    drive(report, look, tmp_path)


def add_throughput_and_labels(workdir):
    """What evaluations say of pseudo-labels, and a clock."""
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


def check_against_predictions(tmp_path, look):
    """Confusion, calibration and probabilities by the predictor and NumPy."""
    from PIL import Image

    predict = load_predictor(tmp_path / "run")
    confusion, confidences, right = np.zeros((2, 2), int), [], []
    for i in range(5):
        root = tmp_path / "data" / "val"
        image, mask = (np.asarray(Image.open(root / k / f"v{i}.png")) for k in ("images", "masks"))
        found = predict.look(image, probs=True)
        known = mask != 255
        np.add.at(confusion, (mask[known], found.mask[known]), 1)
        confidences.append(found.confidence[known])
        right.append((found.mask == mask)[known])
        if i == 0:
            got = np.frombuffer(base64.b64decode(look["explorer"][0]["teacher"]), np.uint8)
            np.testing.assert_allclose(got.reshape(20, 24, 2), 255 * found.probs, atol=0.51)
    assert look["confusion"]["teacher"] == confusion.tolist()
    confidence, right = np.concatenate(confidences).astype(np.float64), np.concatenate(right)
    ece, at = 0.0, np.minimum((confidence * 15).astype(int), 14)
    for b in set(at):
        ece += abs(right[at == b].mean() - confidence[at == b].mean()) * (at == b).mean()
    assert look["calibration"]["teacher"]["ece"] == pytest.approx(ece, abs=1e-5)


def drive(report, look, tmp_path):
    """Opens the page in Chromium and compares what a click shows with the affinities of NumPy."""
    with contextlib.closing(Browser(tmp_path / "profile")) as browser:
        browser.resize(390, 900)
        browser.call("Page.navigate", url=report.as_uri())
        browser.wait("document.querySelectorAll('.chart svg').length >= 5")
        seen = browser.run(DRIVER)
    assert browser.complaints == []
    assert seen["sections"] == [*SECTIONS, "pseudo"]
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
    image = look["explorer"][0]
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
    look = data_of(tmp_path / "run" / "report.html")["looks"][0]
    assert "is not a folder" in look["missing"]
    assert "without looking at images" in capsys.readouterr().out


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
    # Both methods have the same random weights here: on every image they are alike.
    assert (pair["images"]["low"], pair["images"]["high"]) == (0.0, 0.0)
    assert ["method.name", ["fixmatch", "fixmatch", "mean_teacher", "mean_teacher"]] in shown[
        "differing"
    ]


def test_runs_that_must_not_stand_side_by_side(config_file, tmp_path, one_device, capsys):
    one = run_of(config_file, tmp_path / "one")
    other = run_of(config_file, tmp_path / "other", "seed=1")
    check_comparable([one, other])
    for run, protocol in ((one, "voc-blended-1_16"), (other, "voc-priority-1_16")):
        run.evaluations[-1]["protocol"] = protocol
    with pytest.raises(DataError, match="either the blended or the priority protocol"):
        check_comparable([one, other])
    run_of(config_file, tmp_path / "third", "data.image_size=(16, 16)")
    command = ["--workdir", str(tmp_path / "one"), "--mode", "report"]
    assert main([*command, "--runs", str(tmp_path / "third")]) == 2
    assert "differ in data.image_size" in capsys.readouterr().err


def test_groups_are_named_by_what_differs(config_file, tmp_path, one_device):
    runs = [
        run_of(config_file, tmp_path / f"r{i}", override)
        for i, override in enumerate(("seed=0", "seed=1", "relation.weight=0.5"))
    ]
    names = grouped(runs)
    assert [members for _, members in names] == [[0, 1], [2]]
    assert names[1][0] == "fixmatch + class_map/kl (weight 0.5)"


def test_paired_needs_two_common_seeds():
    assert paired({0: 0.5, 1: 0.6}, {1: 0.7, 2: 0.9}) is None
    found = paired({0: 0.5, 1: 0.6, 2: 0.4}, {2: 0.5, 0: 0.55, 1: 0.75, 9: 0.0})
    interval = stats.ttest_rel([0.55, 0.75, 0.5], [0.5, 0.6, 0.4]).confidence_interval(0.95)
    assert found["seeds"] == [0, 1, 2]
    assert (found["low"], found["high"]) == pytest.approx(tuple(interval))
    assert spread([0.5]) == {"n": 1, "mean": 0.5, "sd": None}


def test_the_bootstrap_covers_the_difference_of_the_whole():
    rng = np.random.default_rng(0)
    true = rng.integers(50, 100, (40, 2))
    counts = []
    for share in (0.5, 0.6):
        right = (true * rng.uniform(share - 0.1, share + 0.1, true.shape)).astype(int)
        counts.append(np.stack([right, true, right + (true - right)[:, ::-1]], 1))

    def miou(c):
        right, real, predicted = c.sum(0)
        return (right / (real + predicted - right)).mean()

    found = bootstrap_paired(*counts)
    assert found["mean"] == pytest.approx(miou(counts[1]) - miou(counts[0]))
    assert 0 < found["low"] < found["mean"] < found["high"]
    # The standard error by leaving images out one by one.
    each = [miou(np.delete(counts[1], i, 0)) - miou(np.delete(counts[0], i, 0)) for i in range(40)]
    error = np.sqrt(39 / 40 * np.sum((each - np.mean(each)) ** 2))
    assert (found["high"] - found["low"]) / 3.92 == pytest.approx(error, rel=0.15)


def test_calibration_of_a_network_that_is_always_sure_and_right_half_the_time():
    mask = jnp.asarray([[[0, 1, 0, 255]]], jnp.int32)
    bins = bin_counts(jnp.zeros_like(mask), mask, jnp.asarray([[[1.0, 1.0, 0.31, 1.0]]]))
    assert bins.shape == (BINS, 3)
    found = calibration(np.asarray(bins, np.float64))
    assert found["ece"] == pytest.approx((2 * 0.5 + 0.69) / 3)
    assert found["bins"][14] == [2, 0.5, 1.0] and found["bins"][0] == [0, None, None]
    assert found["coverage"][0] == [0.0, 1.0, pytest.approx(2 / 3)]
    assert found["coverage"][-1] == [59 / 60, pytest.approx(2 / 3), 0.5]


def test_probabilities_are_packed_by_cells():
    assert [grid_size(size) for size in ((100, 300), (20, 24), (1, 500))] == [
        (16, 48), (20, 24), (1, 48)
    ]  # fmt: skip
    probs = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
    got = np.frombuffer(base64.b64decode(packed(probs, (2, 3))), np.uint8).reshape(2, 3, 3)
    want = probs.reshape(2, 2, 3, 2, 3).mean((1, 3))
    np.testing.assert_allclose(got, 255 * want, atol=0.51)


def test_names_cannot_break_out_of_the_page():
    evil = "</script><script>alert(1)</script>"
    text = page({"title": evil})
    assert text.count("</script>") == 2 and evil not in text
