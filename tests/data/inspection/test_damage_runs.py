"""A training run on damaged data ends with exit code 2 and one message, or the damage is harmless.

In addition to the damage that inspection is tested with, this file has damage for runs only.
"""

import json
from contextlib import closing

import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import eval_batches, load_dataset, train_batches
from ipixmatch_jax.main import main
from tests.references.damages import DAMAGES, PALETTE, change, cut, write

CONFIG = """
from ipixmatch_jax.config import default_config


def get_config():
    config = default_config()
    config.total_steps = config.eval_every = 4
    config.batch_size = config.unlabeled_batch_size = 3
    config.eval_batch_size = 4
    config.log_every, config.pictures = 1, 0
    config.tracking.writers = ()
    config.data.root = {root!r}
    config.data.labeled, config.data.unlabeled = "labeled.txt", "unlabeled.txt"
    config.data.val = "val.txt"
    config.data.num_classes, config.data.palette = 5, {palette!r}
    config.data.crop_size = (16, 16)
    config.model.name = "unet"
    config.model.width, config.model.depth = 4, 1
    config.method.confidence = 0.3
    config.relation.name = "none"
    return config
"""

UNLABELED = "train/images/u2.png"
FATAL = {name: (damage[0], damage[-1]) for name, damage in DAMAGES.items() if damage[1] == "error"}
FATAL["labeled picture in val"] = (DAMAGES["labeled picture in val"][0], "byte for byte")
FATAL |= {
    "val mask value": (change("val/masks/v1.png", lambda m: m * 0 + 7), "v1.png: mask value 7"),
    "val mask of another size": (change("val/masks/v1.png", lambda m: m[:-1]), "mask is 32x23"),
    "cut val image": (cut("val/images/v1.png"), "v1.png: cannot be read"),
    "empty unlabeled image": (write(UNLABELED, b""), "u2.png: cannot be read"),
    "deep unlabeled image": (lambda root: Image.fromarray(np.full((9, 9), 4000, np.uint16)).save(
        root / UNLABELED), "u2.png: uint16 pixels"),
    "folder as unlabeled image": (lambda root: [(root / UNLABELED).unlink(),
                                                (root / UNLABELED).mkdir()], "u2.png: cannot be"),
}  # fmt: skip
HARMLESS = [name for name, damage in DAMAGES.items() if damage[1] == "warning"]


@pytest.fixture
def run(root, tmp_path, monkeypatch, capsys):
    """A function that trains; returns exit code, output (`out`, `err`) and workdir."""
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    (tmp_path / "config.py").write_text(CONFIG.format(root=str(root), palette=PALETTE))

    def train(*options, workdir="run"):
        shared = ["--config", str(tmp_path / "config.py"), "--workdir", str(tmp_path / workdir)]
        with jax.numpy_dtype_promotion("standard"):  # optax.adamw counts steps in int32
            code = main([*shared, *options])
        return code, capsys.readouterr(), tmp_path / workdir

    return train


@pytest.mark.parametrize("name", FATAL)
def test_fatal_damage_ends_a_run_with_one_message(root, run, name):
    damage, message = FATAL[name]
    damage(root)
    code, said, _ = run()
    assert code == 2 and message in said.err and "Traceback" not in said.err
    assert said.err.count("Error: ") == 1


def numbers(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_damage_gives_whole_batches(root, make_config, name):
    DAMAGES[name][0](root)
    config = make_config(root=str(root), num_classes=5, palette=PALETTE)
    dataset = load_dataset(config, 0)
    options = {"batch_size": 3, "unlabeled_batch_size": 3, "seed": 0}
    with closing(train_batches(dataset, config, **options)) as batches:
        seen = [next(batches) for _ in range(3)]
    assert {int(i) for batch in seen for i in batch["unlabeled"]["index"]} >= set(range(6))
    assert {int(value) for batch in seen for value in np.unique(batch["labeled"]["mask"])} <= {
        0, 1, 2, 3, 4, 255
    }  # fmt: skip
    assert sum(len(batch["index"]) for batch in eval_batches(dataset.val, batch_size=5)) == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_damage_trains(root, run, name):
    DAMAGES[name][0](root)
    code, said, workdir = run()
    assert code == 0 and "Error" not in said.err
    losses = [line["loss"] for line in numbers(workdir) if "loss" in line]
    assert len(losses) == 4 and np.isfinite(losses).all()
    assert all("skipped" not in line for line in numbers(workdir))


def skips(workdir):
    return {line["step"]: line["skipped"] for line in numbers(workdir) if "skipped" in line}


def test_skipped_files_are_counted_over_all_starts_of_a_run(root, run, monkeypatch):
    (root / "train/masks/l1.png").write_bytes(b"<html>")
    options = ["--config.data.on_error=skip", "--config.method.name=supervised"]
    code, said, workdir = run(*options)
    counted = skips(workdir)
    # Six labeled images, three a step: once in two steps.
    assert code == 0 and set(counted) == {1, 2, 3, 4} and (counted[2], counted[4]) == (1, 2)
    assert said.out.count(f"skipped {root}/train/images/l1.png") == 1 and "skipped 2" in said.out

    options.append("--config.log_every=3")
    with monkeypatch.context() as patch:
        taken = []
        patch.setattr("ipixmatch_jax.training.Progress.step", lambda self: taken.append(1))
        patch.setattr("ipixmatch_jax.training.StopSignal.__bool__", lambda self: len(taken) >= 2)
        assert run(*options, workdir="stopped")[0] == 0
    assert run(*options, workdir="stopped")[0] == 0
    # Known at the checkpoint, in addition to the log.
    assert skips(workdir.with_name("stopped")) == {step: counted[step] for step in (2, 3, 4)}
