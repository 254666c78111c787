import json

import jax.numpy as jnp
import pytest

from ipixmatch_jax.build import build_method, build_model, build_relations, build_train_step
from ipixmatch_jax.config import (
    checked,
    default_config,
    flatten,
    load_config,
    validate,
    write_snapshot,
)
from ipixmatch_jax.data import DATASETS
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods import ConsistencyTerm
from ipixmatch_jax.training import train


def test_overrides_reach_the_config(config_file):
    config = load_config(
        f"{config_file}:supervised",
        ["--config.data.threads", "2", "--config.data.crop_size=(8, 12)", "--config.model.width=6"],
    )
    assert config.method.name == "supervised"
    assert (config.data.threads, config.model.width) == (2, 6)
    assert tuple(config.data.crop_size) == (8, 12)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--config.total_step=3"], "no config key 'total_step' .did you mean 'total_steps'"),
        (["--config.data.rot=x"], "no config key 'data.rot' .did you mean 'data.root'"),
        (["--config.data=x"], "'?data'?.* group of keys"),
        (
            ["--config.total_steps=many"],
            "total_steps is 'many'; expected a whole number of at least 1",
        ),
        (["--conf.total_steps=3"], "conf.total_steps"),
        (["stray"], "cannot read 'stray'"),
        (["--config.method.name=fixmach"], "did you mean 'fixmatch'"),
        (["--config.model.name=unnet"], "did you mean 'unet'"),
        (["--config.model.output_stride=8"], "'unet' has no option 'output_stride'"),
        (
            ["--config.relation.distance=ki"],
            "expected 'corr', 'kl' or 'mse'",
        ),
        (["--config.parallel=pmp"], "did you mean 'pmap'"),
        (["--config.optimizer.name=adam"], "did you mean 'adamw'"),
        (["--config.optimizer.layer_decay=0"], "expected a number above 0 and at most 1"),
        (["--config.teacher.kind=emma"], "did you mean 'ema'"),
        (["--config.data.name=foldr"], "did you mean 'folder'"),
        (
            ["--config.method.confidence=1.5"],
            "method.confidence is 1.5; expected a number from 0 to 1",
        ),
        (["--config.data.num_classes=300"], "expected a whole number from 2 to 255"),
        (["--config.data.crop_size=(8,)"], "data.crop_size is .*expected two whole numbers"),
        (["--config.data.scale_range=(2., 1.)"], "low <= high"),
        (["--config.data.vertical_flip=2"], "vertical_flip is 2.0; expected a number from 0 to 1"),
        (["--config.data.rotation=181"], "rotation is 181.0; expected a number from 0 to 180"),
        (
            ["--config.data.quarter_turns=True", "--config.data.crop_size=(16,24)"],
            r"expected a square crop.*data.crop_size=\(16,16\)",
        ),
        (["--config.relation.stride=2"], "'class_map/kl' has no option 'stride'"),
        (["--config.relation.ramp=cosine"], "'none', 'linear' or 'sigmoid'"),
        (["--config.relation.temperature=0"], "temperature is 0.0; expected a number above 0"),
    ],
)
def test_wrong_input_is_named(config_file, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(str(config_file), overrides)


def test_every_problem_is_listed_at_once(config_file):
    with pytest.raises(ConfigError) as error:
        load_config(
            str(config_file),
            ["--config.batch_size=0", "--config.method.name=x", "--config.optimizer.name=y"],
        )
    text = str(error.value)
    assert "3 problem(s)" in text
    assert all(
        word in text for word in ("batch_size is 0", "method.name is 'x'", "optimizer.name is 'y'")
    )


def test_a_misspelt_key_in_the_file_is_named():
    config = default_config()
    config.relation.wieght = 3.0
    with pytest.raises(ConfigError, match="'relation.wieght' .did you mean 'relation.weight'"):
        validate(config)


def test_missing_file_and_broken_file(tmp_path):
    with pytest.raises(ConfigError, match="neither a file nor a packaged config"):
        load_config(str(tmp_path / "no.py"))
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config():\n    return default_config()\n")
    with pytest.raises(ConfigError, match="broken.py, line 2: NameError"):
        load_config(str(broken))
    broken.write_text("def get_config():\n    return 3\n")
    with pytest.raises(ConfigError, match="no ConfigDict"):
        load_config(str(broken))


def test_a_file_may_register_a_data_set_with_a_section_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(DATASETS, "_entries", dict(DATASETS._entries))
    path = tmp_path / "own.py"
    path.write_text(
        """
from ml_collections import ConfigDict
from ipixmatch_jax.config import default_config
from ipixmatch_jax.data import DATASETS


def get_config():
    if "mine_for_test" not in DATASETS:
        DATASETS.register("mine_for_test")(lambda data, seed, problems: None)
    config = default_config()
    config.data.name = "mine_for_test"
    config.data.mine_for_test = ConfigDict({"speed": 3})
    config.model.name = "unet"
    return config
"""
    )
    assert (
        load_config(str(path), ["--config.data.mine_for_test.speed=4"]).data.mine_for_test.speed
        == 4
    )


OWN_RELATION = """
import jax.numpy as jnp
from ipixmatch_jax.config import default_config
from ipixmatch_jax.losses import RELATIONS


@RELATIONS.register("mine_for_test/l1")
def l1(student, teacher, keep, *, floor):
    gap = jnp.maximum(jnp.abs(student - teacher).sum(-1), floor)
    return (keep * gap).sum((1, 2)) / keep.sum((1, 2))


def get_config():
    config = default_config()
    config.model.name = "unet"
    config.relation.name, config.relation.distance = "mine_for_test", "l1"
    config.relation.options.floor = 0.5
    config.relation.more = ({"name": "affinity", "distance": "mse", "options": {}, "stride": 2},)
    return config
"""


@pytest.mark.usefixtures("own_relation")
def test_a_file_may_register_a_relation_and_add_more(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN_RELATION)
    for _ in range(2):  # a config file is executed every time it is loaded
        config = load_config(str(path), ["--config.relation.weight=2"])
    own, more = build_relations(config.relation)
    assert (own.label, own.weight) == ("relation/mine_for_test/l1", 2.0)
    assert (more.label, more.weight, more.options["stride"]) == ("relation/affinity/mse", 2.0, 2)
    logits = jnp.ones((1, 2, 2, 3))
    term = ConsistencyTerm(logits, logits, jnp.ones((1, 2, 2), bool))
    assert own(term, jnp.ones((1, 2, 2))) == (0.5, 1.0)
    write_snapshot(config, tmp_path)
    write_snapshot(load_config(str(path), ["--config.relation.weight=2"]), tmp_path)

    config = load_config(str(path), ["--config.relation.name=none"])
    assert build_relations(config.relation) == ()
    path.write_text(OWN_RELATION.replace('"stride"', '"strid"'))
    with pytest.raises(ConfigError, match="relation.more has no key 'strid' .* 'stride'"):
        load_config(str(path))
    path.write_text(OWN_RELATION.replace("options.floor", "options.flor"))
    with pytest.raises(ConfigError, match="no option 'flor' .did you mean 'floor'"):
        load_config(str(path))


def test_a_feature_map_that_the_model_lacks_is_named(config_file):
    overrides = ["relation.name=affinity", "relation.distance=mse", "relation.on=features"]
    overrides = [f"--config.{override}" for override in overrides]
    config = load_config(str(config_file), [*overrides, "--config.relation.features=decodr"])
    model, method = build_model(config), build_method(config)
    with pytest.raises(ConfigError, match="did you mean 'decoder'.* has decoder, encoder"):
        build_train_step(config, model, method)
    build_train_step(load_config(str(config_file), overrides), model, method)


@pytest.mark.parametrize(
    "spec",
    ["demo.py", "demo.py:fixmatch", "demo.py:supervised", "demo.py:all"]
    + [f"camvid.py:{n}" for n in ("23", "46", "92", "184", "all")],
)
def test_every_shipped_config_is_valid(spec, pytestconfig):
    load_config(str(pytestconfig.rootpath / "configs" / spec))


@pytest.mark.parametrize("name", ["demo", "camvid"])
def test_an_unknown_argument_is_named(name, pytestconfig):
    with pytest.raises(ConfigError, match=f"{name}:nonsense: expected"):
        load_config(str(pytestconfig.rootpath / "configs" / f"{name}.py:nonsense"))


def test_snapshot_holds_every_key_and_refuses_another_config(config_file, tmp_path):
    config = load_config(str(config_file))
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    write_snapshot(config, tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert set(dict(flatten(saved))) == set(dict(flatten(config)))
    write_snapshot(load_config(str(config_file), ["--config.log_every=9"]), tmp_path)
    other = load_config(str(config_file), ["--config.seed=1", "--config.relation.weight=0.7"])
    with pytest.raises(ConfigError, match="another config") as error:
        write_snapshot(other, tmp_path)
    assert "seed: the run has 0, now 1" in str(error.value)
    assert "relation.weight" in str(error.value)
    # A run from before a key existed had its default.
    del saved["eval"], saved["data"]["flip"]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    write_snapshot(config, tmp_path)
    with pytest.raises(ConfigError, match="data.flip: the run has 0.5, now 0.25"):
        (tmp_path / "config.json").write_text(json.dumps(saved))
        write_snapshot(load_config(str(config_file), ["--config.data.flip=0.25"]), tmp_path)


def test_palette_of_id_masks_may_change_on_resume(config_file, tmp_path):
    """Masks with a palette that join gray ones: the ids mean the same, the colors are for show."""
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    write_snapshot(load_config(str(config_file)), tmp_path)
    colors = "--config.data.palette=((0,0,0),(230,25,75))"
    now = load_config(str(config_file), [colors])
    assert write_snapshot(now, tmp_path) == [
        "data.palette has changed since the run began: its pictures get other colors"
    ]
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["data"]["palette"] == [[0, 0, 0], [230, 25, 75]]
    assert write_snapshot(now, tmp_path) == []
    # Of colored masks the palette says which color is which class.
    colored = load_config(str(config_file), [colors, "--config.data.masks=colors"])
    with pytest.raises(ConfigError, match="data.masks: the run has 'ids', now 'colors'"):
        write_snapshot(colored, tmp_path)
    other = tmp_path / "other"
    (other / "checkpoints" / "1").mkdir(parents=True)
    write_snapshot(colored, other)
    swapped = "--config.data.palette=((230,25,75),(0,0,0))"
    with pytest.raises(ConfigError, match="data.palette: the run has"):
        write_snapshot(
            load_config(str(config_file), [swapped, "--config.data.masks=colors"]), other
        )


def test_training_from_python_checks_the_config(config_file, tmp_path):
    config = load_config(str(config_file))
    with config.unlocked():
        config.relation.wieght = 3.0
        config.data.crop_size = ("a", "b")
    with pytest.raises(ConfigError, match="2 problem") as error:
        train(config, tmp_path / "run")
    assert "did you mean 'relation.weight'" in str(error.value)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="the config is a dict; expected"):
        train({}, tmp_path / "run")


def test_a_checked_config_is_a_locked_copy(config_file):
    config = default_config()
    config.model.name = "unet"
    locked = checked(config)
    with pytest.raises(AttributeError):
        locked.optimizer.lr = 0.1
    config.optimizer.learning_rate = 0.25
    assert locked.optimizer.learning_rate != 0.25
