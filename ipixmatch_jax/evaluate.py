"""From weights to mIoU: the same code during training and for a restored checkpoint."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data import Dataset, eval_batches, load_dataset, with_statistics
from ipixmatch_jax.engine import build
from ipixmatch_jax.engine.checkpoints import NETWORKS, Checkpoints, abstract_like
from ipixmatch_jax.engine.metrics import ConfusionMatrix, summary, table
from ipixmatch_jax.engine.parallel import Parallel
from ipixmatch_jax.engine.paths import as_path, write_whole
from ipixmatch_jax.engine.processes import is_first
from ipixmatch_jax.engine.step import make_eval_step
from ipixmatch_jax.errors import DataError

# Device counts are 32 bit; they are moved to 64 bit on the host before they can overflow.
_FLUSH_PIXELS = 2**30


class Evaluator:
    """Evaluates networks on the validation images, each whole, at its own size."""

    def __init__(self, config: ConfigDict, dataset: Dataset, model, parallel: Parallel):
        parallel.check_batch_size("eval_batch_size", config.eval_batch_size)
        self._config = config
        self._dataset = dataset
        self._parallel = parallel
        step = make_eval_step(model, build.build_views(config, model), config.data.num_classes)
        self._step = parallel.spread(step)

    def __call__(self, networks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Network name → `summary` of its confusion matrix.

        Args:
            networks: name → `{'params', 'batch_stats'}` as replicated arrays.
        """
        classes = self._config.data.num_classes
        totals = {name: np.zeros((classes, classes), np.int64) for name in networks}
        matrices, pixels = self._empty(networks), 0
        batches = eval_batches(
            self._dataset.val,
            batch_size=self._config.eval_batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        for batch in batches:
            pixels += batch["mask"].size * jax.process_count()
            arrays = self._parallel.put_batch({key: batch[key] for key in ("image", "mask")})
            matrices = self._step(networks, matrices, arrays)
            if pixels > _FLUSH_PIXELS:
                self._flush(totals, matrices)
                matrices, pixels = self._empty(networks), 0
        self._flush(totals, matrices)
        if not all(counts.any() for counts in totals.values()):
            raise DataError(
                f"the {len(self._dataset.val)} validation masks hold no pixel that counts; "
                "expected class ids besides 255 (ignore); see data.val"
            )
        names = self._dataset.class_names
        return {name: summary(counts, names) for name, counts in totals.items()}

    def _empty(self, networks: Mapping[str, Any]) -> dict[str, ConfusionMatrix]:
        empty = {n: ConfusionMatrix.empty(self._config.data.num_classes) for n in networks}
        return self._parallel.replicate(empty)

    def _flush(self, totals: dict[str, np.ndarray], matrices: Mapping[str, Any]) -> None:
        for name, matrix in matrices.items():
            totals[name] += np.asarray(matrix.counts)


class ForegroundWatch:
    """Says so when nothing but one class is found, evaluation after evaluation."""

    def __init__(self):
        self._in_a_row = 0

    def __call__(self, results: Mapping[str, Any]) -> str:
        """A warning from the second such evaluation in a row on, else ''."""
        found = [sum(bool(iou) for iou in r["iou"].values()) for r in results.values()]
        self._in_a_row = self._in_a_row + 1 if max(found) <= 1 else 0
        if self._in_a_row < 2:
            return ""
        return (
            f"\nwarning: {self._in_a_row} evaluations in a row found at most one class. Try "
            "supervised.weighting=inverse_frequency or supervised.dice_weight=1 (small objects), a "
            "lower method.confidence or method.threshold=class_adaptive, a later method.ramp_start,"
            " or another optimizer.learning_rate; --mode inspect shows what the labels hold"
        )


def write_result(
    workdir: pathlib.Path, step: int, split: str, results: Mapping[str, Any], protocol: str = ""
) -> pathlib.Path:
    """Writes `eval/STEP.json`, keeping what the file says of networks that are not in `results`.

    `protocol` is the name of the labeled images' choice, where it is a published one.
    """
    path = as_path(workdir) / "eval" / f"{step}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    merged = {**before, "step": step, "split": split, "protocol": protocol, **results}
    write_whole(path, json.dumps(merged, indent=2) + "\n")
    return path


def restore_networks(
    config: ConfigDict, workdir: pathlib.Path, model, parallel: Parallel, which: str, names
) -> tuple[int, dict[str, Any]]:
    """The step and the named networks of a checkpoint (`latest`, `best` or a step)."""
    abstract = abstract_like(build.abstract_variables(config, model), parallel.replicated)
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.find(which)
        return step, {n: checkpoints.restore_network(step, n, abstract) for n in names}


def evaluate(
    config: ConfigDict, workdir: pathlib.Path, *, checkpoint: str = "latest", network: str = "both"
) -> dict[str, dict[str, Any]]:
    """Restores a checkpoint, evaluates it, prints the table and writes `eval/STEP.json`.

    Args:
        checkpoint: `latest`, `best` or a step.
        network: `student`, `teacher` or `both`.
    """
    config = with_statistics(config)
    parallel = build.build_parallel(config)
    model = build.build_model(config)
    names = NETWORKS if network == "both" else (network,)
    step, networks = restore_networks(config, workdir, model, parallel, checkpoint, names)
    dataset = load_dataset(config.data, config.seed)
    results = Evaluator(config, dataset, model, parallel)(networks)
    if not is_first():
        return results
    path = write_result(workdir, step, "val", results, dataset.protocol)
    print(f"step {step}, {len(dataset.val)} validation images\n{table(results)}\nwritten to {path}")
    return results
