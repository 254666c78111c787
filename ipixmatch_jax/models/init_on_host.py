"""Initial values of a model's variables, drawn on the host."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from ipixmatch_jax.models.lora import LORA_B, is_adapter

_CONSTANTS = {
    **{"scale": 1.0, "var": 1.0, "gamma": 1.0},
    **{"bias": 0.0, "mean": 0.0, "mask_token": 0.0},
    "layer_scale": 1e-6,
}
_TOKENS = ("cls_token", "register_tokens", "pos_embed")
_SMALL = 0.02


def init_variables(
    module: nn.Module, key: jax.Array, images: jax.Array | jax.ShapeDtypeStruct
) -> Any:
    """Initializes like `module.init(key, images, train=False)`, as NumPy arrays and uncompiled.

    The distributions are those of this package's initializers: He normal by fan-in for convolution
    kernels, a standard deviation of 0.02 for matrices and tokens, ones for scales and variances,
    zeros for biases and means. Adapters (`models.lora`) change nothing in the rest: they are drawn
    by a generator of their own. NumPy's generator draws the same values on every platform. XLA
    would take up to half a minute on a CPU to compile `module.init`. A module with variables of
    other names is initialized by its own `init`.

    Args:
        module: a model.
        key: typed key, `jax.random.key(seed)`.
        images: [B,H,W,channels]; only the shape matters.
    """

    def init(k, x):
        return module.init(k, x, train=False)

    abstract = jax.eval_shape(init, key, images)
    names = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(abstract)}
    names = {name for name in names if not is_adapter(name)}
    if not names <= {"kernel", *_CONSTANTS, *_TOKENS}:
        zeros = np.zeros(images.shape, images.dtype)
        return jax.device_get(jax.jit(init)(key, zeros))
    seed = np.asarray(jax.random.key_data(key)).tolist()
    rng, rng_of_adapters = np.random.default_rng(seed), np.random.default_rng([*seed, 1])

    def draw(path, leaf):
        name = path[-1].key
        if is_adapter(name):
            deviation = 0.0 if name.startswith(LORA_B) else _SMALL
            return (rng_of_adapters.standard_normal(leaf.shape) * deviation).astype(leaf.dtype)
        if name in _CONSTANTS:
            return np.full(leaf.shape, _CONSTANTS[name], leaf.dtype)
        small = name in _TOKENS or leaf.ndim == 2
        deviation = _SMALL if small else np.sqrt(2.0 / np.prod(leaf.shape[:-1]))
        return (rng.standard_normal(leaf.shape) * deviation).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, abstract)
