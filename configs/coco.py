"""The packaged config `coco`, as a file: see ipixmatch_jax/config_files/coco.py."""

from ipixmatch_jax.config_files.coco import get_config

__all__ = ["get_config"]
