"""The packaged config `cityscapes`, as a file: see ipixmatch_jax/config_files/cityscapes.py."""

from ipixmatch_jax.config_files.cityscapes import get_config

__all__ = ["get_config"]
