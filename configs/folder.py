"""The packaged config `folder`, as a file: see ipixmatch_jax/config_files/folder.py."""

from ipixmatch_jax.config_files.folder import get_config

__all__ = ["get_config"]
