import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.engine.metrics import (
    CONFIDENCE_BINS,
    ConfidenceCounts,
    ConfusionMatrix,
    PixelCounts,
    class_iou,
    scores,
    summary,
    table,
)
from ipixmatch_jax.tracking.writers import Writers


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


def test_pseudo_labels_equal_a_loop_over_pixels():
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 2, (3, 7, 9, 4)).astype(np.float32)
    mask = rng.choice([0, 1, 2, 3, 255], (3, 7, 9))
    probs = np.exp(logits.astype(np.float64))
    probs /= probs.sum(-1, keepdims=True)
    known, bins = 0, np.zeros(CONFIDENCE_BINS, int)
    kept, right = np.zeros(4, int), np.zeros(4, int)
    for p, label in zip(probs.reshape(-1, 4), mask.ravel(), strict=True):
        if label == 255:
            continue
        known += 1
        bins[int(p.max() * CONFIDENCE_BINS)] += 1
        kept[p.argmax()] += p.max() >= 0.7
        right[p.argmax()] += p.max() >= 0.7 and p.argmax() == label
    assert 0 < right.sum() < kept.sum() < known
    count = jax.jit(ConfidenceCounts.from_logits, static_argnums=(2, 3))
    parts = [
        count(jnp.asarray(logits[rows]), jnp.asarray(mask[rows], jnp.int32), 4, 0.7)
        for rows in (slice(0, 2), slice(2, 3))
    ]
    merged = ConfidenceCounts.empty(4).merge(parts[0]).merge(parts[1])
    np.testing.assert_array_equal(merged.bins, bins)
    found = merged.pseudo_labels(0.7, "abcd")
    assert (found["share"], found["accuracy"]) == (kept.sum() / known, right.sum() / kept.sum())
    for index, name in enumerate("abcd"):
        assert found["classes"][name] == {
            "share": kept[index] / known, "accuracy": right[index] / kept[index]
        }  # fmt: skip
    nothing = {"share": None, "accuracy": None}
    assert ConfidenceCounts.empty(1).pseudo_labels(0.7, "a") == {
        "confidence": 0.7, **nothing, "classes": {"a": nothing}
    }  # fmt: skip


def test_logits_that_are_no_numbers_are_no_prediction_of_background():
    logits = np.zeros((1, 4, 4, 3), np.float32)
    logits[..., 0] = 1.0
    logits[0, 1:] = np.nan  # whose argmax is class 0
    mask = jnp.zeros((1, 4, 4), jnp.int32).at[0, 0, 0].set(255)
    counts = jax.jit(PixelCounts.from_logits, static_argnums=(2, 3))(logits, mask, 3, 0.9)
    assert np.asarray(counts.confusion.counts).tolist() == [[3, 12, 0], [0, 0, 0], [0, 0, 0]]
    assert counts.not_finite() == pytest.approx(12 / 15)
    assert PixelCounts.empty(3).not_finite() == 0
    result = summary(np.asarray(counts.confusion.counts), "abc")
    assert "not a number" not in table({"student": result})
    text = " ".join(table({"student": {**result, "not_finite": 0.8}}).split())
    assert "for 80 % of the pixels the student's output is not a number" in text


def labels_of(**shares):
    classes = {name: {"share": share, "accuracy": 1.0} for name, share in shares.items()}
    total = sum(shares.values())
    return {"confidence": 0.95, "share": total, "accuracy": 1.0, "classes": classes}


def test_labels_of_one_class_alone_are_no_praise():
    student = summary(np.array([[6, 2], [1, 3]]), ["a", "b"])
    labels = labels_of(ground=0.0648, **{name: 0.0 for name in "uvwxyz"})
    lines = table({"teacher": {**student, "pseudo_label": labels}}).splitlines()
    assert lines[-2:] == [
        "  the teacher's labels of confidence ≥ 0.95: 6.48 % of the pixels, 100.00 % of them right",
        "    by class: ground 6.48 %; none for 6 of 7 classes (u, v, w, x, …)",
    ]
    labels = labels_of(**{f"a class of a long name {i}": 0.1 + i / 100 for i in range(6)})
    lines = table({"teacher": {**student, "pseudo_label": labels}}).splitlines()
    assert lines[-3].startswith("    by class: a class of a long name 5 15.00 %; a class")
    assert " ".join(" ".join(lines[-3:]).split()).endswith("2 more")
    assert max(map(len, lines[-3:])) <= 78


def test_pseudo_labels_in_table_and_curves():
    student = summary(np.array([[6, 2], [1, 3]]), ["a", "b"])
    labels = {"confidence": 0.95, "share": 0.25, "accuracy": 0.75}
    results = {"student": student, "teacher": {**student, "pseudo_label": labels}}
    said = "labels of confidence ≥ 0.95: 25.00 % of the pixels, 75.00 % of them right"
    assert table(results).splitlines()[-1] == f"  the teacher's {said}"
    miou = student["miou"]
    assert scores(results) == {
        "miou_student": miou, "miou_teacher": miou,
        "pseudo_label_share": 0.25, "pseudo_label_accuracy": 0.75,
    }  # fmt: skip


def test_dice_and_means_by_both_conventions():
    counts = np.array([[6, 2, 0, 0], [1, 3, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]])
    near = np.array([0.5, 0.25, np.nan, 0.0])
    skip = summary(counts, list("abcd"), boundary_iou=near)
    zero = summary(counts, list("abcd"), boundary_iou=near, absent="zero")
    assert skip["dice"] == {"a": pytest.approx(12 / 15), "b": pytest.approx(6 / 13), "c": None,
                            "d": 0}  # fmt: skip
    assert skip["boundary_iou"] == {"a": 0.5, "b": 0.25, "c": None, "d": 0}
    assert skip["boundary_miou"] == pytest.approx(0.25)
    assert zero["boundary_miou"] == pytest.approx(0.1875)
    assert zero["miou"] == pytest.approx((6 / 9 + 0.3) / 4)
    assert zero["mean_dice"] == pytest.approx((12 / 15 + 6 / 13) / 4)
    assert "counts 0 in the means (eval.absent=zero)" in table({"student": zero}, "zero")
    assert "is left out of the means" in table({"student": skip})


def test_the_table_fits_80_columns():
    result = summary(np.eye(2, dtype=int), ["ground", "x" * 90], boundary_iou=None)
    lines = table({"student": result, "teacher": result}).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(f"  {'x' * 49}…") and "100.00" in line for line in lines)
