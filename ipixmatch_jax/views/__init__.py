"""Views of a batch of images on the device: normalized, photometrically strong, CutMixed."""

from ipixmatch_jax.views.augment import Views, normalize
from ipixmatch_jax.views.blur import gaussian_blur, random_gaussian_blur
from ipixmatch_jax.views.color import (
    color_jitter,
    grayscale,
    random_color_jitter,
    random_grayscale,
)
from ipixmatch_jax.views.cutmix import cutmix_box, paste, resize_box

__all__ = [
    "Views",
    "color_jitter",
    "cutmix_box",
    "gaussian_blur",
    "grayscale",
    "normalize",
    "paste",
    "random_color_jitter",
    "random_gaussian_blur",
    "random_grayscale",
    "resize_box",
]
