"""DINOv2 vision transformers as dense encoders.

Oquab et al., arXiv 2304.07193; registers from Darcet et al., arXiv 2309.16588. Parameters,
results and position embeddings equal those of facebookresearch/dinov2: patches of 14 pixels, layer
norm epsilon 1e-6, exact GELU, LayerScale, no dropout.
"""

from dataclasses import dataclass, replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.attention import LayerNorm, attend, dense, merge_heads, split_heads
from ipixmatch_jax.models.backbones import ENCODERS
from ipixmatch_jax.models.bicubic import bicubic_matrix
from ipixmatch_jax.models.create import choice
from ipixmatch_jax.models.extent import Extent
from ipixmatch_jax.models.input_channels import RgbStatistics, check_channels
from ipixmatch_jax.models.layers import Numerics, conv, widen
from ipixmatch_jax.models.lora import TARGETS
from ipixmatch_jax.registry import Registry

_EPSILON = 1e-6


@dataclass(frozen=True)
class VitShape:
    """Sizes of a vision transformer.

    `grid` is the side of the position embedding in patches; `taps` are the blocks whose outputs
    a dense head reads, four of them for DPT.
    """

    width: int
    depth: int
    heads: int
    taps: tuple[int, ...]
    swiglu: bool = False
    patch: int = 14
    grid: int = 37


DINOV2: Registry[VitShape] = Registry("DINOv2 backbone")
DINOV2.register("dinov2_small")(VitShape(384, 12, 6, (2, 5, 8, 11)))
DINOV2.register("dinov2_base")(VitShape(768, 12, 12, (2, 5, 8, 11)))
DINOV2.register("dinov2_large")(VitShape(1024, 24, 16, (4, 11, 17, 23)))
DINOV2.register("dinov2_giant")(VitShape(1536, 40, 24, (9, 19, 29, 39), swiglu=True))


class Attention(nn.Module):
    heads: int
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, seen: jax.Array | None) -> jax.Array:
        width, numerics = x.shape[-1], self.numerics
        query, key, value = (
            split_heads(part, self.heads)
            for part in jnp.split(dense(3 * width, numerics, "qkv")(x), 3, axis=-1)
        )
        return dense(width, numerics, "proj")(merge_heads(attend(query, key, value, seen)))


class Mlp(nn.Module):
    """Two dense layers with GELU; `swiglu` gates by SiLU instead (Shazeer, arXiv 2002.05202)."""

    swiglu: bool
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, numerics = x.shape[-1], self.numerics
        if self.swiglu:
            # Two thirds of 4·width, up to the next multiple of 8.
            hidden = (8 * width // 3 + 7) // 8 * 8
            gate, y = jnp.split(dense(2 * hidden, numerics, "w12")(x), 2, axis=-1)
            return dense(width, numerics, "w3")(nn.silu(gate) * y)
        x = nn.gelu(dense(4 * width, numerics, "fc1")(x), approximate=False)
        return dense(width, numerics, "fc2")(x)


class LayerScale(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gamma = self.param("gamma", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        return x * gamma.astype(x.dtype)[None, None]


class Block(nn.Module):
    """Tokens [B,T,width] → [B,T,width]: attention and MLP, each pre-normed, scaled and added.

    `seen`, bool [B,T]: the tokens that attention reads; None: all.
    """

    shape: VitShape
    numerics: Numerics

    @nn.compact
    def __call__(self, x: jax.Array, seen: jax.Array | None) -> jax.Array:
        y = LayerNorm(_EPSILON, name="norm1")(x)
        y = Attention(self.shape.heads, self.numerics, name="attn")(y, seen)
        x = x + LayerScale(name="ls1")(y)
        y = Mlp(self.shape.swiglu, self.numerics, name="mlp")(LayerNorm(_EPSILON, name="norm2")(x))
        return x + LayerScale(name="ls2")(y)


def check_patches(size: tuple[int, int], patch: int) -> None:
    """Checks that images of a size (H, W) divide into patches.

    Raises:
        ConfigError: they do not; the message names the nearest size that does.
    """
    if any(side % patch or not side for side in size):
        nearest = "x".join(str(max(1, round(side / patch)) * patch) for side in size)
        raise ConfigError(
            f"images of {size[0]}x{size[1]} pixels do not divide into patches of {patch}x"
            f"{patch}; the nearest size that does is {nearest} (data.crop_size)"
        )


def tokens_of_images(extent: Extent | None, size: tuple[int, int], prefix: int) -> jax.Array | None:
    """The tokens that belong to an image, bool [B,prefix + h·w]; None: all, without a frame.

    Args:
        size: (h, w) of the map of patches.
        prefix: number of tokens before the patches.
    """
    if extent is None:
        return None
    patches = extent.inside(size)
    patches = patches.reshape(patches.shape[0], -1)
    return jnp.pad(patches, ((0, 0), (prefix, 0)), constant_values=True)


class Dinov2(RgbStatistics, nn.Module):
    """Images [B,H,W,in_channels] → maps [B,H/14,W/14,width] of the tapped blocks.

    The final layer norm is applied to every map; class token and registers are left out. H and W
    must be multiples of the patch size; ConfigError otherwise.

    The position embedding is resized bicubically. facebookresearch/dinov2 resizes by the factor
    (n + 0.1) / 37 for n patches, and by n / 37 with antialiasing if there are registers; see
    `position_offset` and `antialias`. Hugging Face uses no offset in either case. `remat`
    recomputes the inner activations of each block in the backward pass. `mask_token` is not used;
    it exists because the published weights hold it.
    """

    shape: VitShape
    registers: int = 0
    position_offset: float = 0.1
    antialias: bool = False
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
        embedding = ("patch_embed", "pos_embed", "cls_token", "mask_token", "register_tokens")
        return embedding, *((_block_name(index),) for index in range(self.shape.depth))

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        check_channels(x, self.in_channels)
        check_patches(x.shape[1:3], self.shape.patch)
        normal, zeros = nn.initializers.normal(0.02), nn.initializers.zeros
        width, grid = self.shape.width, self.shape.grid
        self.param("mask_token", zeros, (1, width), jnp.float32)
        class_token = self.param("cls_token", normal, (1, 1, width), jnp.float32)
        positions = self.param("pos_embed", normal, (1, 1 + grid**2, width), jnp.float32)
        patch = self.shape.patch
        x = conv(width, patch, self.numerics, "patch_embed", stride=patch, padding=0)(x)
        batch, size, x = x.shape[0], x.shape[1:3], widen(x)
        x = x + self._resized(positions[:, 1:], size).astype(x.dtype)
        tokens = [
            self._repeated(class_token + positions[:, :1], batch),
            x.reshape(batch, -1, width),
        ]
        if self.registers:
            registers = self.param(
                "register_tokens", normal, (1, self.registers, width), jnp.float32
            )
            tokens.insert(1, self._repeated(registers, batch))
        x = jnp.concatenate([part.astype(self.numerics.dtype) for part in tokens], axis=1)
        seen = tokens_of_images(self.numerics.extent, size, 1 + self.registers)
        block, taps = nn.remat(Block) if self.remat else Block, []
        for index in range(self.shape.depth):
            x = block(self.shape, self.numerics, name=_block_name(index))(x, seen)
            if index in self.shape.taps:
                taps.append(x)
        norm = LayerNorm(_EPSILON, name="norm")
        maps = (norm(tap[:, 1 + self.registers :]) for tap in taps)
        return tuple(tap.reshape(batch, *size, width) for tap in maps)

    def _repeated(self, token: jax.Array, batch: int) -> jax.Array:
        return jnp.broadcast_to(token, (batch, *token.shape[1:]))

    def _resized(self, positions: jax.Array, size: tuple[int, int]) -> jax.Array:
        """Resizes the patches' position embeddings [1,grid²,width] to a map [1,*size,width]."""
        grid = self.shape.grid
        positions = positions.reshape(1, grid, grid, positions.shape[-1])
        if self.numerics.extent is not None:
            return self._resized_within(positions, size, self.numerics.extent)
        if size == (grid, grid):
            return positions
        rows, columns = (jnp.asarray(self._weights(n), positions.dtype) for n in size)
        return jnp.einsum(
            "hi,wj,bijc->bhwc", rows, columns, positions, precision=jax.lax.Precision.HIGHEST
        )

    def _weights(self, n: int) -> np.ndarray:
        """Weights [n,grid] that resize one side of the position embedding to n patches."""
        grid = self.shape.grid
        return bicubic_matrix(grid, n, grid / (n + self.position_offset), self.antialias)

    def _resized_within(
        self, positions: jax.Array, size: tuple[int, int], extent: Extent
    ) -> jax.Array:
        """Like `_resized`, to the true grid of each image: [B,*size,width], 0 beside it."""
        grid, true = self.shape.grid, extent.at(size)
        matrices = []
        for most, n in zip(size, true, strict=True):
            # The weights of every side that fits, of which each image takes its own.
            table = np.zeros((most + 1, most, grid), np.float32)
            for side in range(1, most + 1):
                table[side, :side] = self._weights(side)
            matrices.append(jnp.asarray(table, positions.dtype)[n])
        resized = jnp.einsum(
            "bhi,bwj,ijc->bhwc", *matrices, positions[0], precision=jax.lax.Precision.HIGHEST
        )
        as_trained = (true[0] == grid) & (true[1] == grid)
        full = [(0, 0, 0), *((0, side - grid, 0) for side in size), (0, 0, 0)]
        same = jax.lax.pad(positions, jnp.zeros((), positions.dtype), full)
        return jnp.where(as_trained.reshape(-1, 1, 1, 1), same, resized)


def _block_name(index: int) -> str:
    return f"block_{index:02d}"


def dinov2(
    backbone: str,
    *,
    registers: int,
    in_channels: int,
    remat: bool,
    numerics: Numerics,
    taps: int | None = None,
) -> Dinov2:
    """Builds the encoder that facebookresearch/dinov2 publishes under this name.

    `taps` is the number of last blocks whose outputs it returns; None: the four of DINOV2.

    Raises:
        ConfigError: the name is not in DINOV2.
    """
    return Dinov2(
        tapped(DINOV2[backbone], taps),
        registers,
        position_offset=0.0 if registers else 0.1,
        antialias=bool(registers),
        in_channels=in_channels,
        remat=remat,
        numerics=numerics,
    )


def tapped(shape: VitShape, taps: int | None) -> VitShape:
    """The shape with its last `taps` blocks tapped; None leaves it as it is."""
    if taps is None:
        return shape
    return replace(shape, taps=tuple(range(shape.depth - taps, shape.depth)))


def _register(name: str) -> None:
    @ENCODERS.register(name)
    def build(
        *,
        taps: int | None,
        in_channels: int,
        remat: bool,
        numerics: Numerics,
        registers: int = 0,
    ) -> Dinov2:
        choice(name, "registers", registers, (0, 4))
        common = {"in_channels": in_channels, "remat": remat, "numerics": numerics}
        return dinov2(name, registers=registers, taps=taps, **common)


for _name in DINOV2.names():
    _register(_name)
