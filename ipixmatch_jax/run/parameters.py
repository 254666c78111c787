"""The parameters of a network, counted by module."""

from collections import Counter
from typing import Any

import jax
import numpy as np

# With more rows than this, the outermost modules are listed alone.
_MOST_ROWS = 12


def parameter_table(params: Any) -> str:
    """The number of parameters of every module and their size, for the start of a run.

    Args:
        params: tree of arrays; its keys are the names of modules.
    """
    leaves = [
        ([str(key.key) for key in path], leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    ]
    counts: Counter[str] = Counter()
    for depth in (2, 1):
        counts = Counter()
        for names, leaf in leaves:
            # The last name is the parameter's own.
            counts["/".join(names[:-1][:depth]) or names[-1]] += int(np.prod(leaf.shape))
        if len(counts) <= _MOST_ROWS:
            break
    megabytes = sum(leaf.size * leaf.dtype.itemsize for _, leaf in leaves) / 1e6
    width = max(map(len, counts), default=0)
    rows = [f"  {name:<{width}}  {count:>13,}" for name, count in counts.items()]
    return "\n".join([f"parameters: {sum(counts.values()):,} ({megabytes:.1f} MB)", *rows])
