"""A run keeps its own images, also when masks are added from day to day."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.config import load_config, write_snapshot
from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.evaluation import evaluate
from ipixmatch_jax.run.images import describe_splits, folder_remarks, own_validation
from ipixmatch_jax.training import train
from ipixmatch_jax.workdir.splits import RunSplits, read_splits, write_splits


@pytest.fixture(autouse=True)
def one_device(monkeypatch, shared_steps):
    devices = jax.devices()[:1]
    monkeypatch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
    with jax.numpy_dtype_promotion("standard"):  # optax.adamw counts steps in int32
        yield


def config_of(config_file, *overrides):
    given = ["total_steps=4", "eval_every=2", "checkpoint_every=2", "pictures=0"]
    return load_config(str(config_file), [f"--config.{one}" for one in (*given, *overrides)])


def stop_after(monkeypatch, steps):
    taken = []
    monkeypatch.setattr(
        "ipixmatch_jax.training.StopSignal.__bool__", lambda self: len(taken) >= steps
    )
    monkeypatch.setattr("ipixmatch_jax.training.Progress.step", lambda self: taken.append(1))


def write_list(folder, name, ids):
    (folder / f"{name}.txt").write_text("\n".join(ids) + "\n")


def test_a_resume_with_other_images_stops_unless_they_are_accepted(
    config_file, folder_data, tmp_path, monkeypatch, capsys
):
    config, run = config_of(config_file), tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        train(config, run)
    first = read_splits(run)
    assert first.kept["val"]["ids"] == ["v0", "v1", "v2", "v3", "v4"]
    # v4 is now a training image, t1 validates, t6 has got a mask, and t2's mask was corrected.
    write_list(folder_data, "labeled", ["t0", "t2", "t3", "t4", "t5", "t6", "val/v4"])
    for kind in ("images", "masks"):
        (folder_data / "train" / kind / "val").mkdir()
        for name, where in (("v4", "train"), ("t1", "val")):
            origin = folder_data / ("val" if name == "v4" else "train") / kind / f"{name}.png"
            goal = folder_data / where / kind
            shutil.copy(origin, goal / "val" if where == "train" else goal)
    write_list(folder_data, "labeled", ["t0", "t2", "t3", "t4", "t5", "t6"])
    write_list(folder_data, "unlabeled", ["t7", "t8", "t9", "t10", "t11"])
    write_list(folder_data, "val", ["v0", "v1", "v2", "v3", "t1"])
    shutil.copy(folder_data / "train/masks/t3.png", folder_data / "train/masks/t2.png")
    config_before = (run / "config.json").read_bytes()
    with pytest.raises(ConfigError) as caught:
        train(config, run)
    message = str(caught.value)
    assert "labeled: 1 added (t6), 1 removed (t1), 1 with other content (t2)" in message
    assert "unlabeled: 1 removed (t6)" in message and "val: 1 added (t1), 1 removed (v4)" in message
    assert "--config.data.changed=accept" in message
    assert read_splits(run) == first and (run / "config.json").read_bytes() == config_before

    accepted = config_of(config_file, "data.changed=accept")
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        train(accepted, run)
    kept = read_splits(run)
    assert kept.kept["val"]["ids"] == ["v0", "v1", "v2", "v3"] and kept.retired == ("v4",)
    assert sorted(kept.kept["labeled"]["ids"]) == ["t0", "t1", "t2", "t3", "t4", "t5", "t6"]
    # Nothing new: the next start asks nobody, and has the same images.
    state = train(config, run)
    assert int(state.step) == 4 and read_splits(run) == kept
    result = json.loads((run / "eval" / "4.json").read_text())
    assert result["data"]["images"] == 4
    assert result["data_changed"] == list(kept.accepted) and "t6" in kept.accepted[0]
    assert "data_changed" not in json.loads((run / "eval" / "2.json").read_text())
    assert "data change accepted at step 3: labeled: 1 added (t6)" in capsys.readouterr().out
    # Put back as v4 among the training images, the validation image does not train.
    write_list(folder_data, "labeled", ["t0", "t2", "t3", "t4", "t5", "t6", "v4"])
    for kind in ("images", "masks"):
        shutil.move(folder_data / "val" / kind / "v4.png", folder_data / "train" / kind)
    train(accepted, run)
    assert "v4" not in read_splits(run).kept["labeled"]["ids"]


def test_evaluating_later_keeps_the_validation_images_of_the_run(
    config_file, folder_data, tmp_path, monkeypatch, capsys
):
    """The hold-out of a folder to which masks are added from day to day."""
    keys = ["data.labeled=", "data.unlabeled=", "data.val=", "data.folder.val_images=none"]
    keys += ["data.folder.group=none", "data.folder.holdout=0.4", "total_steps=2"]
    late = [folder_data / "train" / "masks" / f"t{i}.png" for i in range(4)]
    for path in late:
        path.rename(folder_data / path.name)
    config, run = config_of(config_file, *keys), tmp_path / "run"
    train(config, run)
    own = read_splits(run).kept["val"]["ids"]
    known = json.loads((run / "eval" / "2.json").read_text())
    for path in late:
        (folder_data / path.name).rename(path)
    now = load_dataset(config.data, config.seed)
    assert set(own) < set(now.val.ids)  # adding masks moves no image, but validates on more
    results = evaluate(config, run)
    printed = capsys.readouterr().out
    assert f"evaluated on the run's own {len(own)} images" in printed
    assert results == {name: known[name] for name in ("student", "teacher")}
    assert [path.name for path in (run / "eval").glob("2*.json")] == ["2.json"]
    with pytest.raises(ConfigError, match="4 removed"):
        train(config, run)


def test_masks_added_later_train_and_validation_stays(config_file, folder_data, tmp_path, capsys):
    """Those that a new run would hold out, too; a new run over the same folder holds them out."""
    keys = ["data.labeled=", "data.unlabeled=", "data.val=", "data.folder.val_images=none"]
    keys += ["data.folder.group=none", "data.folder.holdout=0.4", "total_steps=1"]
    late = [folder_data / "train" / "masks" / f"t{i}.png" for i in range(4)]
    for path in (*late, late[0].with_stem("t11"), late[0].with_stem("t10")):
        path.rename(folder_data / path.name)
    run = tmp_path / "run"
    train(config_of(config_file, *keys), run)
    own = read_splits(run).kept["val"]["ids"]
    for path in late:
        (folder_data / path.name).rename(path)
    keys[-1] = "total_steps=2"
    accepted = config_of(config_file, *keys, "data.changed=accept")
    drawn = sorted(set(load_dataset(accepted.data, accepted.seed).val.ids) - set(own))
    assert drawn and set(drawn) < {path.stem for path in late}
    capsys.readouterr()
    train(accepted, run)
    said = f"{len(drawn)} would be held out in a new run and train here ({', '.join(drawn)})"
    assert said in capsys.readouterr().out
    splits = read_splits(run)
    assert splits.kept["val"]["ids"] == own and said in splits.accepted[0]
    assert splits.kept["labeled"]["ids"][-len(drawn) :] == drawn
    assert {path.stem for path in late} < set(splits.kept["labeled"]["ids"])
    assert not set(splits.kept["unlabeled"]["ids"]) & set(splits.kept["labeled"]["ids"])
    train(accepted, tmp_path / "new")
    fresh = read_splits(tmp_path / "new").kept
    assert set(fresh["val"]["ids"]) == {*own, *drawn}


def test_images_on_which_a_run_trained_are_named_when_they_are_evaluated(
    config_file, folder_data, tmp_path, capsys
):
    config, run = config_of(config_file, "total_steps=2"), tmp_path / "run"
    train(config, run)
    write_list(folder_data, "labeled", ["t2", "t3"])
    write_list(folder_data, "later", ["v0", "t0", "t1"])
    for kind in ("images", "masks"):
        for name in ("t0", "t1"):
            shutil.copy(folder_data / "train" / kind / f"{name}.png", folder_data / "val" / kind)
            (folder_data / "train" / kind / f"{name}.png").unlink()
    evaluate(config, run, split="later.txt")
    assert "warning: 2 of the 3 images have the ids of images on which" in capsys.readouterr().out
    (path,) = (run / "eval").glob("2-later-*.json")
    assert json.loads(path.read_text())["trained_on"] == ["t0", "t1"]


def test_a_damaged_list_of_images_is_named(config_file, tmp_path):
    config, run = config_of(config_file, "total_steps=2"), tmp_path / "run"
    train(config, run)
    (run / "splits.json").write_bytes(b'{"labeled": {"ids"\xff')
    with pytest.raises(ConfigError, match=r"splits.json cannot be read .*another --workdir"):
        train(config, run)
    (run / "splits.json").unlink()
    train(config, run)  # an older version wrote none
    assert read_splits(run).kept["val"]["ids"] == ["v0", "v1", "v2", "v3", "v4"]


def test_a_hold_out_of_another_folder_is_told(config_file, folder_data, tmp_path):
    words = ["data.val=", "data.folder.val_images=none"]
    config, run = config_of(config_file, *words), tmp_path / "run"
    run.mkdir()
    write_snapshot(config, run)
    assert folder_remarks(config, run, load_dataset(config.data, config.seed)) == []
    shutil.copytree(folder_data, tmp_path / "other")
    config = config_of(config_file, *words, f"data.root={tmp_path / 'other'}")
    dataset = load_dataset(config.data, config.seed)
    (remark,) = folder_remarks(config, run, dataset)
    assert "of 6 images with masks a hold-out chooses 1, which are evaluated" in remark
    assert folder_remarks(config, run, dataset, own=False) == []


def test_copies_of_training_images_under_other_names_are_told(config_file, folder_data, tmp_path):
    config, run = config_of(config_file), tmp_path / "run"
    run.mkdir()
    found = describe_splits(load_dataset(config.data, config.seed))
    write_splits(run, RunSplits(found, found))
    for kind in ("images", "masks"):
        copy = folder_data / "val" / kind / "v3.png"
        (folder_data / "train" / kind / "t1.png").replace(copy)
    write_list(folder_data, "labeled", ["t2", "t3"])
    dataset = load_dataset(config.data, config.seed)
    _, notes, facts = own_validation(dataset, config, run)
    assert "1 of the 5 images are copies, under other names" in notes[-1] and "(v3)" in notes[-1]
    assert facts["trained_on"] == ["v3"]


def test_validation_masks_drawn_anew_are_told_when_they_are_evaluated(
    config_file, folder_data, tmp_path
):
    config, run = config_of(config_file), tmp_path / "run"
    run.mkdir()
    dataset = load_dataset(config.data, config.seed)
    found = describe_splits(dataset)
    write_splits(run, RunSplits(found, found))
    assert own_validation(dataset, config, run)[1:] == ([], {})
    path = next((folder_data / "val" / "masks").glob("v3.*"))
    Image.fromarray(1 - np.asarray(Image.open(path)) % 2).save(path)
    _, (note,), facts = own_validation(load_dataset(config.data, config.seed), config, run)
    assert "1 of the 5 images or their masks are other files than in training (v3)" in note
    assert facts == {"other_content": ["v3"]}
