import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import default_config, load_config, recipes
from ipixmatch_jax.data import Dataset
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.inference import make_inference
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.evaluate import Evaluator, _evaluates_as_trained, evaluate, with_split
from ipixmatch_jax.predict import Predictor
from ipixmatch_jax.train import train
from ipixmatch_jax.workdir.results import write_evaluation
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
    toy_variables,
)

SIZES = ((13, 19), (9, 25), (13, 19))
NAMES = tuple("abcd")
# The teacher never predicts d, which no mask holds either.
NETWORKS = {"student": toy_variables(0), "teacher": toy_variables(1, absent=True)}


class Scenes:
    """Random images with masks of classes 0, 1, 2 and 255."""

    def __init__(self, sizes=SIZES):
        rng = np.random.default_rng(0)
        self.ids = [f"s{i}" for i in range(len(sizes))]
        self.images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
        self.masks = []
        for height, width in sizes:
            blocks = rng.choice([0, 1, 2, 255], (-(-height // 5), -(-width // 5)))
            mask = np.kron(blocks, np.ones((5, 5), int))[:height, :width]
            self.masks.append(mask.astype(np.uint8))

    def __len__(self):
        return len(self.images)

    def size(self, index):
        return self.images[index].shape[:2]

    def __getitem__(self, index):
        return {"id": self.ids[index], "image": self.images[index], "mask": self.masks[index]}


def config_with(**changes):
    config = default_config()
    config.data.num_classes, config.data.class_names = CLASSES, NAMES
    config.eval.update(changes)
    return config


def evaluator_of(config, scenes, model=None, devices=1, parallel="pmap"):
    dataset = Dataset(scenes, scenes, scenes, NAMES, np.zeros((CLASSES, 3), np.uint8))
    spread = PARALLEL[parallel](jax.devices()[:devices])
    return Evaluator(config, dataset, model or Toy(), spread), spread


def results_of(config, scenes, model=None, devices=1, parallel="pmap"):
    evaluator, spread = evaluator_of(config, scenes, model, devices, parallel)
    return evaluator(spread.replicate(NETWORKS))


def expected_of(scenes, find):
    """mIoU by class and the like, of `find(variables, image)` → scores, summed over images."""
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
    monkeypatch.setattr("ipixmatch_jax.evaluate._FLUSH_PIXELS", 1)  # to the host every batch
    scenes, config = Scenes(), config_with()
    config.eval_batch_size = 3  # eight devices round it up
    assert len(scenes) == 3
    actual = results_of(config, scenes, devices=8, parallel=parallel)
    check(actual, expected_of(scenes, toy_logits))


def test_every_size_is_compiled_once_and_said_once(capsys):
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
    """The network sees the padding; nothing else does, and an exact size has none."""
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
    picture = evaluator.panels.pictures()["validation/s0"]
    assert picture.shape == (13, 4 * 19 + 3 * 4, 3)


def test_many_sizes_are_said_with_a_remedy(capsys, monkeypatch):
    scenes = Scenes([(20 + n, 30) for n in range(17)])
    evaluator, _ = evaluator_of(config_with(), scenes)
    monkeypatch.setattr("ipixmatch_jax.evaluate.eval_batches", lambda *_, **__: ())
    with pytest.raises(DataError):
        evaluator({"student": None})
    said = "17 images of 17 sizes, each compiled once; with eval.pad_to=64 1, see docs"
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
    with pytest.raises(DataError, match="no pixel that counts"):
        results_of(config_with(), scenes)


def test_results_of_another_kind_have_a_file_of_their_own(tmp_path):
    one, two = {"mode": "whole", "absent": "skip"}, {"mode": "whole-flip", "absent": "skip"}
    first = write_evaluation(tmp_path, 7, "val", {"student": 1}, "voc-fine-92", one)
    write_evaluation(tmp_path, 7, "val", {"teacher": 2}, "voc-fine-92", one)
    other = write_evaluation(tmp_path, 7, "lists/test.txt", {"student": 3}, "", two, apart=True)
    assert (first.name, other.name) == ("7.json", "7-test-whole-flip-skip.json")
    assert json.loads(first.read_text()) == {
        "step": 7, "split": "val", "protocol": "voc-fine-92", "eval": one, "student": 1,
        "teacher": 2,
    }  # fmt: skip
    assert json.loads(other.read_text())["split"] == "lists/test.txt"


def test_a_run_and_what_is_evaluated_of_it_later(config_file, tmp_path, capsys, monkeypatch):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    options = ["--config.total_steps=2", "--config.eval_every=1", "--config.pictures=0"]
    options += ["--config.method.name=supervised", "--config.relation.name=none"]
    run = tmp_path / "run"
    with jax.numpy_dtype_promotion("standard"):  # optax.adamw counts steps in int32
        train(load_config(str(config_file), options), run)
    printed = capsys.readouterr().out
    assert printed.count("5 images of one size, compiled once") == 1
    assert "mean of last 2" in printed and "best is chosen on split val" in printed
    by_step = [json.loads((run / "eval" / f"{step}.json").read_text()) for step in (1, 2)]
    found = json.loads((run / "eval" / "summary.json").read_text())
    for name in ("student", "teacher"):
        scores = [result[name]["miou"] for result in by_step]
        assert found[name]["last"] == {"step": 2, "miou": scores[1]}
        assert found[name]["mean_of_last"]["miou"] == pytest.approx(sum(scores) / 2)
        assert found[name]["best"]["miou"] == max(scores)
    assert found["best_chosen_on"] == "val" and found["eval"]["mode"] == "whole"

    # Of a run from before there was a key, the default is the run's own way.
    snapshot = json.loads((run / "config.json").read_text())
    del snapshot["eval"]["pad_to"]
    (run / "config.json").write_text(json.dumps(snapshot))
    assert _evaluates_as_trained(load_config(str(config_file), options), run)
    flipped = load_config(str(config_file), [*options, "--config.eval.flip=True"])
    before = (run / "eval" / "2.json").read_text()
    evaluate(flipped, run, network="student")
    written = {path.name for path in (run / "eval").iterdir()}
    assert written == {"1.json", "2.json", "summary.json", "2-val-whole-flip-skip.json"}
    assert (run / "eval" / "2.json").read_text() == before


def test_splits(config_file):
    config = load_config(str(config_file))
    splits = {name: with_split(config, name).val.ids for name in ("val", "labeled", "val.txt")}
    assert len(splits["labeled"]) == 6 and splits["val"] == splits["val.txt"]
    assert not set(splits["labeled"]) & set(splits["val"])
    with pytest.raises(
        DataError, match="--split test: expected val, labeled, test where data.test"
    ):
        with_split(config, "test")


def test_the_test_split(config_file, folder_data):
    shutil.copytree(folder_data / "val", folder_data / "test")
    for path in (folder_data / "test/images").iterdir():
        image = 255 - np.asarray(Image.open(path))
        Image.fromarray(image).save(path)
    config = load_config(str(config_file))
    assert with_split(config, "test").val.ids == tuple(f"test/v{i}" for i in range(5))
    (folder_data / "test.txt").write_text("v1\nval/images/v2.png val/masks/v2.png\n")
    config = load_config(str(config_file), ["--config.data.test=test.txt"])
    test = with_split(config, "test").val
    assert test.ids == ("v1", "val/images/v2")
    np.testing.assert_array_equal(test[0]["image"], Image.open(folder_data / "test/images/v1.png"))
    np.testing.assert_array_equal(test[1]["image"], Image.open(folder_data / "val/images/v2.png"))


def test_bad_values_of_eval_are_named(config_file):
    with pytest.raises(ConfigError, match="eval: eval.mode is 'slide'; expected one of whole"):
        load_config(str(config_file), ["--config.eval.mode=slide"])


@pytest.mark.parametrize(("method", "name"), [
    ("unimatch", "sliding-801x801-clip"), ("unimatch_v2", "sliding-798x798-shift")
])  # fmt: skip
def test_cityscapes_is_evaluated_as_the_peers_do(method, name):
    config = recipes.apply(default_config(), method, "cityscapes", 2789)
    assert make_inference(config.eval, config.data.crop_size).name == name
    assert config.eval.absent == "zero"
