"""Images of other than three channels: adapting the first convolution and the normalization."""

from collections.abc import Sequence

import jax
import numpy as np

from ipixmatch_jax.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def adapt_first_conv(kernel: np.ndarray, in_channels: int) -> np.ndarray:
    """A first convolution's kernel for RGB, made fit: [k,k,3,D] → [k,k,in_channels,D].

    With fewer than three channels every one gets the mean of the RGB weights, with more the first
    three keep theirs and the others get the mean; all times 3 / in_channels, so that an image whose
    channels agree gives the response that its RGB form gave. One channel so gets the sum.
    """
    mean = kernel.mean(axis=2, keepdims=True)
    kept = kernel if in_channels >= 3 else kernel[:, :, :0]
    filled = np.repeat(mean, in_channels - kept.shape[2], axis=2)
    adapted = np.concatenate([kept, filled], axis=2) * (3 / in_channels)
    return adapted.astype(kernel.dtype)


def channel_constants(rgb: Sequence[float], in_channels: int) -> tuple[float, ...]:
    """Constants of RGB for `in_channels`; channels beyond RGB, or fewer, get the mean."""
    mean = (sum(rgb) / len(rgb),)
    kept = tuple(rgb) if in_channels >= 3 else ()
    return kept + mean * (in_channels - len(kept))


class RgbStatistics:
    """For encoders with `in_channels`: the mean and std of images in [0, 1] that they expect."""

    rgb_mean = IMAGENET_MEAN
    rgb_std = IMAGENET_STD

    @property
    def input_mean(self) -> tuple[float, ...]:
        return channel_constants(self.rgb_mean, self.in_channels)

    @property
    def input_std(self) -> tuple[float, ...]:
        return channel_constants(self.rgb_std, self.in_channels)


def check_channels(images: jax.Array, in_channels: int) -> None:
    """ConfigError unless images [B,H,W,·] have the channels that the model was made for."""
    if images.shape[-1] != in_channels:
        raise ConfigError(
            f"images have {images.shape[-1]} channels, the model expects {in_channels}; "
            f"set model.in_channels to {images.shape[-1]}"
        )
