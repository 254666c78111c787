"""A run without training, to serve."""

import jax
import pytest

from tests.references.untrained import save_untrained

CONFIG = """
from ipixmatch_jax.config import default_config


def get_config():
    config = default_config()
    config.data.root = "nowhere"
    config.data.crop_size = (16, 16)
    config.data.num_classes = 3
    config.data.class_names = ("ground", "square", "<b>sky</b>")
    config.model.name = "unet"
    config.model.width, config.model.depth = 4, 1
    return config
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run without training, whose data does not exist."""
    folder = tmp_path_factory.mktemp("serve")
    (folder / "config.py").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        devices = jax.devices()[:1]
        patch.setattr("ipixmatch_jax.devices.parallel.jax.devices", lambda *_: devices)
        save_untrained(folder / "config.py", folder / "run")
        yield folder / "run"
