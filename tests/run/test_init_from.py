"""First weights from another run or a file."""

import chex
import jax
import numpy as np
import pytest

from ipixmatch_jax import build
from ipixmatch_jax.config import load_config
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.errors import CheckpointError, ConfigError
from ipixmatch_jax.models import init_variables
from ipixmatch_jax.models.torch_bridge import to_torch
from ipixmatch_jax.run.init_from import other_meaning, start_from
from ipixmatch_jax.workdir.checkpoints import Checkpoints
from tests.references.untrained import save_untrained


@pytest.fixture
def run(config_file, tmp_path):
    """A run with two checkpoints, of which the first is the best; and its teacher's variables."""
    config, _, teacher = save_untrained(config_file, tmp_path / "run")
    with Checkpoints(tmp_path / "run", writable=True) as checkpoints:
        checkpoints.record_evaluation(4, 0.9)
    assert config.best_network == "teacher"
    return tmp_path / "run", teacher


def fresh(config_file, *overrides):
    config = load_config(str(config_file), [f"--config.{one}" for one in overrides])
    model, images = build.build_model(config), build.example_images(config)
    return config, model, init_variables(model, jax.random.key(9), images)


def start(variables, source):
    return start_from(variables, str(source), PARALLEL["pmap"](jax.devices()[:1]).replicated)


def head_of(tree):
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in flat}


def test_classes_of_other_names_and_other_statistics_are_told(config_file, run):
    source = str(run[0])
    same = load_config(str(config_file), [])
    assert other_meaning(source, same.data) == []
    changes = ["data.class_names=square,ground", "data.mean=(0.1,0.2,0.3)", "data.std=(1,1,1)"]
    names, mean, std = other_meaning(source, fresh(config_file, *changes)[0].data)
    assert "its classes were ground, square, and here they are square, ground" in names
    assert "data.mean was that of the model, and here it is (0.1, 0.2, 0.3)" in mean
    assert "data.std" in std
    assert other_meaning("weights.pth", same.data) == []


OTHER_CLASSES = ("data.num_classes=3", "data.class_names=('a', 'b', 'c')")


def test_the_best_network_of_a_run(config_file, run):
    _, _, variables = fresh(config_file)
    found, told = start(variables, run[0])
    chex.assert_trees_all_equal(found, jax.device_get(run[1]))
    assert told == f"first weights: teacher of step 4 of {run[0]}"


@pytest.mark.parametrize("kind", ["run", "file"])
def test_everything_except_a_classifier_of_other_classes(config_file, run, tmp_path, kind):
    workdir, teacher = run
    source = workdir
    if kind == "file":
        source = tmp_path / "teacher.npz"
        np.savez(source, **to_torch(jax.device_get(teacher)))
    _, _, variables = fresh(config_file, *OTHER_CLASSES)
    found, told = start(variables, source)
    own, theirs, result = head_of(variables), head_of(teacher), head_of(found)
    kept = [name for name in own if own[name].shape != theirs[name].shape]
    assert 1 <= len(kept) <= 2 and "of other classes there and therefore random" in told
    for name, value in result.items():
        np.testing.assert_array_equal(value, own[name] if name in kept else theirs[name])


def test_two_networks_get_both_the_weights_of_one(config_file, run):
    _, _, variables = fresh(config_file, "method.name=cps")
    found, _ = start(variables, run[0])
    first = {kind: tree["first"] for kind, tree in found.items()}
    chex.assert_trees_all_equal(first, jax.device_get(run[1]))
    second = {kind: tree["second"] for kind, tree in found.items()}
    encoder = jax.device_get(run[1])["params"]["encoder"]
    chex.assert_trees_all_equal(second["params"]["encoder"], encoder)
    own = jax.device_get(variables["params"]["second"]["head"])
    chex.assert_trees_all_equal(jax.device_get(second["params"]["head"]), own)


def test_weights_of_another_model_or_of_nothing(config_file, run, tmp_path):
    _, _, variables = fresh(config_file, "model.width=6")
    with pytest.raises(CheckpointError, match="is of another model: .*only the number of classes"):
        start(variables, run[0])
    with pytest.raises(CheckpointError, match="nowhere' does not exist"):
        start(variables, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        start(variables, tmp_path / "empty")


def test_a_run_begins_with_them(config_file, run, tmp_path):
    key = f"model.init_from={run[0]}"
    # It takes precedence over the weights that a config file names.
    config, model, _ = fresh(config_file, key, "model.pretrained=nowhere.npz", *OTHER_CLASSES)
    optimizer, _ = build.build_train_step(config, model, build.build_method(config))
    said = []
    parallel = PARALLEL["pmap"](jax.devices()[:1])
    state = build.build_state(config, model, optimizer, parallel, said.append)
    encoder = jax.device_get(parallel.whole(state.params))["encoder"]
    chex.assert_trees_all_equal(encoder, jax.device_get(run[1])["params"]["encoder"])
    assert "step 4" in said[0] and build.first_weights(config).endswith(str(run[0]))
    with pytest.raises(ConfigError, match="init_from"):
        load_config(str(config_file), ["--config.model.init_form=x"])
