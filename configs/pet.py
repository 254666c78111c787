"""The packaged config `pet`, as a file: see ipixmatch_jax/config_files/pet.py."""

from ipixmatch_jax.config_files.pet import get_config

__all__ = ["get_config"]
