"""Pretrained weights in a network: by one word, from a file, a URL or the Hugging Face hub."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import TWINS
from ipixmatch_jax.models.torch_bridge import from_torch, with_own_classifier
from ipixmatch_jax.weights.array_files import ARRAY_FILES, read_array_file
from ipixmatch_jax.weights.downloads import HUB, is_here, local_file
from ipixmatch_jax.weights.public import PUBLIC, PublicFile, meant_word, public_file, words_of
from ipixmatch_jax.weights.torch_reader import read_torch_file

_TORCH = (".pth", ".pt", ".bin")  # the last is the hub's


def load_pretrained(
    variables: Any,
    pretrained: str,
    backbone: str,
    stem: str = "",
    say: Callable[[str], None] = lambda _: None,
) -> Any:
    """`variables` with values from `pretrained`: the encoder, and the head if the file has one.

    A classifier of another number of classes is left out, and `say` is told.

    Two networks (`models.Twins`) both get them, but the second keeps its own first values of the
    head: equal from the start, they would stay equal.

    Args:
        variables: the network's 'params' and 'batch_stats', float32, arrays.
        pretrained: a word of `weights.public` ('imagenet', 'dinov2', 'dinov3'); the path or https
            address of a state dict (.safetensors, .pth, .pt or .bin by torch.save, or .npz with the
            same names); or `hf://ORG/NAME/FILE` for such a file on the Hugging Face hub
            (`hf://ORG/NAME@REVISION/FILE` for one version of it). Names are those of the layouts
            in `torch_bridge`.
        backbone: name of the encoder; only the words need it.
        stem: `model.stem` of a ResNet; only the words need it.
        say: takes a line about what was left out.

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
        filled, kept = fill_except_classifier(read_weights(path), variables)
        if kept:
            say(f"{path}{left_out(kept)}")
        return filled
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


def fill_except_classifier(
    state: Mapping[str, np.ndarray], variables: Any
) -> tuple[Any, list[str]]:
    """`variables` with the values of a state dict, without a classifier of other classes.

    Of two networks, the second keeps its own head.

    Returns:
        The variables, and the names in the state dict that were left out.

    Raises:
        CheckpointError: the state dict does not fit.
    """
    state, kept = with_own_classifier(state, one_network(variables))
    return _filled(state, variables), kept


def left_out(kept: list[str]) -> str:
    """The end of a line that says which weights were left out; empty if none."""
    return f"; of other classes there and therefore random: {', '.join(kept)}" if kept else ""


def one_network(variables: Any) -> Any:
    """The variables of the first of two networks, or of the only one."""
    if set(variables["params"]) != set(TWINS):
        return variables
    return {kind: tree[TWINS[0]] for kind, tree in variables.items() if tree}


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
