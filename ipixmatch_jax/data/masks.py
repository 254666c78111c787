"""The former place of `ipixmatch_jax.data.files.masks`, for code that imports from it."""

from ipixmatch_jax.data.files.masks import Masks

__all__ = ["Masks"]
