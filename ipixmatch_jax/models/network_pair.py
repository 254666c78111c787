"""Two networks of one architecture that are trained together."""

import flax.linen as nn
import jax

from ipixmatch_jax.models.extent import Extent

# The names of the two networks.
TWINS = ("first", "second")


class Twins(nn.Module):
    """Two networks with params under `first` and `second`; a call runs the first one."""

    first: nn.Module
    second: nn.Module

    @property
    def input_mean(self) -> tuple[float, ...]:
        return self.first.input_mean

    @property
    def input_std(self) -> tuple[float, ...]:
        return self.first.input_std

    @property
    def size_multiple(self) -> int:
        return getattr(self.first, "size_multiple", 1)

    @property
    def frame_multiple(self) -> int:
        return getattr(self.first, "frame_multiple", 0)

    @property
    def smallest_side(self) -> int:
        return getattr(self.first, "smallest_side", 1)

    def within(self, extent: Extent) -> "Twins":
        return self.clone(first=self.first.within(extent))

    def encode(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
        return self.first.encode(images, train)

    def decode(
        self, features: tuple[jax.Array, ...], size: tuple[int, int], train: bool = False
    ) -> jax.Array:
        return self.first.decode(features, size, train)

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        if self.is_initializing():
            self.second(images, train)
        return self.first(images, train)
