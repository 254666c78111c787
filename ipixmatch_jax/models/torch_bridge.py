"""Variables to and from PyTorch state dicts: names to NumPy arrays, no torch needed.

Names are those of this package with dots (`head.fuse_0.dense.conv.weight`), except for encoders
whose weights exist elsewhere: a `Layout` says how such weights call each encoder module. A new
source of weights is one more entry in LAYOUTS.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.registry import Registry

StateDict = Mapping[str, np.ndarray]

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Layout(NamedTuple):
    """How one source of weights names an encoder.

    `sign`: a regular expression that some key of it matches and no other layout's does.
    `modules`: (our module path below `encoder`, its module name), tried in order; the path is a
    regular expression, the name may use its groups.
    `unused`: a regular expression for keys that the encoder has no use for.
    """

    sign: str
    modules: tuple[tuple[str, str], ...]
    unused: str


LAYOUTS: Registry[Layout] = Registry("weight layout")

# PyPI efficientnet-lite-pytorch, which keeps the names of EfficientNet-PyTorch.
LAYOUTS.register("efficientnet_lite")(
    Layout(
        sign=r"_blocks\.\d+\._project_conv\.weight",
        modules=(
            (r"stem/conv", r"_conv_stem"),
            (r"stem/norm", r"_bn0"),
            (r"block_0*(\d+)/(expand|depthwise|project)/conv", r"_blocks.\1._\2_conv"),
            (r"block_0*(\d+)/expand/norm", r"_blocks.\1._bn0"),
            (r"block_0*(\d+)/depthwise/norm", r"_blocks.\1._bn1"),
            (r"block_0*(\d+)/project/norm", r"_blocks.\1._bn2"),
        ),
        unused=r"_conv_head\.weight|_bn1\.\w+|_fc\.(weight|bias)",
    )
)
LAYOUTS.register("ipixmatch_jax")(Layout(sign=r"encoder\..+", modules=(), unused=r"(?!)"))


def from_torch(state_dict: StateDict, variables: Any) -> Any:
    """`variables` with the encoder, and the head if it is in there, from `state_dict`.

    `variables` ({'params', 'batch_stats'}, arrays or ShapeDtypeStructs) gives the names and
    shapes; leaves that `state_dict` does not name stay as they are. New leaves are NumPy arrays
    in the dtype of the old ones. Convolution weights OIHW become HWIO.

    Errors: CheckpointError for an unknown layout, and one that lists all missing, unexpected and
    misshapen keys.
    """
    name, layout = _recognise(state_dict)
    with_head = any(key.startswith("head.") for key in state_dict)
    leaves, tree = jax.tree_util.tree_flatten_with_path(variables)
    filled, used, missing, misshapen = [], set(), [], []
    for path, leaf in leaves:
        key = _torch_name(path, layout)
        if key.startswith("head.") and not with_head:
            filled.append(leaf)
            continue
        used.add(key)
        if key not in state_dict:
            missing.append(key)
            continue
        value = _to_linen(np.asarray(state_dict[key]))
        if value.shape != leaf.shape or value.dtype.kind in "OSUMmc":
            misshapen.append(f"{key} {state_dict[key].shape} for {_torch_shape(leaf)}")
            continue
        filled.append(np.array(value, leaf.dtype, order="C"))
    ignored = re.compile(rf"{layout.unused}|.*\.num_batches_tracked")
    unexpected = [k for k in state_dict if k not in used and not ignored.fullmatch(k)]
    _complain(name, missing=missing, unexpected=unexpected, misshapen=misshapen)
    return jax.tree_util.tree_unflatten(tree, filled)


def to_torch(variables: Any) -> dict[str, np.ndarray]:
    """All of `variables` as a state dict; HWIO becomes OIHW, the inverse of `from_torch`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    paths = [path for path, _ in leaves]
    fitting = (
        layout
        for layout in map(LAYOUTS.__getitem__, LAYOUTS.names())
        if any(re.fullmatch(layout.sign, _torch_name(path, layout)) for path in paths)
    )
    layout = next(fitting, LAYOUTS["ipixmatch_jax"])
    return {_torch_name(path, layout): _to_oihw(np.asarray(leaf)) for path, leaf in leaves}


def _recognise(state_dict: StateDict) -> tuple[str, Layout]:
    for name in LAYOUTS.names():
        if any(re.fullmatch(LAYOUTS[name].sign, key) for key in state_dict):
            return name, LAYOUTS[name]
    raise CheckpointError(
        f"weights with the keys {_some(list(state_dict))} are of no known layout; "
        f"known: {', '.join(LAYOUTS.names())}"
    )


def _torch_name(path: tuple, layout: Layout) -> str:
    # path: collection ('params' or 'batch_stats'), group ('encoder' or 'head'), modules, leaf
    _, group, *modules, leaf = (entry.key for entry in path)
    module = "/".join(modules)
    for pattern, name in layout.modules if group == "encoder" else ():
        match = re.fullmatch(pattern, module)
        if match:
            return f"{match.expand(name)}.{_LEAVES[leaf]}"
    return ".".join([group, *modules, _LEAVES[leaf]])


def _to_linen(value: np.ndarray) -> np.ndarray:
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value


def _to_oihw(value: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(value.transpose(3, 2, 0, 1)) if value.ndim == 4 else value


def _torch_shape(leaf: Any) -> tuple[int, ...]:
    shape = tuple(leaf.shape)
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _some(keys: list[str], limit: int = 6) -> str:
    shown = ", ".join(keys[:limit]) or "none"
    return shown if len(keys) <= limit else f"{shown} and {len(keys) - limit} more"


def _complain(layout: str, **problems: list[str]) -> None:
    found = [f"{kind} keys: {_some(keys)}" for kind, keys in problems.items() if keys]
    if found:
        raise CheckpointError(
            f"weights of layout {layout!r} do not fit the model: {'; '.join(found)}. "
            "Choose the backbone that they were made for"
        )
