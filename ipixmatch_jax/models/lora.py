"""Low-rank adapters of a frozen transformer encoder: LoRA (Hu et al., arXiv 2106.09685).

A matrix W [in,out] becomes W + alpha / rank · A B, with A [in,rank] and B [rank,out]; only A and B
are trained. A is drawn like the matrices of the encoder, B is zero at first.

This is code of our own, because no library fits. qwix 0.1.8, which is maintained and adapts linen
modules, knows whole matrices only: the query, key and value of DINOv2 are one matrix, so they would
share one A, and none of them could be left out; it also cannot merge. flax.nnx.LoRA is for nnx,
quax for Equinox, and jax-lorax and mlorax had their last release in early 2024.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.errors import ConfigError

TARGETS = ("query", "key", "value", "projection", "mlp")
# Name of a dense layer → the equal parts of its outputs, by the name of their target.
_PARTS = {
    "qkv": ("query", "key", "value"),
    "q": ("query",),
    "k": ("key",),
    "v": ("value",),
    "kv": ("key", "value"),
    "proj": ("projection",),
    **dict.fromkeys(("fc1", "fc2", "w12", "w3", "gate", "up", "down"), ("mlp",)),
}
_A, LORA_B = "lora_a_", "lora_b_"
# Everything in the encoder is frozen, except the adapters.
FROZEN_BY_LORA = ("encoder", f"!encoder/*/{_A}*", f"!encoder/*/{LORA_B}*")


@dataclasses.dataclass(frozen=True)
class Lora:
    """Attributes: rank and alpha, as above, and the targets, names in TARGETS."""

    rank: int
    alpha: float
    targets: tuple[str, ...]

    def adapts(self, layer: str) -> bool:
        """True if a dense layer of this name gets adapters."""
        return any(part in self.targets for part in _PARTS.get(layer, ()))


class LoraDense(nn.Dense):
    """A dense layer with adapters: x [...,in] → [...,features] in the compute dtype.

    Its parameters are those of nn.Dense, and `lora_a_TARGET` and `lora_b_TARGET` in float32.

    Raises:
        ConfigError: the rank is not below both sides of the matrix.
    """

    lora: Lora | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y, rank, parts = super().__call__(x), self.lora.rank, _PARTS[self.name]
        width = self.features // len(parts)
        if rank >= min(x.shape[-1], width):
            raise ConfigError(
                f"model.lora_rank is {rank}, but {'/'.join(self.path)} maps {x.shape[-1]} to "
                f"{width} channels; expected a rank below both, such as 8"
            )
        outputs = jnp.split(y, len(parts), axis=-1)
        for index, part in enumerate(parts):
            if part in self.lora.targets:
                a = self.param(_A + part, self.kernel_init, (x.shape[-1], rank), jnp.float32)
                b = self.param(LORA_B + part, nn.initializers.zeros, (rank, width), jnp.float32)
                change = x.astype(y.dtype) @ a.astype(y.dtype) @ b.astype(y.dtype)
                outputs[index] = outputs[index] + change * (self.lora.alpha / rank)
        return jnp.concatenate(outputs, axis=-1)


def with_lora(model: nn.Module, lora: Lora) -> nn.Module:
    """The model with adapters in its encoder.

    Args:
        model: an `EncoderDecoder`; its encoder's attribute `lora_targets` names what can be
            adapted.
        lora: rank, alpha and targets.

    Raises:
        ConfigError: the encoder has none of these targets.
    """
    known = getattr(model.encoder, "lora_targets", ())
    if not known:
        raise ConfigError(
            f"model.lora_rank is {lora.rank}, but the encoder {type(model.encoder).__name__} has "
            "no layers for LoRA; expected a transformer: dinov2_*, dinov3_small and larger "
            "(model.name=dpt) or mit_* (model.name=segformer); set model.lora_rank=0"
        )
    unknown = [target for target in lora.targets if target not in known]
    if unknown or not lora.targets:
        raise ConfigError(
            f"model.lora_targets is {lora.targets!r}; the encoder {type(model.encoder).__name__} "
            f"has {', '.join(known)}; give one or more of them"
        )
    numerics = dataclasses.replace(model.encoder.numerics, lora=lora)
    return model.clone(encoder=model.encoder.clone(numerics=numerics))


def is_adapter(name: str) -> bool:
    """True for the name of a parameter of an adapter."""
    return name.startswith((_A, LORA_B))


def without_lora(tree: Any) -> Any:
    """A tree of variables without its adapters."""
    if not isinstance(tree, Mapping):
        return tree
    return {name: without_lora(part) for name, part in tree.items() if not is_adapter(name)}


def merge_lora(tree: Any, alpha: float) -> Any:
    """Variables for the model without adapters that predict the same.

    Args:
        tree: `{'params', 'batch_stats'}` or a part of it, arrays.
        alpha: `Lora.alpha` of the model; the rank is that of the arrays.

    Returns:
        The same tree without adapters; the changed matrices are NumPy arrays in their dtype,
        computed in float64.
    """
    merged = without_lora(tree)
    for name, part in tree.items():
        if isinstance(part, Mapping):
            merged[name] = _merged_layer(name, part, alpha)
    return merged


def _merged_layer(layer: str, tree: Mapping[str, Any], alpha: float) -> Any:
    merged = merge_lora(tree, alpha)
    adapted = [name.removeprefix(_A) for name in tree if name.startswith(_A)]
    if adapted:
        kernel = np.array(tree["kernel"], np.float64)
        pieces = np.split(kernel, len(_PARTS[layer]), axis=-1)  # views
        for part in adapted:
            a, b = (np.asarray(tree[kind + part], np.float64) for kind in (_A, LORA_B))
            pieces[_PARTS[layer].index(part)] += alpha / a.shape[-1] * (a @ b)
        merged["kernel"] = kernel.astype(np.asarray(tree["kernel"]).dtype)
    return merged
