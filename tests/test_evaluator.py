import numpy as np
import pytest

from ipixmatch_jax.config import default_config, recipes
from ipixmatch_jax.engine.inference import make_inference
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.predictor import Predictor
from tests.references.eval_reference import (
    CLASSES,
    Shapes,
    Toy,
    boundary_counts,
    confusion,
    normalized,
    resize,
    sliding_clipped,
    softmax,
    toy_logits,
)
from tests.references.toy_evaluation import (
    NAMES,
    NETWORKS,
    SIZES,
    Scenes,
    config_with,
    evaluator_of,
)


def results_of(config, scenes, model=None, devices=1, parallel="pmap"):
    evaluator, spread = evaluator_of(config, scenes, model, devices, parallel)
    return evaluator(spread.replicate(NETWORKS))


def expected_of(scenes, find):
    """IoU by class and other results of `find(variables, image)` → scores, summed over images."""
    results = {}
    for name, variables in NETWORKS.items():
        counts, near = np.zeros((CLASSES, CLASSES)), np.zeros((2, CLASSES))
        for image, mask in zip(scenes.images, scenes.masks, strict=True):
            predicted = find(variables, normalized(image)).argmax(-1)
            counts += confusion(predicted, mask)
            near += boundary_counts(predicted, mask)
        hit, both = np.diag(counts), counts.sum(0) + counts.sum(1)
        with np.errstate(invalid="ignore"):
            results[name] = {
                "iou": hit / (both - hit),
                "dice": 2 * hit / both,
                "boundary_iou": near[0] / near[1],
            }
    return results


def check(actual, expected):
    means = {"iou": "miou", "dice": "mean_dice", "boundary_iou": "boundary_miou"}
    for network, values in expected.items():
        for key, by_class in values.items():
            found = np.array([actual[network][key][name] for name in NAMES], float)
            np.testing.assert_allclose(found, by_class, rtol=1e-12, err_msg=f"{network} {key}")
            mean = np.nanmean(by_class)
            assert actual[network][means[key]] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize(("changes", "multiple", "sizes", "find"), [
    ({}, 1, SIZES, toy_logits),
    ({}, 4, SIZES, lambda v, x: resize(toy_logits(v, resize(x, nearest_four(x))), x.shape[:2])),
    ({"mode": "sliding", "window": (9, 9), "border": "clip"}, 1, ((13, 11),),
     lambda v, x: sliding_clipped(v, x, 9)),
])  # fmt: skip
def test_everything_equals_numpy_on_odd_sizes(changes, multiple, sizes, find):
    scenes = Scenes(sizes)
    actual = results_of(config_with(**changes), scenes, Toy(size_multiple=multiple))
    check(actual, expected_of(scenes, find))


def nearest_four(image):
    return tuple(4 * int(side / 4 + 0.5) for side in image.shape[:2])


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
def test_no_image_counts_twice_on_eight_devices(parallel, monkeypatch):
    monkeypatch.setattr("ipixmatch_jax.evaluator._FLUSH_PIXELS", 1)  # to the host every batch
    scenes, config = Scenes(), config_with()
    config.eval_batch_size = 3  # eight devices round it up
    assert len(scenes) == 3
    actual = results_of(config, scenes, devices=8, parallel=parallel)
    check(actual, expected_of(scenes, toy_logits))


def test_every_size_is_compiled_once_and_printed_once(capsys):
    shapes = Shapes()
    config = config_with()
    config.eval_batch_size = 1
    evaluator, spread = evaluator_of(config, Scenes(), Toy(seen=shapes))
    networks = spread.replicate(NETWORKS)
    evaluator(networks)
    traced = len(shapes.shapes)
    assert set(shapes.shapes) == {(1, 13, 19, 3), (1, 9, 25, 3)}
    assert capsys.readouterr().out == (
        "evaluation (whole): 3 images of 2 sizes, each compiled once\n"
    )
    evaluator(networks)
    assert len(shapes.shapes) == traced and not capsys.readouterr().out


MANY = ((13, 19), (9, 25), (17, 33), (3, 18), (13, 18), (20, 11), (13, 19))


@pytest.mark.parametrize(("changes", "multiple", "find"), [
    ({}, 1, toy_logits),
    ({}, 4, lambda v, x: resize(toy_logits(v, resize(x, nearest_four(x))), x.shape[:2])),
    ({"mode": "resize", "size": (10, 12)}, 1,
     lambda v, x: resize(toy_logits(v, resize(x, (10, 12))), x.shape[:2])),
    ({"scales": (0.5, 1.0), "flip": True}, 1, lambda v, x: averaged(v, x)),
])  # fmt: skip
def test_images_of_many_sizes_share_frames_with_equal_results(changes, multiple, find, capsys):
    shapes, scenes = Shapes(), Scenes(MANY)
    config = config_with(shapes=2, **changes)
    toy = Toy(seen=shapes, size_multiple=multiple, frame_multiple=8)
    actual = results_of(config, scenes, toy)
    check(actual, expected_of(scenes, find))
    assert "7 images of 6 sizes in 2 frames, each compiled once: " in capsys.readouterr().out
    passes = 4 if "scales" in changes else 1
    assert len(shapes.shapes) == 2 * len(NETWORKS) * passes


def averaged(variables, image):
    passes = []
    for scale in (0.5, 1.0):
        small = resize(image, tuple(max(round(side * scale), 1) for side in image.shape[:2]))
        for step in (1, -1):
            logits = toy_logits(variables, small[:, ::step])[:, ::step]
            passes.append(softmax(resize(logits, image.shape[:2])))
    return np.mean(passes, 0)


def test_frames_on_eight_devices_show_images_without_the_rest():
    scenes, config = Scenes(MANY), config_with(shapes=2)
    config.eval_batch_size = 3  # eight devices round it up
    evaluator, spread = evaluator_of(config, scenes, Toy(frame_multiple=8), 8)
    check(evaluator(spread.replicate(NETWORKS)), expected_of(scenes, toy_logits))
    picture = evaluator.validation_images.images()["validation/s0"]
    assert picture.shape == (13, 4 * 19 + 3 * 4, 3)


@pytest.mark.parametrize(("changes", "multiple", "reason"), [
    ({}, 0, "this model has no frames"),
    ({"shapes": 0}, 8, None),
    ({"mode": "sliding", "window": (9, 9)}, 8, "eval.mode='sliding' has no frames"),
])  # fmt: skip
def test_what_cannot_share_frames_is_compiled_by_size(
    changes, multiple, reason, capsys, monkeypatch
):
    evaluator, _ = evaluator_of(config_with(**changes), Scenes(MANY), Toy(frame_multiple=multiple))
    monkeypatch.setattr("ipixmatch_jax.evaluator.eval_batches", lambda *_, **__: ())
    with pytest.raises(DataError):
        evaluator({"student": None})
    because = f", because {reason}; see docs/evaluation.md" if reason else ""
    assert f"7 images of 6 sizes, each compiled once{because}\n" in capsys.readouterr().out


def test_classes_that_occur_nowhere_by_either_convention():
    scenes = Scenes(SIZES[:1])
    both = [results_of(config_with(absent=name), scenes) for name in ("skip", "zero")]
    skip, zero = (results["teacher"] for results in both)
    assert skip["iou"]["d"] is None and zero["iou"]["d"] is None
    known = [skip["iou"][name] for name in "abc"]
    assert skip["miou"] == pytest.approx(sum(known) / 3)
    assert zero["miou"] == pytest.approx(sum(known) / 4)
    assert zero["mean_dice"] == pytest.approx(0.75 * skip["mean_dice"])


def test_predictions_are_those_that_are_evaluated():
    image = Scenes().images[0]
    config = config_with(mode="sliding", window=(7, 7), border="clip")
    predict = Predictor(config, Toy(), NETWORKS["student"])
    expected = sliding_clipped(NETWORKS["student"], normalized(image), 7).argmax(-1)
    np.testing.assert_array_equal(predict(image), expected)


def test_masks_without_a_class():
    scenes = Scenes(SIZES[:1])
    scenes.masks = [np.full_like(mask, 255) for mask in scenes.masks]
    with pytest.raises(DataError, match="hold only ignored pixels"):
        results_of(config_with(), scenes)


@pytest.mark.parametrize(("method", "name"), [
    ("unimatch", "sliding-801x801-clip"), ("unimatch_v2", "sliding-798x798-shift")
])  # fmt: skip
def test_cityscapes_is_evaluated_as_the_peers_do(method, name):
    config = recipes.apply(default_config(), method, "cityscapes", 2789)
    assert make_inference(config.eval, config.data.crop_size).name == name
    assert config.eval.absent == "zero"
