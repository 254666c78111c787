"""The packaged config `camvid`, as a file: see ipixmatch_jax/config_files/camvid.py."""

from ipixmatch_jax.config_files.camvid import get_config

__all__ = ["get_config"]
