"""The structure of every model: an encoder, and a head that decodes its features."""

import dataclasses
import math

import flax.linen as nn
import jax

from ipixmatch_jax.models.extent import Extent


class EncoderDecoder(nn.Module):
    """Images [B,H,W,in_channels] → logits [B,H,W,C] float32, through `encode` and `decode`.

    Attributes:
        encoder: images → feature maps; has `input_mean` and `input_std`, the statistics of the
            images that it expects, and may have a `size_multiple`.
        head: `(features, size, train)` → logits.

    An encoder and a head that heed `numerics.extent` have a `frame_multiple`: sides of frames are
    multiples of it, in pixels for the encoder, in rows of its coarsest map for the head. An encoder
    with unpadded strided layers has `full_windows` too: see `ipixmatch_jax/models/extent.py`.
    """

    encoder: nn.Module
    head: nn.Module

    @property
    def input_mean(self) -> tuple[float, ...]:
        return self.encoder.input_mean

    @property
    def input_std(self) -> tuple[float, ...]:
        return self.encoder.input_std

    @property
    def size_multiple(self) -> int:
        """Pixels of which H and W must be multiples."""
        return getattr(self.encoder, "size_multiple", 1)

    @property
    def frame_multiple(self) -> int:
        """Pixels of which the sides of a frame must be multiples; 0: `within` is not possible."""
        return math.prod(getattr(part, "frame_multiple", 0) for part in (self.encoder, self.head))

    @property
    def smallest_side(self) -> int:
        """Pixels that H and W must have at least."""
        return getattr(self.encoder, "smallest_side", 1)

    def within(self, extent: Extent) -> "EncoderDecoder":
        """The network for images in a frame; each gets the logits that it gets alone.

        Raises:
            ValueError: a frame that is no multiple of `frame_multiple`.
        """
        if not self.frame_multiple or any(side % self.frame_multiple for side in extent.frame):
            raise ValueError(f"frame {extent.frame} is no multiple of {self.frame_multiple}")

        full_windows = getattr(self.encoder, "full_windows", False)
        extent = dataclasses.replace(extent, full_windows=full_windows)

        def changed(part: nn.Module) -> nn.Module:
            return part.clone(numerics=dataclasses.replace(part.numerics, extent=extent))

        return self.clone(encoder=changed(self.encoder), head=changed(self.head))

    def encode(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        """Feature maps [B,h,w,channels] of the encoder, in the compute dtype."""
        return self.encoder(images, train)

    def decode(
        self, features: tuple[jax.Array, ...], size: tuple[int, int], train: bool = False
    ) -> jax.Array:
        """Logits [B,*size,C] float32 of the feature maps that `encode` returned."""
        return self.head(features, size, train)

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        return self.decode(self.encode(images, train), images.shape[1:3], train)
