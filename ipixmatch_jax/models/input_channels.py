"""What an encoder asks of its images: channels, their statistics, and the smallest size.

The first convolution and the normalization adapt to images without exactly three channels.
"""

from collections.abc import Sequence

import jax
import numpy as np

from ipixmatch_jax.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def adapt_first_conv(kernel: np.ndarray, in_channels: int) -> np.ndarray:
    """Adapts the first convolution's RGB kernel: [k,k,3,D] → [k,k,in_channels,D].

    With fewer than three channels, each gets the mean of the RGB weights. With more, the first
    three keep their weights and the others get the mean. All are multiplied by 3 / in_channels, so
    that an image with equal channels gives the same response as its RGB form; a single channel
    gets the sum.
    """
    mean = kernel.mean(axis=2, keepdims=True)
    kept = kernel if in_channels >= 3 else kernel[:, :, :0]
    filled = np.repeat(mean, in_channels - kept.shape[2], axis=2)
    adapted = np.concatenate([kept, filled], axis=2) * (3 / in_channels)
    return adapted.astype(kernel.dtype)


def channel_constants(rgb: Sequence[float], in_channels: int) -> tuple[float, ...]:
    """Adapts RGB constants to `in_channels`: extra channels, or fewer than three, get the mean."""
    mean = (sum(rgb) / len(rgb),)
    kept = tuple(rgb) if in_channels >= 3 else ()
    return kept + mean * (in_channels - len(kept))


class RgbStatistics:
    """Mixin for encoders with `in_channels`: mean and std of the expected images in [0, 1]."""

    rgb_mean = IMAGENET_MEAN
    rgb_std = IMAGENET_STD

    @property
    def input_mean(self) -> tuple[float, ...]:
        return channel_constants(self.rgb_mean, self.in_channels)

    @property
    def input_std(self) -> tuple[float, ...]:
        return channel_constants(self.rgb_std, self.in_channels)


def check_channels(images: jax.Array, in_channels: int) -> None:
    """Checks the number of channels of images [B,H,W,·].

    Raises:
        ConfigError: the model was made for another number.
    """
    if images.shape[-1] != in_channels:
        raise ConfigError(
            f"images have {images.shape[-1]} channels, the model expects {in_channels}; "
            f"set model.in_channels to {images.shape[-1]}"
        )


def check_smallest(size: tuple[int, int], least: int) -> None:
    """Checks that images of a size (H, W) have sides of at least `least` pixels.

    Raises:
        ConfigError: a side is smaller.
    """
    if min(size) < least:
        raise ConfigError(
            f"images of {size[0]}x{size[1]} pixels are too small for this encoder; "
            f"give at least {least}x{least} (data.crop_size)"
        )
