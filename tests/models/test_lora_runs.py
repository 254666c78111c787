"""Runs with LoRA: training, resuming, devices, first weights, prediction and export."""

import shutil

import jax
import jax.export
import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax import build, load_predictor
from ipixmatch_jax.config import load_config
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.state import networks
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.main import main
from ipixmatch_jax.models import merge_lora, without_lora
from ipixmatch_jax.models.lora import is_adapter
from ipixmatch_jax.models.mit import MIT, MitShape
from ipixmatch_jax.models.torch_bridge import from_torch, to_torch
from ipixmatch_jax.models.vit import DINOV2, VitShape
from ipixmatch_jax.training import train
from tests.references.miniature import CLASSES, SIZE, random_batch
from tests.references.untrained import save_adapted

TINY = ["model.name=segformer", "model.backbone=mit_b0", "model.width=None", "model.depth=None"]
# A transformer of one block: a train step of it compiles in a third of the time of the above.
VIT = [*TINY, "model.name=linear", "model.backbone=dinov2_small"]
LORA = ["model.lora_rank=2", "model.lora_targets=query,value,mlp"]
# One pass of the network to compile instead of three: adapters know nothing of unlabeled images.
SUPERVISED = "method.name=supervised"


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    shape = MitShape((8, 8, 16, 16), (1, 1, 1, 1), 8, (1, 2, 2, 2), (2, 2, 1, 1))
    monkeypatch.setitem(MIT._entries, "mit_b0", shape)
    vit = VitShape(16, 1, 2, (0,), patch=8, grid=2)
    monkeypatch.setitem(DINOV2._entries, "dinov2_small", vit)
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def configured(config_file):
    def make(*overrides):
        chosen = ["optimizer.schedule=constant", *TINY, *overrides]
        return load_config(str(config_file), [f"--config.{one}" for one in chosen])

    return make


def first_state(config):
    model, method = build.build_model(config), build.build_method(config)
    optimizer, _ = build.build_train_step(config, model, method)
    return build.build_state(config, model, optimizer, build.build_parallel(config))


def leaves(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(entry.key for entry in path): np.asarray(leaf) for path, leaf in found}


def is_trained(name):
    return name.startswith("head/") or is_adapter(name.rpartition("/")[2])


@pytest.mark.usefixtures("one_device")
def test_adapters_and_head_learn_and_a_stopped_run_continues_bit_for_bit(configured, tmp_path):
    targets = [LORA[0], "model.lora_targets=query,value,projection,mlp"]
    steps = ["total_steps=4", "eval_every=4", "optimizer.learning_rate=0.01"]
    config = configured(*VIT, *targets, *steps, SUPERVISED)
    before = leaves(first_state(config).params)
    once = jax.device_get(train(config, tmp_path / "once"))
    after = leaves(once.params)
    for name in before:
        assert np.array_equal(before[name], after[name]) is not is_trained(name), name
    # The teacher and the optimizer hold nothing else.
    assert set(leaves(once.teacher_params)) == set(filter(is_trained, before))
    held = sum(leaf.size for leaf in jax.tree.leaves(once.opt_state))
    assert held < 2.1 * sum(after[name].size for name in filter(is_trained, after))
    shutil.copytree(tmp_path / "once", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped/checkpoints/4")
    again = jax.device_get(train(config, tmp_path / "stopped"))
    jax.tree.map(np.testing.assert_array_equal, again, once)


@pytest.mark.usefixtures("one_device")
def test_a_run_is_used_and_exported_without_adapters(configured, tmp_path, folder_data):
    config, run = configured(*LORA), tmp_path / "run"
    teacher = save_adapted(config, run)
    weights, program = tmp_path / "weights.npz", tmp_path / "net.stablehlo"
    command = ["--workdir", str(run), "--network", "teacher", "--mode"]
    assert main([*command, "eval"]) == 0
    image = np.asarray(Image.open(folder_data / "val/images/v0.png").convert("RGB"))
    expected = load_predictor(run)(image)
    assert main([*command, "export", "--output", str(weights)]) == 0
    form = ["--format", "stablehlo", "--size", "20", "24"]
    assert main([*command, "export", *form, "--output", str(program)]) == 0
    plain = build.build_model(configured())
    with np.load(weights) as file:
        merged = from_torch(dict(file), build.abstract_variables(configured(), plain))
    images = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    adapted = jax.jit(build.build_model(config).apply)(teacher, images)
    apply = jax.jit(plain.apply)
    np.testing.assert_allclose(apply(merged, images), adapted, rtol=1e-4, atol=1e-5)
    bare = apply(without_lora(teacher), images)
    assert np.abs(adapted - bare).max() > 1e-2
    exported = jax.export.deserialize(bytearray(program.read_bytes()))
    assert (np.asarray(exported.call(image[None])["mask"][0]) == expected).mean() > 0.99


def _steps(config, devices, parallel):
    spread = PARALLEL[parallel](jax.devices()[:devices])
    model, method = build.build_model(config), build.build_method(config)
    optimizer, step = build.build_train_step(config, model, method)
    state = build.build_state(config, model, optimizer, spread)
    run = spread.distribute_train(step)
    for seed in range(2):
        state, metrics = run(state, spread.put_batch(random_batch(seed)))
    return jax.device_get(spread.whole(networks(state))), jax.device_get(metrics)


def test_eight_devices_equal_one(configured):
    sizes = ["batch_size=8", "unlabeled_batch_size=8", f"data.num_classes={CLASSES}"]
    sizes += [f"data.crop_size=({SIZE},{SIZE})", "data.class_names="]
    config = configured(*VIT, *LORA, *sizes, "optimizer.name=sgd", SUPERVISED)
    one, metrics = _steps(config, 1, "pmap")
    for parallel in ("pmap", "zero1"):
        eight, metrics_of_eight = _steps(config, 8, parallel)
        for network in one:
            found, expected = (leaves(tree[network]["params"]) for tree in (eight, one))
            assert found.keys() == expected.keys()
            for name in expected:
                np.testing.assert_allclose(
                    found[name], expected[name], rtol=2e-4, atol=2e-5, err_msg=f"{parallel}: {name}"
                )
        assert metrics["loss"] == pytest.approx(metrics_of_eight["loss"], rel=1e-4), parallel


@pytest.mark.usefixtures("one_device")
def test_first_weights_fill_all_but_the_adapters(configured, tmp_path):
    plain = configured()
    model = build.build_model(plain)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype),
        build.abstract_variables(plain, model),
    )
    np.savez(tmp_path / "weights.npz", **to_torch(variables))
    config = configured(*LORA, f"model.pretrained={tmp_path / 'weights.npz'}")
    state = first_state(config)
    found = networks(state)["student"]
    jax.tree.map(np.testing.assert_array_equal, without_lora(found), variables)
    assert {name for name in leaves(found["params"]) if is_adapter(name.rpartition("/")[2])}


@pytest.mark.usefixtures("one_device")
def test_another_run_starts_from_the_merged_weights(configured, tmp_path):
    teacher = save_adapted(configured(*LORA, "model.lora_alpha=3"), tmp_path / "run")
    found = first_state(configured(f"model.init_from={tmp_path / 'run'}")).params
    jax.tree.map(np.testing.assert_array_equal, found, merge_lora(teacher["params"], 3.0))
    name = "encoder/stage_0/block_00/attn/q/kernel"
    assert not np.array_equal(leaves(found)[name], leaves(teacher["params"])[name])


def test_keys_that_do_not_fit_are_named(config_file, configured):
    with pytest.raises(ConfigError, match="model.lora_rank is 4, but the encoder Encoder has no"):
        load_config(str(config_file), ["--config.model.lora_rank=4"])
    with pytest.raises(ConfigError, match="lora_targets.*query, key, value, projection, mlp"):
        configured("model.lora_rank=4", "model.lora_targets=qkv")


def test_both_of_two_networks_have_adapters(configured):
    config = configured(*LORA, "method.name=cps")
    params = build.abstract_variables(config, build.build_model(config))["params"]
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    adapters = [path for path in paths if is_adapter(path[-1].key)]
    assert {path[0].key for path in adapters} == {"first", "second"}
