"""The feature maps of a model by name.

A model names a map with `self.sow('intermediates', name, x)`: `encoder` is the deepest map of the
encoder, `decoder` the input of the classifier. This costs nothing unless 'intermediates' is
mutable.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp


def named_features(intermediates: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Name → map [B,h,w,·], from the collection 'intermediates' after `apply`."""
    flat = flax.traverse_util.flatten_dict(intermediates)
    return {path[-1]: sown[-1] for path, sown in flat.items()}


def feature_names(model: nn.Module) -> tuple[str, ...]:
    """The names of a model's feature maps, found without computing anything."""

    def apply(key, images):
        _, updated = model.init_with_output(key, images, train=False, mutable=True)
        return named_features(updated.get("intermediates", {}))

    # A multiple of the patch size of every model.
    images = jax.ShapeDtypeStruct((1, 224, 224, len(model.input_mean)), jnp.float32)
    return tuple(sorted(jax.eval_shape(apply, jax.random.key(0), images)))
