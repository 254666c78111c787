"""Pseudo-label statistics of an evaluation, and its images."""

import numpy as np
import pytest

from ipixmatch_jax.methods import make_method
from tests.references.eval_reference import normalized, toy_logits
from tests.references.toy_evaluation import NETWORKS, Scenes, config_with, evaluator_of

SIZES = ((13, 19),) * 9 + ((9, 25),)


def expected_labels(scenes, variables, confidence):
    kept = right = known = 0
    for image, mask in zip(scenes.images, scenes.masks, strict=True):
        logits = toy_logits(variables, normalized(image))
        probs = np.exp(logits - logits.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        sure = (probs.max(-1) >= confidence) & (mask != 255)
        known += (mask != 255).sum()
        kept += sure.sum()
        right += (sure & (probs.argmax(-1) == mask)).sum()
    assert 0 < right < kept < known
    return {"confidence": confidence, "share": kept / known, "accuracy": right / kept}


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
def test_pseudo_labels_and_pictures_on_eight_devices(parallel):
    scenes, config = Scenes(SIZES), config_with()
    config.method.confidence, config.eval_batch_size, config.tracking.images = 0.6, 8, 3
    evaluator, spread = evaluator_of(config, scenes, devices=8, parallel=parallel)
    results = evaluator(spread.replicate(NETWORKS))
    classes = results["teacher"]["pseudo_label"].pop("classes")
    shares = [one["share"] for one in classes.values()]
    assert sum(shares) == pytest.approx(results["teacher"]["pseudo_label"]["share"])
    assert results["teacher"]["pseudo_label"] == pytest.approx(
        expected_labels(scenes, NETWORKS["teacher"], 0.6), rel=1e-12
    )
    assert "pseudo_label" not in results["student"]
    counts, edges = evaluator.confidences()["confidence/student"]
    assert counts.sum() == sum((mask != 255).sum() for mask in scenes.masks)
    assert (edges[0], edges[-1], len(edges)) == (0, 1, len(counts) + 1)
    pictures = evaluator.validation_images.images()
    assert list(pictures) == [f"validation/s{i}" for i in range(3)]


def test_pictures_show_photo_truth_and_predictions():
    scenes, config = Scenes(SIZES), config_with()
    config.eval_batch_size, config.tracking.images = 2, 4
    evaluator, spread = evaluator_of(config, scenes)
    palette = evaluator._dataset.palette
    palette[:] = np.arange(12).reshape(4, 3) * 20
    evaluator(spread.replicate(NETWORKS))
    pictures = evaluator.validation_images.images()
    # Six batches: the first image of the first, of the last, and of two between.
    assert list(pictures) == ["validation/s0", "validation/s4", "validation/s6", "validation/s9"]
    photo, mask = scenes.images[4], scenes.masks[4]
    colors = np.concatenate([palette, np.full((252, 3), 255, np.uint8)])
    predicted = [toy_logits(v, normalized(photo)).argmax(-1) for v in NETWORKS.values()]
    gap = np.full((13, 4, 3), 255, np.uint8)
    tiles = [photo, gap, colors[mask], gap, colors[predicted[0]], gap, colors[predicted[1]]]
    np.testing.assert_array_equal(pictures["validation/s4"], np.concatenate(tiles, 1))


def test_large_pictures_are_made_small():
    scenes, config = Scenes(((4, 512),)), config_with()
    config.tracking.images = 1
    evaluator, spread = evaluator_of(config, scenes)
    evaluator(spread.replicate(NETWORKS))
    (picture,) = evaluator.validation_images.images().values()
    assert picture.shape == (2, 4 * 256 + 3 * 4, 3)


def test_who_labels():
    expected = {
        "fixmatch": "teacher", "unimatch": "student", "cps": "student", "mean_teacher": "teacher",
        "supervised": "",
    }  # fmt: skip
    assert {name: make_method(name, {}).labeling_network for name in expected} == expected
    assert make_method("fixmatch", {"labeler": "student"}).labeling_network == "student"
