"""Reads styles and scripts of the package's pages."""

from collections.abc import Sequence
from importlib import resources


def asset(path: str) -> str:
    """The text of a file of the package, such as `web/page.css`."""
    return resources.files("ipixmatch_jax").joinpath(path).read_text("utf-8")


def assets(paths: Sequence[str]) -> str:
    """The texts of several files, joined."""
    return "\n".join(map(asset, paths))
