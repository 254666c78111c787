"""First values of a model's variables, drawn on the host."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from ipixmatch_jax.errors import ConfigError

_CONSTANTS = {"scale": 1.0, "var": 1.0, "bias": 0.0, "mean": 0.0}


def init_variables(
    module: nn.Module, key: jax.Array, images: jax.Array | jax.ShapeDtypeStruct
) -> Any:
    """`module.init(key, images, train=False)` as NumPy arrays, without compiling anything.

    The same distributions as the modules' own initialisers, from NumPy's generator: He normal by
    fan-in for kernels, ones for scales and variances, zeros for biases and means. Compiling
    `module.init` takes XLA up to half a minute on CPU, a generator for every shape.

    Errors: ConfigError for a variable of another name.
    """
    abstract = jax.eval_shape(lambda k, x: module.init(k, x, train=False), key, images)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            fan_in = np.prod(leaf.shape[:-1])
            return (rng.standard_normal(leaf.shape) * np.sqrt(2.0 / fan_in)).astype(leaf.dtype)
        if name not in _CONSTANTS:
            raise ConfigError(
                f"variable {jax.tree_util.keystr(path)} has no rule for its first value; known: "
                f"kernel, {', '.join(sorted(_CONSTANTS))}; use module.init instead"
            )
        return np.full(leaf.shape, _CONSTANTS[name], leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, abstract)
