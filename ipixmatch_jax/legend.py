"""Names and colours of the classes of a run, also where its data is no longer at hand."""

import json
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.catalog import assemble
from ipixmatch_jax.data.records import spread_palette
from ipixmatch_jax.engine.paths import as_path
from ipixmatch_jax.errors import UserError


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
    folder = as_path(workdir or "") / "eval"
    paths = sorted(path for path in folder.glob("*.json") if path.stem.isdigit())
    if workdir is None or not paths:
        return ()
    result = json.loads(paths[-1].read_text())
    return tuple(next(iter(result[n]["iou"] for n in ("student", "teacher") if n in result)))
