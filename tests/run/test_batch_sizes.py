"""Batch sizes that devices cannot share, or batch norm not normalize, end a run at its start."""

import jax
import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.training import train

ONE_DEVICE = "ipixmatch_jax.devices.parallel.jax.devices"


@pytest.fixture(autouse=True)
def standard_promotion(one_device):
    # optax.adamw counts steps in int32 and raises float32 to that power.
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_batch_that_devices_cannot_share(config_file, tmp_path, monkeypatch):
    devices = jax.local_devices()[:4]
    monkeypatch.setattr(ONE_DEVICE, lambda *_: devices)
    with pytest.raises(ConfigError, match="batch_size is 2, which 4 devices cannot share"):
        train(load_config(str(config_file)), tmp_path / "run")


@pytest.mark.parametrize(
    "sizes", [(1, 2, 1), (2, 1, 1), (2, 2, 2)], ids=["labeled", "unlabeled", "micro-batches"]
)
def test_one_image_cannot_pass_a_pooled_batch_norm(config_file, tmp_path, short_encoder, sizes):
    keys = ("batch_size", "unlabeled_batch_size", "accumulate_steps")
    sized = [f"--config.{key}={size}" for key, size in zip(keys, sizes, strict=True)]
    pooled = ["--config.model.name=deeplabv3plus", "--config.model.width=None"]
    pooled += ["--config.model.depth=None", "--config.data.crop_size=(48,48)"]
    config = load_config(str(config_file), sized + pooled)
    with pytest.raises(ConfigError, match="batch norm head/aspp_pool/norm normalizes one value"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
