"""Keys that nothing reads are told, and no others."""

import pytest

from ipixmatch_jax.config import default_config, load_config, load_snapshot, with_overrides
from ipixmatch_jax.config.snapshot import write_snapshot
from ipixmatch_jax.config.without_effect import without_effect


def told(*overrides):
    config = with_overrides(default_config(), [f"--config.{one}" for one in overrides])
    return without_effect(config, [one.partition("=")[0] for one in overrides])


@pytest.mark.parametrize(
    ("ignored", "chosen", "unfit"),
    [
        ("data.ignore_colors=((0,0,0),)", "data.masks=colors", "data.masks=ids"),
        ("data.ignore_values=(3,)", "data.masks=ids", "data.masks=colors"),
        ("data.mask_values=(0,255)", "data.masks=ids", "data.masks=binary"),
        ("data.voc.sbd=sbd", "data.name=voc", "data.name=folder"),
        ("eval.window=(65,65)", "eval.mode=sliding", "eval.mode=whole"),
        ("eval.size=(65,65)", "eval.mode=resize", "eval.mode=sliding"),
        ("method.threshold_steps=100", "method.threshold=ramp", "method.threshold=constant"),
        ("optimizer.momentum=0.5", "optimizer.name=sgd", "optimizer.name=adamw"),
        ("optimizer.power=2.0", "optimizer.schedule=poly", "optimizer.schedule=cosine"),
        ("relation.features=encoder", "relation.on=features", "relation.on=probs"),
        ("supervised.gamma=3.0", "supervised.name=focal", "supervised.name=ohem"),
        ("supervised.min_pixels=5", "supervised.name=ohem", "supervised.name=dice"),
        ("teacher.decay=0.9", "teacher.kind=ema", "teacher.kind=student"),
    ],
)
def test_a_key_needs_the_value_of_another(ignored, chosen, unfit):
    assert not told(ignored, chosen)
    (line,) = told(ignored, unfit)
    assert line.startswith(f"{ignored.partition('=')[0]} has no effect: it needs {chosen}")


def test_relations_and_views_without_a_method_that_has_them():
    (line,) = told("relation.weight=0.3", "relation.name=none")
    assert line == "relation.weight has no effect: relation.name is 'none'"
    lines = told("method.name=supervised", "relation.weight=0.3", "views.hue=0.1", "batch_size=2")
    assert [line.partition(" ")[0] for line in lines] == ["relation.weight", "views.hue"]
    assert not told("method.name=supervised", "relation.name=none")


@pytest.mark.parametrize("ignored, unfit, fit", [
    ("model.lora_alpha=4.0", "model.lora_rank=0", "model.lora_rank=2"),
    ("model.pretrained=imagenet", "model.init_from=run", "model.init_from="),
    ("data.folder.group=none", "data.val=val.txt", "data.val="),
    ("data.folder.holdout=0.5", "data.val=val.txt", "data.val="),
    ("unlabeled_batch_size=4", "method.name=supervised", "method.name=fixmatch"),
    ("method.ramp_start=4", "method.name=supervised", "method.name=fixmatch"),
])  # fmt: skip
def test_keys_that_another_key_makes_idle(ignored, unfit, fit):
    (line,) = told(ignored, unfit)
    assert line.startswith(f"{ignored.partition('=')[0]} has no effect: ")
    assert not told(ignored, fit)


def test_a_hold_out_next_to_a_folder_of_validation_images():
    words = ("data.folder.holdout=0.5", "data.name=folder", "data.folder.format=folders")
    assert not told(*words, "data.folder.val_images=")
    (line,) = told(*words, "data.folder.val_images=val/images")
    assert "the validation images are given" in line


def test_a_further_relation_may_read_what_the_first_does_not():
    config = with_overrides(default_config(), ["--config.relation.features=encoder"])
    config.relation.more = ({"name": "affinity", "on": "features"},)
    assert not without_effect(config, ["relation.features"])


def test_training_and_a_finished_run_say_so(config_file, tmp_path, capsys):
    window = ["--config.eval.window=(9,9)"]
    write_snapshot(load_config(str(config_file)), tmp_path)
    assert "no effect" not in capsys.readouterr().out
    for load in (
        lambda: load_config(str(config_file), window),
        lambda: load_snapshot(tmp_path, window),
    ):
        load()
        assert "eval.window has no effect: it needs eval.mode=sliding" in capsys.readouterr().out
