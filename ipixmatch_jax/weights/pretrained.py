"""Pretrained weights in a network: by one word, from a file, a URL or the Hugging Face hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import TWINS
from ipixmatch_jax.models.torch_bridge import from_torch
from ipixmatch_jax.weights.array_files import ARRAY_FILES, read_array_file
from ipixmatch_jax.weights.downloads import HUB, is_here, local_file
from ipixmatch_jax.weights.public import PUBLIC, PublicFile, meant_word, public_file, words_of
from ipixmatch_jax.weights.torch_reader import read_torch_file

_TORCH = (".pth", ".pt", ".bin")  # the last is the hub's


def load_pretrained(variables: Any, pretrained: str, backbone: str, stem: str = "") -> Any:
    """`variables` with values from `pretrained`: the encoder, and the head if the file has one.

    Two networks (`models.Twins`) both get them, but the second keeps its own first values of the
    head: equal from the start, they would stay equal.

    Args:
        variables: the network's 'params' and 'batch_stats', float32.
        pretrained: a word of `weights.public` ('imagenet', 'dinov2'); the path or https address of
            a state dict (.safetensors, .pth, .pt or .bin by torch.save, or .npz with the same
            names); or `hf://ORG/NAME/FILE` for such a file on the Hugging Face hub
            (`hf://ORG/NAME@REVISION/FILE` for one version of it). Names are those of the layouts
            in `torch_bridge`.
        backbone: name of the encoder; only the words need it.
        stem: `model.stem` of a ResNet; only the words need it.

    Raises:
        CheckpointError: there are no such weights, or they do not fit.
    """
    source = PublicFile(pretrained, "")
    if pretrained in PUBLIC:
        source = public_file(pretrained, backbone, stem)
    try:
        path = local_file(source.address, source.sha256)
    except CheckpointError as error:
        if pretrained not in PUBLIC:
            raise
        raise CheckpointError(_how_to_get(source, pretrained, backbone, error)) from error
    try:
        return fill_variables(read_weights(path), variables)
    except CheckpointError as error:
        # The reader names the file already, the bridge knows none.
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise CheckpointError(message) from error


def has_weights(pretrained: str, backbone: str, stem: str = "") -> bool:
    """False if `pretrained` is a word for public weights that this backbone does not have."""
    return pretrained not in PUBLIC or pretrained in words_of(backbone, stem)


def are_here(word: str, backbone: str, stem: str = "") -> bool:
    """Whether the weights behind a word are on this machine, so that no download is needed.

    Raises:
        CheckpointError: this backbone has no such weights.
    """
    return is_here(public_file(word, backbone, stem).address)


def _how_to_get(source: PublicFile, word: str, backbone: str, error: Exception) -> str:
    doubt = "" if source.confirmed else " (no public page that names this file was found)"
    return (
        f"model.pretrained={word!r}: the weights of {backbone!r} are {source.address}{doubt}, "
        f"licence: {source.licence}. {error}. To start from random weights on purpose: "
        "--config.model.pretrained=none"
    )


def fill_variables(state: Mapping[str, np.ndarray], variables: Any) -> Any:
    """`from_torch` for one network or two; of two, the second keeps its own head.

    Raises:
        CheckpointError: the state dict does not fit.
    """
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


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads a state dict.

    Raises:
        CheckpointError: an unknown kind of file, or one that cannot be read.
    """
    readers = dict.fromkeys(ARRAY_FILES, read_array_file) | dict.fromkeys(_TORCH, read_torch_file)
    if path.suffix not in readers:
        meant = meant_word(str(path))
        raise CheckpointError(
            f"{path}: unknown kind of weight file; give {', '.join(readers)}, "
            f"{', '.join(map(repr, PUBLIC))}, 'none' or {HUB}ORG/NAME/FILE"
            + (f"; did you mean {meant!r}?" if meant else "")
        )
    return readers[path.suffix](path)
