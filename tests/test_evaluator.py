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
    return tuple(4 * round(side / 4) for side in image.shape[:2])


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


def test_padding_makes_sizes_few_and_is_not_counted(capsys):
    """Only the network sees the padding, and an image of exact size has none."""
    shapes, config = Shapes(), config_with(pad_to=16)
    config.eval_batch_size = 1
    scenes = Scenes(((13, 19), (9, 25), (17, 33), (3, 18)))
    evaluator, spread = evaluator_of(config, scenes, Toy(seen=shapes))
    actual = evaluator(spread.replicate(NETWORKS))
    assert set(shapes.shapes) == {(1, 17, 33, 3)}
    assert "evaluation (whole-pad16): 4 images of one size" in capsys.readouterr().out

    def padded(variables, image):
        height, width = image.shape[:2]
        below = [(0, 17 - height), (0, 33 - width), (0, 0)]
        return toy_logits(variables, np.pad(image, below, mode="edge"))[:height, :width]

    for network, values in expected_of(scenes, padded).items():
        found = [actual[network]["iou"][name] for name in NAMES]
        np.testing.assert_allclose(np.array(found, float), values["iou"], rtol=1e-12)
        assert "boundary_iou" not in actual[network] and "boundary mIoU" in evaluator.table(actual)
    picture = evaluator.validation_images.images()["validation/s0"]
    assert picture.shape == (13, 4 * 19 + 3 * 4, 3)


def test_many_sizes_are_printed_with_a_remedy(capsys, monkeypatch):
    scenes = Scenes([(20 + n, 30) for n in range(17)])
    evaluator, _ = evaluator_of(config_with(), scenes)
    monkeypatch.setattr("ipixmatch_jax.evaluator.eval_batches", lambda *_, **__: ())
    with pytest.raises(DataError):
        evaluator({"student": None})
    said = "17 images of 17 sizes, each compiled once; eval.pad_to=64 makes that 1, see docs"
    assert said in capsys.readouterr().out


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
