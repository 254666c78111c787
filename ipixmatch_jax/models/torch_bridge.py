"""Converts variables to and from PyTorch state dicts (name → NumPy array), without torch.

By default, names are those of this package with dots (`head.fuse_0.dense.conv.weight`). For weights
that exist elsewhere, a `Layout` gives the names of the modules. A new source of weights is one more
entry in LAYOUTS.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models.input_channels import adapt_first_conv
from ipixmatch_jax.models.lora import is_adapter
from ipixmatch_jax.registry import Registry

StateDict = Mapping[str, np.ndarray]

_OWN = "ipixmatch_jax"
_NOTHING = r"(?!)"
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Layout(NamedTuple):
    """The names of a model's modules in one source of weights.

    Modules that no entry matches keep our name, with dots.

    Attributes:
        sign: regular expression that matches a key of this source, and no key of another.
        modules: pairs (our path, their name), tried in order. The path is a regular expression of
            a module (`encoder/stem/conv`; leaves then get PyTorch's `.weight`, `.bias`, …) or of
            one leaf (`encoder/pos_embed`; the name is then a whole key). The name may use groups
            of the path. Several names are parts of equal size, concatenated on the output axis of
            our leaf.
        unused: regular expression of the keys that the model does not use.
        lacks: regular expression of our modules that this source may lack; they then keep their
            values.
    """

    sign: str
    modules: tuple[tuple[str, str | tuple[str, ...]], ...]
    unused: str = _NOTHING
    lacks: str = _NOTHING


LAYOUTS: Registry[Layout] = Registry("weight layout")
# Sources that a layout cannot describe: state dict → that of a layout, None if it is another's.
TRANSLATIONS: Registry[Callable[[StateDict], dict[str, np.ndarray] | None]] = Registry(
    "translation of weights"
)

# PyPI efficientnet-lite-pytorch, which keeps the names of EfficientNet-PyTorch.
LAYOUTS.register("efficientnet_lite")(
    Layout(
        sign=r"_blocks\.\d+\._project_conv\.weight",
        modules=(
            (r"encoder/stem/conv", r"_conv_stem"),
            (r"encoder/stem/norm", r"_bn0"),
            (
                r"encoder/block_0*(\d+)/(expand|depthwise|project)/conv",
                r"_blocks.\1._\2_conv",
            ),
            (r"encoder/block_0*(\d+)/expand/norm", r"_blocks.\1._bn0"),
            (r"encoder/block_0*(\d+)/depthwise/norm", r"_blocks.\1._bn1"),
            (r"encoder/block_0*(\d+)/project/norm", r"_blocks.\1._bn2"),
        ),
        unused=r"_conv_head\.weight|_bn1\.\w+|_fc\.(weight|bias)",
    )
)
# Our own names. Keys of other layouts may begin with `encoder.` too; those take precedence.
LAYOUTS.register(_OWN)(Layout(sign=r"encoder\..+", modules=()))


def from_torch(state_dict: StateDict, variables: Any) -> Any:
    """Replaces the encoder of `variables`, and the head if it is there, by a state dict.

    Convolution weights OIHW become HWIO, matrices are transposed. A prefix of all names is
    dropped: `module.` of DistributedDataParallel, `_orig_mod.` of torch.compile, `model.` and the
    like. A first convolution for RGB is adapted to the model's channels (`adapt_first_conv`).

    Args:
        state_dict: name → array.
        variables: `{'params', 'batch_stats'}`, arrays or ShapeDtypeStructs, with the names and
            shapes of the model.

    Returns:
        `variables` with the new leaves as NumPy arrays in the dtype of the old ones. The head stays
        as it is if `state_dict` has none, and so do modules that its layout may lack.

    Raises:
        CheckpointError: an unknown layout, or keys that do not fit; the message lists all missing,
            unexpected and misshapen keys.
    """
    state_dict = _normalized(state_dict)
    name, layout = _recognize(state_dict)
    leaves, tree = jax.tree_util.tree_flatten_with_path(variables)
    keys = [_torch_keys(path, layout) for path, _ in leaves]
    of_head = [_group(path) == "head" for path, _ in leaves]
    with_head = any(
        part in state_dict
        for parts, head in zip(keys, of_head, strict=True)
        if head
        for part in parts
    )
    filled, used, missing, misshapen, broken = [], set(), [], [], []
    for (path, leaf), parts, head in zip(leaves, keys, of_head, strict=True):
        absent = [key for key in parts if key not in state_dict]
        if head and not with_head or len(absent) == len(parts) and _may_lack(layout, path):
            filled.append(leaf)
            continue
        used.update(parts)
        misfits = _misfits({k: state_dict[k] for k in parts if k in state_dict}, path, leaf, parts)
        missing += absent
        misshapen += misfits
        broken += [key for key in parts if key not in absent and not _is_finite(state_dict[key])]
        if not absent and not misfits:
            value = np.concatenate([np.asarray(state_dict[key]) for key in parts])
            value = _with_channels(_to_linen(path, value), leaf.shape)
            filled.append(np.array(value, leaf.dtype, order="C"))
    ignored = re.compile(rf"{layout.unused}|.*\.num_batches_tracked")
    unexpected = [k for k in state_dict if k not in used and not ignored.fullmatch(k)]
    _complain(name, missing=missing, unexpected=unexpected, misshapen=misshapen)
    if broken:
        raise CheckpointError(
            f"weights that are not finite: {_some(broken, 6)}; expected numbers: the training that "
            "wrote them has diverged; use an earlier checkpoint of it"
        )
    return jax.tree_util.tree_unflatten(tree, filled)


def with_own_classifier(
    state_dict: StateDict, variables: Any
) -> tuple[dict[str, np.ndarray], list[str]]:
    """A state dict whose classifier, if it has another number of classes, is replaced.

    Args:
        state_dict: name → array.
        variables: `{'params', 'batch_stats'}`, arrays; their classifier takes the place.

    Returns:
        The state dict for `from_torch`, and the names that were replaced.

    Raises:
        CheckpointError: an unknown layout.
    """
    state_dict = dict(_normalized(state_dict))
    _, layout = _recognize(state_dict)
    replaced = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        keys = _torch_keys(path, layout)
        if _group(path) != "head" or len(keys) > 1 or keys[0] not in state_dict:
            continue
        own, theirs = _from_linen(path, leaf), np.shape(state_dict[keys[0]])
        # Only a classifier differs in nothing but its outputs.
        if theirs != own.shape and theirs[1:] == own.shape[1:]:
            state_dict[keys[0]] = own
            replaced.append(keys[0])
    if len({state_dict[name].shape[0] for name in replaced}) > 1:
        raise CheckpointError(f"{', '.join(replaced)} differ in their outputs: another model")
    return state_dict, replaced


def to_torch(variables: Any, layout: str | None = None) -> dict[str, np.ndarray]:
    """Converts all variables to a state dict, the inverse of `from_torch`.

    Args:
        variables: `{'params', 'batch_stats'}`.
        layout: a name in LAYOUTS. None takes the first layout by alphabet that has names for the
            whole model, otherwise the first for the whole encoder, otherwise this package's own.

    Raises:
        ConfigError: an unknown layout.
        CheckpointError: the layout belongs to another encoder, or there are adapters.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    paths = [path for path, _ in leaves]
    if any(is_adapter(path[-1].key) for path in paths):
        raise CheckpointError(
            "the variables have LoRA adapters, for which PyTorch's models have no names; merge "
            "them first: models.merge_lora(variables, alpha)"
        )
    if layout is None:
        chosen = _natural(paths)
    else:
        chosen = LAYOUTS[layout]
        if layout != _OWN and not _names_encoder(chosen, paths):
            raise CheckpointError(f"weight layout {layout!r} has no names for this encoder")
    state = {}
    for path, leaf in leaves:
        keys = _torch_keys(path, chosen)
        state.update(zip(keys, np.split(_from_linen(path, leaf), len(keys)), strict=True))
    return state


# What wrappers put before all names: distributed training, torch.compile, Lightning and others.
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")


def _normalized(state_dict: StateDict) -> StateDict:
    """Without the prefixes of wrappers, and in names that a layout describes."""
    while not _is_known(state_dict) and (prefix := _shared_prefix(state_dict)):
        state_dict = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    return _translated(state_dict)


def _is_known(state_dict: StateDict) -> bool:
    names = _translated(state_dict)
    return any(re.fullmatch(LAYOUTS[one].sign, key) for one in LAYOUTS.names() for key in names)


def _shared_prefix(state_dict: StateDict) -> str:
    starts = (one for one in _PREFIXES if all(key.startswith(one) for key in state_dict))
    return next(starts, "") if state_dict else ""


def _translated(state_dict: StateDict) -> StateDict:
    translations = (TRANSLATIONS[name](state_dict) for name in TRANSLATIONS.names())
    return next((state for state in translations if state is not None), state_dict)


def _recognize(state_dict: StateDict) -> tuple[str, Layout]:
    for name in sorted(LAYOUTS.names(), key=lambda name: name == _OWN):
        sign = re.compile(LAYOUTS[name].sign)
        if any(map(sign.fullmatch, state_dict)):
            return name, LAYOUTS[name]
    raise CheckpointError(
        f"weights with the keys {_some(list(state_dict), 6)} have no known layout; "
        f"known: {', '.join(LAYOUTS.names())}"
    )


def _natural(paths: list[tuple]) -> Layout:
    layouts = [LAYOUTS[name] for name in LAYOUTS.names() if name != _OWN]
    fitting = [layout for layout in layouts if _names_encoder(layout, paths)]
    whole = [layout for layout in fitting if all(_renamed(path, layout) for path in paths)]
    return next(iter([*whole, *fitting]), LAYOUTS[_OWN])


def _names_encoder(layout: Layout, paths: list[tuple]) -> bool:
    encoder = [path for path in paths if _group(path) == "encoder"]
    return bool(encoder) and all(
        _renamed(path, layout) or _may_lack(layout, path) for path in encoder
    )


def _may_lack(layout: Layout, path: tuple) -> bool:
    return bool(re.fullmatch(layout.lacks, "/".join(entry.key for entry in path[1:-1])))


def _group(path: tuple) -> str:
    # path: collection ('params' or 'batch_stats'), group ('encoder' or 'head'), modules, leaf
    return path[1].key


def _torch_keys(path: tuple, layout: Layout) -> tuple[str, ...]:
    _, *modules, leaf = (entry.key for entry in path)
    return _renamed(path, layout) or (".".join([*modules, _LEAVES.get(leaf, leaf)]),)


def _renamed(path: tuple, layout: Layout) -> tuple[str, ...]:
    _, *modules, leaf = (entry.key for entry in path)
    module = "/".join(modules)
    for pattern, names in layout.modules:
        parts = (names,) if isinstance(names, str) else names
        match = re.fullmatch(pattern, module)
        if match:
            ending = _LEAVES.get(leaf, leaf)
            return tuple(f"{match.expand(part)}.{ending}".lstrip(".") for part in parts)
        match = re.fullmatch(pattern, f"{module}/{leaf}")
        if match:
            return tuple(match.expand(part) for part in parts)
    return ()


def _axes(path: tuple, rank: int) -> tuple[int, ...]:
    """The order of our axes in PyTorch's array: HWIO → OIHW, IO → OI, others unchanged."""
    if path[-1].key != "kernel":
        return tuple(range(rank))
    return {2: (1, 0), 4: (3, 2, 0, 1)}[rank]


def _from_linen(path: tuple, leaf: Any) -> np.ndarray:
    value = np.asarray(leaf)
    return np.ascontiguousarray(value.transpose(_axes(path, value.ndim)))


def _to_linen(path: tuple, value: np.ndarray) -> np.ndarray:
    return value.transpose(np.argsort(_axes(path, value.ndim)))


def _misfits(found: StateDict, path: tuple, leaf: Any, parts: tuple[str, ...]) -> list[str]:
    shape = tuple(leaf.shape[axis] for axis in _axes(path, len(leaf.shape)))
    if len(parts) > 1:
        shape = (shape[0] // len(parts), *shape[1:])
    # Only a first convolution has three input channels.
    accepted = (shape, (shape[0], 3, *shape[2:])) if len(shape) == 4 else (shape,)
    return [
        f"{key} {value.shape} for {shape}"
        for key, value in ((key, np.asarray(value)) for key, value in found.items())
        if value.shape not in accepted or value.dtype.kind in "OSUMmc"
    ]


def _is_finite(value: np.ndarray) -> bool:
    value = np.asarray(value)
    return value.dtype.kind not in "fV" or bool(np.isfinite(value.astype(np.float32)).all())


def _with_channels(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return value if value.shape == shape else adapt_first_conv(value, shape[2])


def _some(keys: list[str], limit: int = 60) -> str:
    shown = ", ".join(keys[:limit]) or "none"
    return shown if len(keys) <= limit else f"{shown} and {len(keys) - limit} more"


def _complain(layout: str, **problems: list[str]) -> None:
    found = [f"{kind} keys: {_some(keys)}" for kind, keys in problems.items() if keys]
    if found:
        raise CheckpointError(
            f"weights of layout {layout!r} do not fit the model: {'; '.join(found)}. "
            "Choose the backbone that they were made for"
        )
