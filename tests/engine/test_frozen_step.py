"""The whole train step with an encoder that the config freezes."""

import chex
import jax
import numpy as np
import optax
import pytest

from ipixmatch_jax import build
from ipixmatch_jax.config import default_config, load_config, write_snapshot
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.optimizer import make_optimizer
from ipixmatch_jax.engine.state import networks
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import ENCODERS, MODELS, backbone_options, model_options
from ipixmatch_jax.workdir.checkpoints import Checkpoints, abstract_like
from ipixmatch_jax.workdir.folder import make_workdir
from tests.references.miniature import CLASSES, SIZE, random_batch


def small_config(**changes):
    config = default_config()
    config.data.num_classes, config.data.crop_size = CLASSES, (SIZE, SIZE)
    config.model.name, config.model.width, config.model.depth = "unet", 4, 1
    config.relation.name, config.optimizer.name = "none", "sgd"
    config.update_from_flattened_dict(changes)
    return config


def start(config):
    spread = PARALLEL["pmap"](jax.devices()[:1])
    model, method = build.build_model(config), build.build_method(config)
    optimizer, step = build.build_train_step(config, model, method)
    state = build.build_state(config, model, optimizer, spread)
    return spread, spread.distribute(step, donate=False), state


def equal(a, b):
    return jax.tree.leaves(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), a, b))


def test_nothing_changes_what_is_frozen():
    config = small_config(**{"model.frozen": ("encoder",), "method.name": "supervised"})
    spread, step, first = start(config)
    state = first
    for seed in range(2):
        state, metrics = step(state, spread.put_batch(random_batch(seed, 2)))
    assert all(equal(state.params["encoder"], first.params["encoder"]))
    assert all(equal(state.batch_stats["encoder"], first.batch_stats["encoder"]))
    assert set(state.teacher_params) == {"head"}
    teacher = networks(state)["teacher"]["params"]
    assert all(equal(teacher["encoder"], first.params["encoder"]))
    assert not any(equal(teacher["head"], first.params["head"]))
    assert not any(equal(state.params["head"], first.params["head"]))
    assert not any(equal(state.batch_stats["head"], first.batch_stats["head"]))
    assert float(metrics["grad_norm"]) > 0
    # A momentum is kept for the head only.
    size = sum(leaf.size for leaf in jax.tree.leaves(first.params["head"]))
    assert sum(leaf.size for leaf in jax.tree.leaves(first.opt_state) if leaf.ndim) == size


def test_checkpoints_hold_a_whole_teacher_and_those_of_earlier_versions_load(tmp_path):
    config = small_config(**{"model.frozen": ("encoder",)})
    spread, _, state = start(config)
    whole = jax.tree.map(lambda leaf: leaf + 1, state.params)
    make_workdir(tmp_path)
    write_snapshot(config, tmp_path)
    optimizer, _ = build.build_train_step(
        config, build.build_model(config), build.build_method(config)
    )
    abstract = build.abstract_state(config, build.build_model(config), optimizer)
    abstract = abstract_like(abstract, spread.state_shardings(abstract))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        checkpoints.save(2, state.replace(teacher_params=whole))  # as before
    with Checkpoints(tmp_path) as checkpoints:
        saved = checkpoints.network_shapes(1, "teacher", spread.replicated)["params"]
        assert jax.tree.structure(saved) == jax.tree.structure(state.params)
        chex.assert_trees_all_equal(checkpoints.restore(1, abstract), state)
        older = checkpoints.restore(2, abstract)
    chex.assert_trees_all_equal(older.teacher_params, {"head": whole["head"]})
    chex.assert_trees_all_equal(older.params, state.params)


def test_the_optimizer_leaves_it_in_both_of_two_networks():
    ones = {"encoder": {"stem": np.ones(2), "level_0": np.ones(2)}, "head": np.ones(2)}
    params = {"first": ones, "second": ones}
    options = default_config().optimizer.to_dict() | {"name": "sgd"}
    optimizer, _ = make_optimizer(options, 3, ("encoder/stem",))
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    for name in params:
        assert not updates[name]["encoder"]["stem"].any()
        assert updates[name]["encoder"]["level_0"].all() and updates[name]["head"].all()


def test_a_name_that_the_model_lacks_ends_the_run(config_file):
    config = load_config(str(config_file), ["--config.model.frozen=('encoder/layer1',)"])
    model, method = build.build_model(config), build.build_method(config)
    with pytest.raises(ConfigError, match="'encoder/layer1', which .* has encoder/level_0"):
        build.build_train_step(config, model, method)


def test_every_option_of_every_model_is_a_key():
    known = set(default_config().model) | {"axis_name"}
    for options in (model_options(name) for name in MODELS.names()):
        assert set(options) <= known
    for options in (backbone_options(name) for name in ENCODERS.names()):
        assert set(options) <= known


def test_options_reach_the_encoder():
    config = default_config()
    config.model.update(
        {"backbone": "resnet18", "stem": "deep", "multi_grid": (1, 2), "norm": "group"}
        | {"in_channels": 4, "remat": True, "output_stride": 8}
    )
    encoder = build.build_model(config).encoder
    found = (encoder.stem, encoder.multi_grid, encoder.in_channels, encoder.remat)
    assert found == ("deep", (1, 2), 4, True)
    assert (encoder.output_stride, encoder.numerics.norm) == (8, "group")
    config.model.name = "dpt"
    with pytest.raises(
        ConfigError, match="'dpt': backbone is 'resnet18', which does not return blocks"
    ):
        build.build_model(config)


def test_options_of_a_model_of_ones_own(config_file):
    config = load_config(str(config_file))
    with config.unlocked():
        config.model.options.widht = 3
    with pytest.raises(ConfigError, match="no option 'widht' .did you mean 'width'"):
        build.build_model(config)


def test_imagenet_weights_of_the_models_own_backbone(monkeypatch):
    asked = []

    def load(variables, *source, say):
        return asked.append(source) or variables

    monkeypatch.setattr(build, "load_pretrained", load)
    config = default_config()
    config.data.crop_size, config.model.pretrained = (SIZE, SIZE), "imagenet"
    spread = PARALLEL["pmap"](jax.devices()[:1])
    build.build_state(config, build.build_model(config), optax.identity(), spread)
    assert asked == [("imagenet", "efficientnet_lite0", "")]
