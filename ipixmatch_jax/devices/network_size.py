"""Whether the weights of a network fit into memory, found before any is made."""

import math
from typing import Any

import jax

from ipixmatch_jax.devices.machine import free_memory
from ipixmatch_jax.errors import ConfigError

_GB = 1e9


def check_network(variables: Any) -> None:
    """Checks that the first weights of a network fit into the main memory, where they are made.

    Args:
        variables: arrays or their shapes.

    Raises:
        ConfigError: they do not; a machine without memory would stand still, or end the process.
    """
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
    needed, free = 4 * count, free_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"the network has {count:,} weights, of {needed / _GB:.1f} GB, and this machine has "
            f"{free / _GB:.1f} GB of memory free; choose a smaller network (model.width, "
            "model.depth, model.backbone, model.decoder_channels)"
        )
