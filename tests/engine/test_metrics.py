import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.engine.metrics import ConfusionMatrix, class_iou, summary, table
from ipixmatch_jax.engine.writers import Writers


def test_counts_equal_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    predicted = rng.integers(0, 5, (3, 7, 9))
    mask = rng.choice([0, 1, 2, 3, 4, 255], (3, 7, 9))
    expected = np.zeros((5, 5), int)
    for p, t in zip(predicted.ravel(), mask.ravel(), strict=True):
        if t != 255:
            expected[t, p] += 1
    count = jax.jit(ConfusionMatrix.from_predictions, static_argnums=2)
    first = count(jnp.asarray(predicted[:2]), jnp.asarray(mask[:2]), 5)
    second = count(jnp.asarray(predicted[2:]), jnp.asarray(mask[2:]), 5)
    merged = ConfusionMatrix.empty(5).merge(first).merge(second)
    np.testing.assert_array_equal(merged.counts, expected)
    np.testing.assert_allclose(merged.compute(), class_iou(expected))


def test_counts_beyond_float32_stay_exact():
    mask = jnp.zeros((2, 4096, 1024), jnp.int32)
    counts = ConfusionMatrix.from_predictions(mask, mask, 2).counts
    assert int(counts[0, 0]) == 2 * 4096 * 1024


def test_iou_and_summary_by_hand():
    # Class 2 never occurs; class 3 is predicted only.
    counts = np.array([[6, 2, 0, 0], [1, 3, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]])
    result = summary(counts, ["a", "b", "c", "d"])
    assert result["iou"] == {"a": pytest.approx(6 / 9), "b": pytest.approx(0.3), "c": None, "d": 0}
    assert result["miou"] == pytest.approx((6 / 9 + 0.3 + 0) / 3)
    assert result["accuracy"] == pytest.approx(9 / 16)
    assert "66.67" in table({"student": result}) and "–" in table({"student": result})


def test_nothing_counted_is_none():
    result = summary(np.zeros((2, 2), int), ["a", "b"])
    assert result["miou"] is None and result["accuracy"] is None


def test_a_resumed_run_drops_the_lines_that_it_writes_again(tmp_path):
    with Writers(tmp_path, 0) as writers:
        for step in (10, 20, 30):
            writers.write(step, {"loss": step / 10})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')  # a killed run
    with Writers(tmp_path, 20) as writers:
        writers.write(30, {"loss": np.float32("nan"), "x": np.float32(1.5)})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 10, "loss": 1.0},
        {"step": 20, "loss": 2.0},
        {"step": 30, "loss": None, "x": 1.5},
    ]
    assert list(tmp_path.glob("events.out.tfevents.*"))
