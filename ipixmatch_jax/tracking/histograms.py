"""Histograms of parameters, counted on the host."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

# Counts [n] of the bins between edges [n + 1].
Histogram = tuple[np.ndarray, np.ndarray]

_BINS = 64
_MOST_VALUES = 100_000


def parameter_histograms(params: Any, most: int) -> dict[str, Histogram]:
    """Histograms of parameters, by the path of their module.

    Modules are grouped at the deepest level that has at most `most` groups. If even the top level
    has more, the largest are shown. Large modules are sampled: every n-th value counts.

    Args:
        params: parameters as in the state; this process has a copy of every array.
        most: largest number of histograms; 0 gives none.
    """
    leaves = {
        tuple(key.key for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    deepest = max(map(len, leaves), default=0)
    groups = _grouped(leaves, 1)
    for depth in range(2, deepest + 1):
        finer = _grouped(leaves, depth)
        groups = finer if len(finer) <= most else groups
    largest = sorted(groups, key=lambda name: -sum(leaf.size for leaf in groups[name]))[:most]
    return {f"params/{name}": _histogram(groups[name]) for name in sorted(largest)}


def _grouped(leaves: Mapping[tuple[str, ...], Any], depth: int) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for path, leaf in leaves.items():
        groups.setdefault("/".join(path[:depth]), []).append(leaf)
    return groups


def _histogram(arrays: list[Any]) -> Histogram:
    every = -(-sum(array.size for array in arrays) // _MOST_VALUES)
    # Replicated: any device holds the whole array.
    hosts = [np.asarray(x.addressable_data(0) if isinstance(x, jax.Array) else x) for x in arrays]
    values = np.concatenate([host.reshape(-1)[::every] for host in hosts]).astype(np.float64)
    return np.histogram(values[np.isfinite(values)], _BINS)
