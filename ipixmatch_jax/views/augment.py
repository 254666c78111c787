"""Weak and strong views of a batch, and CutMix boxes, from each record's own random key."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.views.blur import random_gaussian_blur
from ipixmatch_jax.views.color import random_band_jitter, random_color_jitter, random_grayscale
from ipixmatch_jax.views.cutmix import cutmix_box
from ipixmatch_jax.views.intensity import random_intensity

# Random streams of one view of a record, folded in as 2·view + stream. The last two lie beyond any
# view of the first two.
_PHOTOMETRIC, _BOX, _CHANNELS, _CHANCE = 0, 1, 1 << 16, 1 << 17


def normalize(images: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """(images − mean) / std for each channel: [...,D] float in [0, 1] -> [...,D] float32."""
    shape = (1,) * (images.ndim - 1) + (len(mean),)
    mean, std = (jnp.array(values, jnp.float32).reshape(shape) for values in (mean, std))
    return (images.astype(jnp.float32) - mean) / std


@dataclass(frozen=True)
class Views:
    """The views of a batch that a method trains on, with UniMatch's strengths by default.

    Images are uint8 [B,H,W,3], or [B,H,W,D] with D bands that are not colors: these change in
    brightness and contrast only. Keys are uint32 [B,2], one per record. The view of a record
    depends only on its own image and key, never on its place in the batch, the batch size or the
    device.
    `view` numbers independent strong views and boxes of one record. Images or keys of another
    shape or dtype raise ValueError.

    Attributes:
        mean: mean of each of the D channels, for images in [0, 1]; the model names it.
        std: standard deviation of each channel.
        jitter_probability: probability of `color_jitter`, whose strengths are the next four.
        brightness: strength of the jitter.
        contrast: strength of the jitter.
        saturation: strength of the jitter.
        hue: strength of the jitter, at most 0.5.
        gray_probability: probability of `grayscale`.
        blur_probability: probability of `gaussian_blur`.
        blur_sigma: range of its sigma, pixels.
        cutmix_probability: probability that a record has a CutMix box.
        cutmix_area: range of the box's area, as a share of the image's.
        cutmix_ratio: range of the box's height over its width.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
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
        """The images [B,H,W,D] uint8, normalized: [B,H,W,D] float32."""
        return normalize(self._unit(images), self.mean, self.std)

    def strong(self, images: jax.Array, keys: jax.Array, view: int = 0) -> jax.Array:
        """Jittered, grayed and blurred, each at random, then normalized: [B,H,W,D] float32."""
        changed = jax.vmap(self._change)(_streams(keys, view, _PHOTOMETRIC), self._unit(images))
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

    def intensity(self, images: jax.Array, keys: jax.Array, view: int = 0) -> jax.Array:
        """After operations of AugSeg's list, then normalized: [B,H,W,3] float32."""
        if len(self.mean) != 3:
            raise ConfigError(
                f"AugSeg's operations are of colors; these images have {len(self.mean)} bands. "
                "Choose another method.name"
            )
        streams = _streams(keys, view, _PHOTOMETRIC)
        # One image after the other: a batched switch would run every operation on all of them.
        changed = jax.lax.map(lambda x: random_intensity(*x), (streams, self._unit(images)))
        return normalize(changed, self.mean, self.std)

    def without_intensity(self) -> "Views":
        """The same views without photometric changes: strong images are weak ones."""
        return dataclasses.replace(
            self, jitter_probability=0.0, gray_probability=0.0, blur_probability=0.0
        )

    def channels(
        self, keys: jax.Array, channels: int, probability: float, view: int = 0
    ) -> jax.Array:
        """For each record, every channel at random: [B,channels] float32, 1 with `probability`."""

        def draw(key):
            return jax.random.bernoulli(key, probability, (channels,))

        return jax.vmap(draw)(_streams(keys, view, _CHANNELS)).astype(jnp.float32)

    def chance(self, keys: jax.Array, view: int = 0) -> jax.Array:
        """A number for each record, uniform in [0, 1): [B] float32."""
        return jax.vmap(jax.random.uniform)(_streams(keys, view, _CHANCE))

    def beta_box(
        self, keys: jax.Array, height: int, width: int, beta: tuple[float, float], view: int = 0
    ) -> jax.Array:
        """Boxes of the images' shape and of area 1 − λ, λ of a Beta law: [B,H,W] bool.

        Each lies wherever it fits, uniformly (CutMix, arXiv 1905.04899).
        """

        def box(key: jax.Array) -> jax.Array:
            beta_key, place_key = jax.random.split(key)
            side = jnp.sqrt(1.0 - jax.random.beta(beta_key, *beta))
            inside = []
            for size, place in zip(
                (height, width), jax.random.uniform(place_key, (2,)), strict=True
            ):
                length = jnp.round(side * size)
                start = jnp.floor(place * (size - length + 1.0))
                at = jnp.arange(size, dtype=jnp.float32)
                inside.append((at >= start) & (at < start + length))
            return inside[0][:, None] & inside[1][None]

        return jax.vmap(box)(_streams(keys, view, _BOX))

    def _change(self, key: jax.Array, image: jax.Array) -> jax.Array:
        jitter_key, gray_key, blur_key = jax.random.split(key, 3)
        image = self._jitter(jitter_key, gray_key, image)
        return random_gaussian_blur(
            blur_key, image, probability=self.blur_probability, sigma=self.blur_sigma
        )

    def _jitter(self, jitter_key: jax.Array, gray_key: jax.Array, image: jax.Array) -> jax.Array:
        if len(self.mean) != 3:
            return random_band_jitter(
                jitter_key,
                image,
                probability=self.jitter_probability,
                brightness=self.brightness,
                contrast=self.contrast,
            )
        image = random_color_jitter(
            jitter_key,
            image,
            probability=self.jitter_probability,
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            hue=self.hue,
        )
        return random_grayscale(gray_key, image, probability=self.gray_probability)

    def _unit(self, images: jax.Array) -> jax.Array:
        bands = len(self.mean)
        if images.dtype != jnp.uint8 or images.ndim != 4 or images.shape[-1] != bands:
            raise ValueError(
                f"images are {images.dtype}{images.shape}; expected uint8 [B,H,W,{bands}]"
            )
        return images.astype(jnp.float32) / 255.0


def _streams(keys: jax.Array, view: int, stream: int) -> jax.Array:
    """Raw record keys [B,2] uint32 -> typed keys [B] of one view and one use."""
    if keys.dtype != jnp.uint32 or keys.ndim != 2 or keys.shape[-1] != 2:
        raise ValueError(f"keys are {keys.dtype}{keys.shape}; expected uint32 [B,2]")
    typed = jax.random.wrap_key_data(keys, impl="threefry2x32")
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(typed, 2 * view + stream)
