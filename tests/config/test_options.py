"""Options of the method, model and relation that have no key of their own."""

import pytest

from ipixmatch_jax.build import build_method, build_model, build_relations
from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import ConfigError


def load(config_file, *overrides):
    return load_config(str(config_file), [f"--config.{override}" for override in overrides])


def test_fields_of_the_method_are_set_in_any_order(config_file):
    config = load(config_file, "method.options.drop_rate=0.25", "method.name=unimatch")
    assert build_method(config).drop_rate == 0.25
    config = load(config_file, "method.options.distance=mse")
    assert build_method(config).distance == "mse"


def test_an_option_of_a_models_encoder_is_set(config_file):
    name = "efficientnet_lite0"
    config = load(config_file, "model.name=deeplabv3plus", f"model.backbone={name}",
                  "model.width=None", "model.depth=None")  # fmt: skip
    assert build_model(config) is not None


OWN = """
from ipixmatch_jax.losses import RELATIONS
from {module} import get_config as base


@RELATIONS.register("for_options/l1")
def l1(student, teacher, keep, *, floor=0.5, kinds=None):
    return (student - teacher).sum((1, 2, 3))


def get_config():
    config = base()
    config.relation.name, config.relation.distance = "for_options", "l1"
    return config
"""


@pytest.mark.usefixtures("own_relation")
def test_an_option_of_a_relation_is_set_and_its_kind_checked(config_file, monkeypatch):
    monkeypatch.syspath_prepend(config_file.parent)
    own = config_file.parent / "own_relation.py"
    own.write_text(OWN.format(module="small"))
    config = load(own, "relation.options.floor=2", "relation.options.kinds=('a',)")
    (relation,) = build_relations(config.relation)
    assert relation.options["floor"] == 2.0 and relation.options["kinds"] == ("a",)
    with pytest.raises(ConfigError, match="relation.options.floor is 'low'; expected a number"):
        load(own, "relation.options.floor=low")


@pytest.mark.parametrize("override, message", [
    ("method.options.drop_rat=1", "method 'fixmatch' has no option 'drop_rat'; its options"),
    ("method.options.confidence=0.5", "no option 'confidence'"),
    ("model.options.widht=3", "model 'unet' has no option 'widht'"),
    ("relation.options.flor=1", "relation 'class_map/kl' has no option 'flor'"),
    ("method.options=3", "group of keys"),
    ("relation.options.block=97x97", "no option 'block'"),
])  # fmt: skip
def test_options_that_do_not_exist(config_file, override, message):
    with pytest.raises(ConfigError, match=message):
        load(config_file, override)


def test_an_option_with_a_key_of_its_own(config_file):
    text = config_file.read_text()
    line = "    config.method.options.confidence = 0.5\n    return config"
    config_file.write_text(text.replace("    return config", line))
    with pytest.raises(ConfigError, match="set method.confidence"):
        load(config_file)


@pytest.mark.parametrize("key", [
    "model.output_stride", "model.width", "model.backbone", "model.atrous_rates", "model.remat",
    "method.confidence",
])  # fmt: skip
def test_keys_that_may_be_none_take_none(config_file, key):
    group, leaf = key.split(".")
    assert load(config_file, f"{key}=None")[group][leaf] is None


@pytest.mark.parametrize("keys, message", [
    (("relation.name=affinity", "relation.options.block=97x97"), "block is '97x97'; expected a wh"),
    (("method.name=augseg", "method.options.labeled_beta=()"), "expected 2 numbers|two numbers"),
    (("method.name=unimatch", "method.options.drop_rate=inf"), "drop_rate is inf"),
    (("method.name=unimatch", "method.options.drop_rate=1.0"), "from 0 to 0.99"),
    (("method.name=unimatch_v2", "method.options.whole_rate=1.5"), "from 0 to 1"),
    (("method.name=u2pl", "method.options.drop=-1"), "drop is -1.0; expected a number from 0 to 1"),
    (("method.name=u2pl", "method.options.temperature=0"), "above 0"),
    (("method.name=u2pl", "method.options.rank_high=2"), "expected rank_low < rank_high"),
    (("method.name=corrmatch", "method.options.grid=0"), "of at least 1"),
    (("method.name=augseg", "method.options.labeled_beta=(0,1)"), "two numbers, each above 0"),
    (("method.name=fixmatch", "method.options.distance=mes"), "did you mean 'mse'"),
    (("method.name=cps", "method.options.strength=string"), "did you mean 'strong'"),
])  # fmt: skip
def test_options_of_a_wrong_kind(config_file, keys, message):
    with pytest.raises(ConfigError, match=message):
        load(config_file, *keys)
