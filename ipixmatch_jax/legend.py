"""Names and colours of the classes of a run, also where its data is no longer at hand."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.catalog import assemble
from ipixmatch_jax.data.records import spread_palette
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import UserError
from ipixmatch_jax.workdir.results import read_evaluations


def read_legend(config: ConfigDict, workdir: Any = None) -> tuple[tuple[str, ...], np.ndarray]:
    """The C class names and their colours, uint8 [C, 3].

    What the config leaves open is asked of the data set; without it, the names are those of the
    run's evaluations, and the colours are generated.
    """
    data = config.data
    names, palette = tuple(data.class_names), np.array(data.palette, np.uint8)
    if not names or not len(palette):
        try:
            dataset, _ = assemble(data, config.seed)
            return dataset.class_names, dataset.palette
        except UserError:
            names = names or _evaluated(workdir)
    names = names or tuple(f"class {index}" for index in range(data.num_classes))
    return names, palette if len(palette) else spread_palette(data.num_classes)


def _evaluated(workdir: Any) -> tuple[str, ...]:
    evaluations = [] if workdir is None else read_evaluations(workdir)
    if not evaluations:
        return ()
    result = evaluations[-1]
    return tuple(next(result[name]["iou"] for name in NETWORKS if name in result))
