"""Planned keys: which values count as planned, and that a run keeps its own plan."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import flatten, load_config, overview, with_run_values, write_snapshot
from ipixmatch_jax.config.planned import plan_lines, planned
from ipixmatch_jax.devices.machine import Machine
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.main import main
from ipixmatch_jax.training import train


@pytest.fixture(autouse=True)
def laptop(monkeypatch):
    place = "ipixmatch_jax.config_files.folder"
    machine = Machine("cpu", 1, 16 * 10**9, 2)
    monkeypatch.setattr(f"{place}.this_machine", lambda: machine)
    monkeypatch.setattr(f"{place}.are_here", lambda *_: False)


def add(folder, name, size, *, mask=False):
    """A noisy photo; with a mask, a square in it is of class 1."""
    rng = np.random.default_rng(abs(hash(name)) % 1000)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    image = rng.integers(0, 120, (*size, 3), np.uint8)
    top = int(rng.integers(0, size[0] // 2))
    where = np.s_[top : top + size[0] // 3, 5 : size[1] // 2]
    image[where] += 120
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    if mask:
        ids = np.zeros(size, np.uint8)
        ids[where] = 1
        Image.fromarray(ids).save(folder / "masks" / f"{name}.png")


@pytest.fixture
def photos(tmp_path):
    for number in range(6):
        add(tmp_path / "photos", f"p{number}", (40, 50), mask=number < 4)
    return tmp_path / "photos"


def grow(photos):
    """Twenty larger photos without masks."""
    for number in range(20):
        add(photos, f"q{number}", (150, 180))


def load(photos, *keys):
    return load_config(f"folder:{photos}", [f"--config.{key}" for key in keys])


def test_every_planned_key_has_its_value_and_a_reason(photos):
    config, given = load(photos), load(photos, "total_steps=150", "teacher.decay=0.5")
    values = dict(flatten(config))
    chosen = planned(config)
    assert len(chosen) == len(config.planned) > 15
    for name, choice in chosen.items():
        assert values[name] == choice.value and choice.why
    # What the command line sets is not planned, and what depends on it follows.
    assert not {"total_steps", "teacher.decay"} & set(planned(given))
    assert given.total_steps == 150 and given.teacher.decay == 0.5
    assert given.method.ramp_start == 22 and config.method.ramp_start == 150


def test_a_file_that_changes_the_plan_makes_its_own_choice(photos, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "from ipixmatch_jax.config_files import folder\n\n\n"
        "def get_config(arg):\n    config = folder.get_config(arg)\n"
        "    config.total_steps = 77\n    return config\n"
    )
    config = load_config(f"{own}:{photos}")
    assert config.total_steps == 77 and "total_steps" not in planned(config)
    assert "batch_size" in planned(config)


def test_the_plan_is_printed_by_inspect_and_marked_at_the_start_of_a_run(photos, capsys):
    assert main(["--mode", "inspect", "--config", f"folder:{photos}"]) == 0
    printed = capsys.readouterr().out
    config = load(photos, "teacher.decay=0.5")
    lines = plan_lines(load(photos))
    assert "\n".join(lines) in printed
    crop = config.data.crop_size[0]
    assert f"data.crop_size=({crop}, {crop}): the photos' median is 40 x 50" in printed
    # Keys with one reason share a line.
    assert sum("model." in line for line in lines) == 1
    shown = overview(config, photos)
    assert f"crop_size=({crop}, {crop})*" in shown and "decay=0.5*" not in shown
    assert "* planned from the photos and the device" in shown


@pytest.fixture
def run(photos, tmp_path):
    """The folder of a run with a checkpoint, and its config."""
    config = load(photos)
    (tmp_path / "run/checkpoints/1").mkdir(parents=True)
    write_snapshot(config, tmp_path / "run")
    return tmp_path / "run", config


def test_a_run_keeps_its_plan_when_photos_are_added(photos, run):
    workdir, config = run
    grow(photos)
    changed = load(photos)
    assert changed.data.crop_size != config.data.crop_size
    assert changed.total_steps == config.total_steps  # the least, both times
    kept = with_run_values(changed, workdir)
    assert dict(flatten(kept)) == dict(flatten(config))
    assert write_snapshot(kept, workdir) == []
    assert dict(flatten(kept.copy_and_resolve_references())) == dict(flatten(config))


def test_a_key_of_the_user_is_compared_with_the_run_as_always(photos, run):
    workdir, config = run
    side = config.data.crop_size[0]
    other = with_run_values(load(photos, "data.crop_size=(65,65)"), workdir)
    with pytest.raises(ConfigError, match=rf"crop_size: the run has \[{side}, {side}\], now"):
        write_snapshot(other, workdir)
    # The run's own value may be given, and total_steps may grow; the ramp is still the run's.
    same = load(photos, f"data.crop_size=({side},{side})", "total_steps=3000")
    kept = with_run_values(same, workdir)
    assert "total_steps was 1000 and is now 3000" in write_snapshot(kept, workdir)[0]
    assert kept.method.ramp_start == config.method.ramp_start != same.method.ramp_start


def test_steps_of_the_first_command_are_kept_without_being_repeated(photos, tmp_path):
    (tmp_path / "run/checkpoints/1").mkdir(parents=True)
    write_snapshot(load(photos, "total_steps=150"), tmp_path / "run")
    kept = with_run_values(load(photos), tmp_path / "run")
    assert kept.total_steps == 150 and kept.method.ramp_start == 22
    assert write_snapshot(kept, tmp_path / "run") == []


def test_a_run_from_before_there_was_a_plan_resumes(photos, run):
    """With the values that the config folder had then."""
    workdir, _ = run
    before = {"total_steps": 5000, "batch_size": 8, "unlabeled_batch_size": 8}
    saved = json.loads((workdir / "config.json").read_text())
    del saved["planned"]
    saved |= before
    saved["data"]["crop_size"] = [321, 321]
    saved["model"] |= {"separable": None, "decoder_channels": None}
    saved["method"] |= {"ramp_start": 200, "ramp_steps": 500}
    saved["teacher"]["decay"] = 0.996
    (workdir / "config.json").write_text(json.dumps(saved))
    config = with_run_values(load(photos), workdir)
    assert {name: config[name] for name in before} == before
    assert config.data.crop_size == (321, 321) and config.model.separable is None
    assert write_snapshot(config, workdir) == []


def test_a_run_goes_on_with_its_network_on_another_machine(photos, tmp_path, monkeypatch):
    place = "ipixmatch_jax.config_files.folder"
    here = load(photos)
    gpu = Machine("gpu", 1, 12 * 10**9, 8)
    monkeypatch.setattr(f"{place}.this_machine", lambda: gpu)
    monkeypatch.setattr(f"{place}.are_here", lambda *_: True)
    there = load(photos)
    assert (here.model.name, there.model.name) == ("deeplabv3plus", "dpt")
    for number, (first, second) in enumerate([(here, there), (there, here)]):
        workdir = tmp_path / f"run{number}"
        (workdir / "checkpoints/1").mkdir(parents=True)
        write_snapshot(first, workdir)
        kept = with_run_values(second, workdir)
        assert dict(flatten(kept)) == dict(flatten(first))
        assert write_snapshot(kept, workdir) == []


def test_training_goes_on_after_photos_were_added(photos, tmp_path, one_device, capsys):
    small = ("model.name=unet", "model.width=4", "model.depth=1", "method.confidence=0.3",
             "data.crop_size=(17,17)", "pictures=0",
             "data.changed=accept")  # fmt: skip
    first = load(photos, *small, "total_steps=2")
    with jax.numpy_dtype_promotion("standard"):  # as in tests/test_train.py
        train(first, tmp_path / "run")
    grow(photos)
    more = load(photos, *small, "total_steps=3")
    assert more.unlabeled_batch_size != first.unlabeled_batch_size == 2
    capsys.readouterr()
    with jax.numpy_dtype_promotion("standard"):
        assert int(train(more, tmp_path / "run").step) == 3
    assert "unlabeled_batch_size=2*" in capsys.readouterr().out
    saved = json.loads((tmp_path / "run/config.json").read_text())
    assert saved["unlabeled_batch_size"] == 2 and saved["total_steps"] == 3
