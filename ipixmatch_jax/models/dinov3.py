"""DINOv3 vision transformers as dense encoders (Siméoni et al., arXiv 2508.10104).

Results equal those of Hugging Face transformers: patches of 16 pixels, four register tokens, layer
norm epsilon 1e-5, exact GELU, LayerScale, no bias of the keys, no dropout. Positions are rotary (Su
et al., arXiv 2104.09864): queries and keys of patches are rotated by angles of the patch's center,
whose coordinates reach from -1 to 1 along both sides of the image, so that every size fits. The
random rescaling of coordinates during DINOv3's own training is left out.
"""

import math
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ipixmatch_jax.models.attention import LayerNorm, attend, dense, merge_heads, split_heads
from ipixmatch_jax.models.backbones import ENCODERS
from ipixmatch_jax.models.extent import Extent
from ipixmatch_jax.models.input_channels import RgbStatistics, check_channels
from ipixmatch_jax.models.layers import Numerics, conv, widen
from ipixmatch_jax.models.lora import TARGETS
from ipixmatch_jax.models.vit import LayerScale, check_patches, tapped, tokens_of_images
from ipixmatch_jax.registry import Registry

_EPSILON = 1e-5
_BASE = 100.0  # of the rotary periods


@dataclass(frozen=True)
class Dinov3Shape:
    """Sizes of a vision transformer.

    `hidden` is the width between the dense layers of a block, which `gated` gates by SiLU; `taps`
    are the blocks whose outputs a dense head reads, four of them for DPT.
    """

    width: int
    depth: int
    heads: int
    taps: tuple[int, ...]
    hidden: int
    gated: bool = False
    registers: int = 4
    patch: int = 16


_QUARTERS = (2, 5, 8, 11)
DINOV3: Registry[Dinov3Shape] = Registry("DINOv3 backbone")
DINOV3.register("dinov3_small")(Dinov3Shape(384, 12, 6, _QUARTERS, 1536))
DINOV3.register("dinov3_small_plus")(Dinov3Shape(384, 12, 6, _QUARTERS, 1536, gated=True))
DINOV3.register("dinov3_base")(Dinov3Shape(768, 12, 12, _QUARTERS, 3072))
DINOV3.register("dinov3_large")(Dinov3Shape(1024, 24, 16, (4, 11, 17, 23), 4096))


def rotary_angles(size: tuple[int, int], head_width: int) -> np.ndarray:
    """Angles [h·w, head_width] float64 by which features of the patches of a map are rotated.

    A quarter of them belongs to the row and a quarter to the column, with periods from 1 to nearly
    `_BASE`; the other half repeats the first.
    """
    periods = _periods(head_width)
    centers = [2 * (np.arange(n) + 0.5) / n - 1 for n in size]
    grid = np.stack(np.meshgrid(*centers, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    angles = (2 * math.pi * grid / periods).reshape(len(grid), head_width // 2)
    return np.tile(angles, 2)


def _periods(head_width: int) -> np.ndarray:
    return _BASE ** (np.arange(head_width // 4) * 4 / head_width)


def rotation(
    size: tuple[int, int], head_width: int, dtype: DTypeLike, extent: Extent | None = None
) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines of `rotary_angles`, [1,h·w,head_width].

    With an `extent`, [B,h·w,head_width]: those of the true size of each image.
    """
    if extent is None:
        angles = rotary_angles(size, head_width)[None]
        return jnp.asarray(np.cos(angles), dtype), jnp.asarray(np.sin(angles), dtype)
    periods = jnp.asarray(_periods(head_width), dtype)
    quarters = []
    for side, n in zip(size, extent.at(size), strict=True):
        doubled = 2 * jnp.arange(side, dtype=jnp.int32)[None] + 1 - n[:, None]
        centers = doubled.astype(dtype) / n[:, None].astype(dtype)
        quarters.append(2 * math.pi * centers[..., None] / periods[None, None])
    rows, columns = quarters
    shape = (rows.shape[0], *size, rows.shape[-1])
    half = [jnp.broadcast_to(rows[:, :, None], shape), jnp.broadcast_to(columns[:, None], shape)]
    angles = jnp.concatenate([*half, *half], axis=-1).reshape(shape[0], -1, head_width)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, turns: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates x [B,T,N,H] by `rotation`; the tokens before the patches stay as they are.

    Feature i and feature i + H/2 are the two coordinates that an angle rotates.
    """
    y = widen(x)
    before = x.shape[1] - turns[0].shape[1]
    cos, sin = (
        jnp.pad(part, ((0, 0), (before, 0), (0, 0)), constant_values=still)[:, :, None]
        for part, still in zip(turns, (1, 0), strict=True)
    )
    first, second = jnp.split(y, 2, axis=-1)
    return (y * cos + jnp.concatenate([-second, first], axis=-1) * sin).astype(x.dtype)


class Attention(nn.Module):
    heads: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, int], seen: jax.Array | None) -> jax.Array:
        width, numerics = x.shape[-1], self.numerics
        query = split_heads(dense(width, numerics, "q")(x), self.heads)
        key = split_heads(dense(width, numerics, "k", bias=False)(x), self.heads)
        value = split_heads(dense(width, numerics, "v")(x), self.heads)
        # Constants, made here so that remat does not save them.
        turns = rotation(size, query.shape[-1], widen(query).dtype, numerics.extent)
        y = attend(rotate(query, turns), rotate(key, turns), value, seen)
        return dense(width, numerics, "proj")(merge_heads(y))


class Mlp(nn.Module):
    """Two dense layers with GELU; `gated` has a third, and SiLU (Shazeer, arXiv 2002.05202)."""

    hidden: int
    gated: bool
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, numerics = x.shape[-1], self.numerics
        if self.gated:
            y = nn.silu(dense(self.hidden, numerics, "gate")(x))
            return dense(width, numerics, "down")(y * dense(self.hidden, numerics, "up")(x))
        y = nn.gelu(dense(self.hidden, numerics, "fc1")(x), approximate=False)
        return dense(width, numerics, "fc2")(y)


class Block(nn.Module):
    """Tokens [B,T,width] → [B,T,width]: attention and MLP, each pre-normed, scaled and added.

    `seen`, bool [B,T]: the tokens that attention reads; None: all.
    """

    shape: Dinov3Shape
    size: tuple[int, int]
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, seen: jax.Array | None) -> jax.Array:
        shape, numerics = self.shape, self.numerics
        y = LayerNorm(_EPSILON, name="norm1")(x)
        y = Attention(shape.heads, numerics, name="attn")(y, self.size, seen)
        x = x + LayerScale(name="ls1")(y)
        mlp = Mlp(shape.hidden, shape.gated, numerics, name="mlp")
        return x + LayerScale(name="ls2")(mlp(LayerNorm(_EPSILON, name="norm2")(x)))


class Dinov3(RgbStatistics, nn.Module):
    """Images [B,H,W,in_channels] → maps [B,H/16,W/16,width] of the tapped blocks.

    The final layer norm is applied to every map; class token and registers are left out. H and W
    must be multiples of the patch size; ConfigError otherwise. `remat` recomputes the inner
    activations of each block in the backward pass. `mask_token` is not used; it exists because the
    published weights hold it.
    """

    shape: Dinov3Shape
    in_channels: int = 3
    remat: bool = False
    numerics: Numerics = Numerics()

    lora_targets = TARGETS

    @property
    def size_multiple(self) -> int:
        return self.shape.patch

    @property
    def frame_multiple(self) -> int:
        return self.shape.patch

    @property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        embedding = ("patch_embed", "cls_token", "mask_token", "register_tokens")
        return embedding, *((f"block_{index:02d}",) for index in range(self.shape.depth))

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        check_channels(x, self.in_channels)
        check_patches(x.shape[1:3], self.shape.patch)
        normal, zeros = nn.initializers.normal(0.02), nn.initializers.zeros
        width, patch = self.shape.width, self.shape.patch
        self.param("mask_token", zeros, (1, 1, width), jnp.float32)
        tokens = [self.param("cls_token", normal, (1, 1, width), jnp.float32)]
        if self.shape.registers:
            registers = (1, self.shape.registers, width)
            tokens.append(self.param("register_tokens", normal, registers, jnp.float32))
        prefix = sum(token.shape[1] for token in tokens)
        x = conv(width, patch, self.numerics, "patch_embed", stride=patch, padding=0)(x)
        batch, size = x.shape[0], x.shape[1:3]
        tokens = [jnp.broadcast_to(t.astype(x.dtype), (batch, *t.shape[1:])) for t in tokens]
        x = jnp.concatenate([*tokens, x.reshape(batch, -1, width)], axis=1)
        seen = tokens_of_images(self.numerics.extent, size, prefix)
        block, taps = nn.remat(Block) if self.remat else Block, []
        for index in range(self.shape.depth):
            x = block(self.shape, size, self.numerics, name=f"block_{index:02d}")(x, seen)
            if index in self.shape.taps:
                taps.append(x)
        norm = LayerNorm(_EPSILON, name="norm")
        return tuple(norm(tap[:, prefix:]).reshape(batch, *size, width) for tap in taps)


def _register(name: str) -> None:
    @ENCODERS.register(name)
    def build(*, taps: int | None, in_channels: int, remat: bool, numerics: Numerics) -> Dinov3:
        return Dinov3(tapped(DINOV3[name], taps), in_channels, remat, numerics)


for _name in DINOV3.names():
    _register(_name)
