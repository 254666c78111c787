"""The packaged config `demo`, as a file: see ipixmatch_jax/config_files/demo.py."""

from ipixmatch_jax.config_files.demo import get_config

__all__ = ["get_config"]
