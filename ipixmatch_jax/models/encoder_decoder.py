"""The structure of every model: an encoder, and a head that decodes its features."""

import flax.linen as nn
import jax


class EncoderDecoder(nn.Module):
    """Images [B,H,W,in_channels] → logits [B,H,W,C] float32, through `encode` and `decode`.

    Attributes:
        encoder: images → feature maps; has `input_mean` and `input_std`, the statistics of the
            images that it expects, and may have a `size_multiple`.
        head: `(features, size, train)` → logits.
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
