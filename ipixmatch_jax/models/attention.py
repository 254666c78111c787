"""Shared parts of the transformers: attention, layer norm and the initializer of matrices."""

from functools import lru_cache

import flax.linen as nn
import jax
import jax.numpy as jnp

from ipixmatch_jax.models.layers import Numerics, widen
from ipixmatch_jax.models.lora import LoraDense

dense_init = nn.initializers.normal(0.02)


def dense(features: int, numerics: Numerics, name: str, *, bias: bool = True) -> nn.Dense:
    """A dense layer, with adapters if `numerics.lora` adapts layers of this name."""
    options = {"dtype": numerics.dtype, "kernel_init": dense_init, "name": name, "use_bias": bias}
    if numerics.lora and numerics.lora.adapts(name):
        return LoraDense(features, lora=numerics.lora, **options)
    return nn.Dense(features, **options)


class LayerNorm(nn.Module):
    """x [...,C] normalized over C, computed in float32 or better, in x's dtype.

    Linen's rejects float64 under strict dtype promotion.
    """

    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y, channels = widen(x), (1,) * (x.ndim - 1) + x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        y = y - jnp.mean(y, axis=-1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + self.epsilon)
        scale, bias = (a.astype(y.dtype).reshape(channels) for a in (scale, bias))
        return (y * scale + bias).astype(x.dtype)


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, seen: jax.Array | None = None
) -> jax.Array:
    """Softmax attention: query [B,T,N,H], key and value [B,S,N,H], of one dtype → [B,T,N,H].

    Keys that are not `seen`, bool [B,S], get no weight; their values must be finite.

    On an NVIDIA GPU, half precision uses cuDNN's fused kernel, which never stores the [B,N,T,S]
    weights; JAX uses it only on request. Everywhere else XLA's form runs, in float32: in half
    precision it would store the weights twice, and its gradient does not lower under strict
    dtype promotion.
    """
    mask = None if seen is None else seen[:, None, None]
    if query.dtype == jnp.float64:
        return _attend_exactly(query, key, value, mask)
    fused = (
        mask is None
        and jnp.dtype(query.dtype).itemsize == 2
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= 128
        and _has_fused_kernel()
    )
    if fused:
        return jax.nn.dot_product_attention(query, key, value, implementation="cudnn")
    wide = (widen(x) for x in (query, key, value))
    attended = jax.nn.dot_product_attention(*wide, mask=mask, implementation="xla")
    return attended.astype(query.dtype)


def _attend_exactly(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None
) -> jax.Array:
    """Attention in float64; jax.nn.dot_product_attention always has a float32 softmax."""
    logits = jnp.einsum("btnh,bsnh->bnts", query, key) * query.shape[-1] ** -0.5
    if mask is not None:
        logits = jnp.where(mask, logits, -jnp.inf)
    return jnp.einsum("bnts,bsnh->btnh", jax.nn.softmax(logits, axis=-1), value)


@lru_cache(maxsize=1)
def _has_fused_kernel() -> bool:
    """True if computations run on NVIDIA GPUs for which cuDNN has flash attention."""
    capabilities = [getattr(device, "compute_capability", "") for device in jax.local_devices()]
    try:
        return min(float(capability) for capability in capabilities) >= 8.0
    except ValueError:  # not CUDA: the capability is no number
        return False


def split_heads(x: jax.Array, heads: int) -> jax.Array:
    """[B,T,N·H] → [B,T,N,H]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def merge_heads(x: jax.Array) -> jax.Array:
    """[B,T,N,H] → [B,T,N·H]."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])
