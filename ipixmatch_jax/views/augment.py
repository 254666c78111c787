"""Weak and strong views of a batch, and CutMix boxes, from each record's own random key."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ipixmatch_jax.views.blur import random_gaussian_blur
from ipixmatch_jax.views.color import random_color_jitter, random_grayscale
from ipixmatch_jax.views.cutmix import cutmix_box

# Streams of the randomness of one view of a record.
_PHOTOMETRIC, _BOX = 0, 1


def normalize(
    images: jax.Array, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> jax.Array:
    """(images − mean) / std for each channel: [...,3] float in [0, 1] -> [...,3] float32."""
    shape = (1,) * (images.ndim - 1) + (3,)
    mean, std = (jnp.array(values, jnp.float32).reshape(shape) for values in (mean, std))
    return (images.astype(jnp.float32) - mean) / std


@dataclass(frozen=True)
class Views:
    """The views of a batch that a method trains on, with UniMatch's strengths by default.

    Images are uint8 [B,H,W,3], keys uint32 [B,2], one a record. What a record becomes depends on
    its own image and key alone, never on its place in the batch, the batch size or the device.
    `view` numbers independent strong views and boxes of one record. Images or keys of another
    shape or dtype raise ValueError.

    Attributes:
        mean: of each channel, for images in [0, 1]; the model names it.
        std: likewise.
        jitter_probability: of `color_jitter`, whose strengths are the next four.
        brightness: strength of the jitter.
        contrast: strength of the jitter.
        saturation: strength of the jitter.
        hue: strength of the jitter, at most 0.5.
        gray_probability: of `grayscale`.
        blur_probability: of `gaussian_blur`.
        blur_sigma: range of its sigma, pixels.
        cutmix_probability: that a record has a CutMix box.
        cutmix_area: range of the box's area, as a share of the image's.
        cutmix_ratio: range of the box's height over its width.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    jitter_probability: float = 0.8
    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.25
    gray_probability: float = 0.2
    blur_probability: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    cutmix_probability: float = 0.5
    cutmix_area: tuple[float, float] = (0.02, 0.4)
    cutmix_ratio: tuple[float, float] = (0.3, 1 / 0.3)

    def weak(self, images: jax.Array) -> jax.Array:
        """The images [B,H,W,3] uint8, normalised: [B,H,W,3] float32."""
        return normalize(_unit(images), self.mean, self.std)

    def strong(self, images: jax.Array, keys: jax.Array, view: int = 0) -> jax.Array:
        """Jittered, grayed and blurred, each at random, then normalised: [B,H,W,3] float32."""
        changed = jax.vmap(self._change)(_streams(keys, view, _PHOTOMETRIC), _unit(images))
        return normalize(changed, self.mean, self.std)

    def box(self, keys: jax.Array, height: int, width: int, view: int = 0) -> jax.Array:
        """A CutMix box for each record: [B,H,W] bool, true where another image goes."""
        return jax.vmap(
            lambda key: cutmix_box(
                key,
                height,
                width,
                probability=self.cutmix_probability,
                area=self.cutmix_area,
                ratio=self.cutmix_ratio,
            )
        )(_streams(keys, view, _BOX))

    def _change(self, key: jax.Array, image: jax.Array) -> jax.Array:
        jitter_key, gray_key, blur_key = jax.random.split(key, 3)
        image = random_color_jitter(
            jitter_key,
            image,
            probability=self.jitter_probability,
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
        )
        image = random_grayscale(gray_key, image, probability=self.gray_probability)
        return random_gaussian_blur(
            blur_key, image, probability=self.blur_probability, sigma=self.blur_sigma
        )


def _unit(images: jax.Array) -> jax.Array:
    if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images are {images.dtype}{images.shape}; expected uint8 [B,H,W,3]")
    return images.astype(jnp.float32) / 255.0


def _streams(keys: jax.Array, view: int, stream: int) -> jax.Array:
    """Raw record keys [B,2] uint32 -> typed keys [B] of one view and one use."""
    if keys.dtype != jnp.uint32 or keys.ndim != 2 or keys.shape[-1] != 2:
        raise ValueError(f"keys are {keys.dtype}{keys.shape}; expected uint32 [B,2]")
    typed = jax.random.wrap_key_data(keys, impl="threefry2x32")
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(typed, 2 * view + stream)
