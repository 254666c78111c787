"""The packaged config `voc`, as a file: see ipixmatch_jax/config_files/voc.py."""

from ipixmatch_jax.config_files.voc import get_config

__all__ = ["get_config"]
