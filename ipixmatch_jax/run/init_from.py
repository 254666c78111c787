"""First weights from another run or a file: everything except a classifier of other classes."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import TWINS, merge_lora
from ipixmatch_jax.paths import AnyPath, as_path
from ipixmatch_jax.weights.pretrained import (
    fill_except_classifier,
    left_out,
    one_network,
    read_weights,
)
from ipixmatch_jax.workdir.checkpoints import Checkpoints
from ipixmatch_jax.workdir.folder import config_path

_SHOWN = 6


def start_from(
    variables: Any, source: str, sharding: Any, data: ConfigDict | None = None
) -> tuple[Any, str]:
    """Replaces first weights by those of a run or a file.

    Two networks (`models.Twins`) both get the weights of a single one, but the second keeps its
    own first values of the head.

    Args:
        variables: first `{'params', 'batch_stats'}`, arrays.
        source: folder of a run: its best checkpoint, otherwise its last, of its `best_network`; or
            a file that `model.pretrained` can name, too.
        sharding: sharding with which a checkpoint is read.
        data: `config.data` of the run that begins, to be compared with the other run's.

    Returns:
        The new variables, and lines about what was taken and what was not.

    Raises:
        CheckpointError: there are no such weights, or they are of another model.
    """
    path = as_path(source).expanduser()
    if not path.exists():
        raise CheckpointError(
            f"model.init_from={source!r} does not exist; expected the folder of a run, or a file "
            "of weights"
        )
    if not path.is_dir():
        filled, kept = fill_except_classifier(read_weights(path), variables)
        return filled, f"first weights: {path}{left_out(kept)}"
    found, where = _of_run(path, sharding)
    filled, kept = _transferred(found, variables, path)
    told = [] if data is None else other_meaning(source, data)
    return filled, "\n".join([f"first weights: {where}{left_out(kept)}", *told])


# Keys of `config.data` that decide what the values of an image and the outputs mean.
_MEANING = ("class_names", "mean", "std", "value_range")


def other_meaning(source: str, data: ConfigDict) -> list[str]:
    """Remarks on a run whose weights are taken although its classes or statistics are others.

    Args:
        source: `model.init_from`.
        data: `config.data` of the run that begins, with what was measured.
    """
    try:
        before = json.loads(config_path(as_path(source).expanduser()).read_text())["data"]
        pairs = {key: (_plain(before[key]), _plain(data[key])) for key in _MEANING}
    except (OSError, ValueError, KeyError, TypeError):
        return []  # a file of weights, or an older run
    names, now = pairs.pop("class_names")
    remarks = []
    if len(names) == len(now) and names != now:
        remarks.append(
            f"warning: model.init_from={source!r}: its classes were {', '.join(names)}, and here "
            f"they are {', '.join(now)}: the classifier begins with the weights of the others"
        )
    return remarks + [
        f"warning: model.init_from={source!r}: data.{key} was {one or 'that of the model'}, and "
        f"here it is {other or 'that of the model'}: its weights expect other values of images"
        for key, (one, other) in pairs.items()
        if one != other
    ]


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _of_run(workdir: AnyPath, sharding: Any) -> tuple[Any, str]:
    try:
        config = json.loads(config_path(workdir).read_text())
        network, alpha = config["best_network"], config["model"].get("lora_alpha", 1.0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Of an older run, or of a folder of checkpoints alone: without adapters.
        network, alpha = "student", 1.0
    with Checkpoints(workdir) as checkpoints:
        best = checkpoints.best()
        step = checkpoints.find("latest") if best is None else best
        abstract = checkpoints.network_shapes(step, network, sharding)
        found = checkpoints.restore_network(step, network, abstract)
    return merge_lora(jax.device_get(found), alpha), f"{network} of step {step} of {workdir}"


def _transferred(found: Any, variables: Any, path: AnyPath) -> tuple[Any, list[str]]:
    there, here = (set(tree["params"]) == set(TWINS) for tree in (found, variables))
    if there and not here:
        found = one_network(found)
    if there or not here:
        return _filled(found, variables, path)
    pairs = [{k: tree[name] for k, tree in variables.items() if tree} for name in TWINS]
    (first, kept), (second, _) = (_filled(found, one, path) for one in pairs)
    for kind, tree in second.items():
        tree |= {"head": pairs[1][kind]["head"]} if "head" in pairs[1][kind] else {}
    return {
        kind: {TWINS[0]: first[kind], TWINS[1]: second[kind]} if tree else tree
        for kind, tree in variables.items()
    }, kept


def _filled(found: Any, variables: Any, path: AnyPath) -> tuple[Any, list[str]]:
    """`variables` with the values of a tree of the same names; and the layers kept as they are."""
    known, own = _named(found), _named(variables)
    problems = [f"{name} is missing" for name in own if name not in known]
    problems += [f"{name} is unexpected" for name in known if name not in own]
    kept, values = [], []
    for name, leaf in own.items():
        value = known.get(name, leaf)
        if value.shape == leaf.shape:
            values.append(np.asarray(value, leaf.dtype))
            continue
        values.append(leaf)
        kept.append(name)
        # Only a classifier differs in nothing but its outputs.
        if "/head/" not in f"/{name}" or value.shape[:-1] != leaf.shape[:-1]:
            problems.append(f"{name} is {value.shape}, not {leaf.shape}")
    if len({own[name].shape[-1] for name in kept}) > 1:
        problems.append(f"{', '.join(kept)} differ in their outputs")
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"model.init_from={str(path)!r} is of another model: {'; '.join(problems[:_SHOWN])}"
            f"{more}; expected the same model; only the number of classes may differ"
        )
    return jax.tree.unflatten(jax.tree.structure(variables), values), kept


def _named(tree: Mapping[str, Any]) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}
