"""The packaged config `ade20k`, as a file: see ipixmatch_jax/config_files/ade20k.py."""

from ipixmatch_jax.config_files.ade20k import get_config

__all__ = ["get_config"]
