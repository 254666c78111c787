"""Advice on runs names each symptom, the key to change, and an existing section of the page."""

import jax
import pytest

from ipixmatch_jax.config import default_config, load_config
from ipixmatch_jax.run.advice import RULES, advise
from ipixmatch_jax.training import train
from tests.references import ROOT

HEALTHY = {
    "confident_share": 0.7, "class_acceptance/ground": 0.9, "class_acceptance/square": 0.4,
    "teacher_decay": 0.99, "pseudo_label_share": 0.6, "pseudo_label_accuracy": 0.95,
}  # fmt: skip
STEPS = [100, 200, 300, 400]


def curves_of(**changes):
    values = HEALTHY | {name.replace("__", "/"): value for name, value in changes.items()}
    start = {"bad_steps": 0}
    return {name: (STEPS, [start.get(name, 0.3)] * 3 + [v]) for name, v in values.items()}


def evaluations_of(student=(0.5, 0.7, 0.71, 0.71), teacher=(0.5, 0.7, 0.71, 0.71), square=0.5):
    iou = {"ground": 0.9, "square": square, "absent": None}
    return [
        {"step": step, "student": {"miou": s}, "teacher": {"miou": t, "iou": iou}}
        for step, s, t in zip(STEPS, student, teacher, strict=True)
    ]


def config_of(**changes):
    config = default_config()
    config.total_steps, config.method.ramp_start, config.method.ramp_steps = 400, 100, 50
    config.best_network = "teacher"
    config.method.confidence = 0.95
    config.update_from_flattened_dict(changes)
    return config


def test_a_healthy_run_gets_no_advice():
    assert advise(config_of(), curves_of(), evaluations_of()) == []
    assert advise(config_of(), {}, []) == []


CASES = {
    "The run has diverged: the loss of labeled images grew from 0.3 to 1e+06": (
        {}, {"loss_supervised": 1e6}, {},
    ),
    "The run has diverged: 1 of 4 logged steps were not finite": ({}, {"bad_steps": 1}, {}),
    "full weight only after step 450": ({"method.ramp_steps": 350}, {}, {}),
    "Almost no pseudo-label counts: toward the end 0.10 %": ({}, {"confident_share": 0.001}, {}),
    "All pseudo-labels are of the class ground": ({}, {"class_acceptance__square": 0.0}, {}),
    "30 % of the pseudo-labels are wrong": ({}, {"pseudo_label_accuracy": 0.7}, {}),
    "1 of 3 classes stay at an IoU of 0: square": ({}, {}, {"square": 0.0}),
    "The teacher lags: mIoU 50.0, the student has 70.0; it averages over about 100": (
        {}, {}, {"student": (0.5, 0.6, 0.7, 0.7), "teacher": (0.5,) * 4},
    ),
    "still rising at the end, from 60.0 at step 300 to 70.0 at step 400": (
        {}, {}, {"student": (0.3, 0.4, 0.6, 0.7), "teacher": (0.3, 0.4, 0.6, 0.7)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("symptom", CASES)
def test_a_symptom_is_reported_with_its_keys_and_page(symptom):
    config, curves, evaluations = CASES[symptom]
    (found,) = advise(config_of(**config), curves_of(**curves), evaluations_of(**evaluations))
    assert symptom in str(found)
    name, _, section = found.page.partition("#")
    headings = [
        line[3:].strip().lower().translate(str.maketrans(" ", "-", ":,"))
        for line in (ROOT / name).read_text().splitlines()
        if line.startswith("## ")
    ]
    assert section in headings
    keys = [word.strip(",;.").partition("=")[0] for word in found.change.split()]
    known = dict(default_config().iteritems())
    for key in keys:
        group, dot, name = key.partition(".")
        if dot and name and not name[0].isdigit():
            assert name in known[group], key
    assert len(CASES) == len(RULES)


def test_a_supervised_run_gets_no_advice_on_pseudo_labels():
    config = config_of(**{"method.name": "supervised", "method.ramp_start": 9_000})
    assert advise(config, curves_of(confident_share=0.0), evaluations_of()) == []


def test_a_run_that_ends_prints_its_advice(config_file, tmp_path, monkeypatch, capsys):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    config = load_config(str(config_file), ["--config.method.confidence=0.9999"])
    with jax.numpy_dtype_promotion("standard"):  # optax.adamw
        train(config, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "advice: Almost no pseudo-label counts" in printed
    assert "Try a lower method.confidence" in printed and "docs/tuning.md#" in printed
