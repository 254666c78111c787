"""The package in Python and notebooks: train, evaluate and predict, quiet unless asked."""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from ipixmatch_jax import config as configs
from ipixmatch_jax import evaluation, screen, training
from ipixmatch_jax.config import default_config
from ipixmatch_jax.data.worker_processes import end_if_importing
from ipixmatch_jax.devices.processes import use_compilation_cache
from ipixmatch_jax.engine.state import NETWORKS, TrainState
from ipixmatch_jax.paths import AnyPath, as_path, fixed
from ipixmatch_jax.predictor import Predictor, load_predictor
from ipixmatch_jax.run.advice import advise_on_run
from ipixmatch_jax.workdir.curves import parsed_line
from ipixmatch_jax.workdir.evaluations import read_evaluations
from ipixmatch_jax.workdir.folder import metrics_path
from ipixmatch_jax.workdir.results import run_summary

__all__ = [
    "TrainResult",
    "default_config",
    "evaluate",
    "load_config",
    "load_predictor",
    "train",
]

# What huggingface_hub and tfds say in a notebook without ipywidgets; no bar of ours needs them.
warnings.filterwarnings("ignore", message="IProgress not found")

Overrides = Mapping[str, Any]
_NONE: Overrides = {}


@dataclasses.dataclass(frozen=True, repr=False)
class TrainResult:
    """A run after `train`.

    Attributes:
        workdir: its folder.
        config: its config, with all that was measured or filled in.
        state: the last state: parameters of student and teacher, and the optimizer's state.
        text: what the command line would have printed.
    """

    workdir: AnyPath
    config: ConfigDict
    state: TrainState
    text: str

    @property
    def step(self) -> int:
        """The last step."""
        return int(self.state.step)

    @property
    def finished(self) -> bool:
        """Whether the run has reached `total_steps`; False after an interrupt."""
        return self.step >= self.config.total_steps

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`: the step and named numbers, as `pandas.DataFrame` takes."""
        path = metrics_path(self.workdir)
        lines = path.read_text().splitlines() if path.exists() else []
        return [found for found in map(parsed_line, lines) if found]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """The contents of `eval/STEP.json`, in the order of steps; `miou` and `iou` in [0, 1]."""
        return read_evaluations(self.workdir)

    @property
    def summary(self) -> dict[str, Any]:
        """The last, the mean of the last five, and the best mIoU; {} without an evaluation."""
        found = self.evaluations
        return run_summary(found, self.config.best_network) if found else {}

    @property
    def advice(self) -> list[str]:
        """What the numbers of the run suggest to change; empty if nothing stands out."""
        return [str(advice) for advice in advise_on_run(self.config, self.workdir)]

    def predictor(self, **arguments: Any) -> Predictor:
        """`load_predictor` of this run.

        Args:
            arguments: those of `load_predictor`.
        """
        # The caller has just trained with the method that the config names.
        return load_predictor(self.workdir, **{"trust": True, **arguments})

    def __repr__(self) -> str:
        last = {
            name: self.summary[name]["last"]["miou"] for name in NETWORKS if name in self.summary
        }
        scores = [f"{name} {100 * miou:.1f} %" for name, miou in last.items()]
        parts = [f"step {self.step} of {self.config.total_steps}"]
        parts += [f"mIoU {', '.join(scores)}"] if scores else []
        return f"<run {self.workdir}: {'; '.join(parts)}>"


def load_config(spec: str, overrides: Overrides = _NONE) -> ConfigDict:
    """The config of a packaged config or a config file, as `--config` takes it.

        config = load_config("folder:photos", {"total_steps": 500, "data.crop_size": (97, 97)})

    Later changes work as well, `config.batch_size = 4`, and are checked by `train`. Keys from which
    the config derives others, such as `data.folder.format` or `model.name`, belong in `overrides`.

    Args:
        spec: `FILE` or `FILE:ARG`, or the name of a packaged config such as `demo`.
        overrides: key to value, as `--config.KEY=VALUE` of the command line.

    Raises:
        ConfigError: the file, a key or a value cannot be used; with every problem found.
    """
    with _quiet():
        return configs.load_config(spec, _as_arguments(overrides))


def train(
    config: ConfigDict,
    workdir: os.PathLike | str,
    *,
    verbose: bool = False,
    progress: bool = False,
) -> TrainResult:
    """Trains to step `total_steps`, from the last checkpoint of the workdir or from the start.

    In a script with `data.workers` above 0, call it below `if __name__ == '__main__':`, since the
    workers import the script.

    Compiled programs are kept in `.jax_cache` next to the workdir, for the next call, unless JAX
    has a cache already.

    An interrupt (Ctrl-C, or the stop button of a notebook) saves a checkpoint and returns; the same
    call resumes. A second one raises KeyboardInterrupt, and nothing more is saved.

    Args:
        config: what `load_config` or `default_config` returns, with your changes.
        workdir: folder of the run, local or gs://; it is made if it does not exist.
        verbose: print what the command line prints.
        progress: show a bar with the step, the time left, losses and mIoU, on standard error.

    Raises:
        ConfigError: wrong keys or values, or a workdir that holds a run of another config.
        DataError: images or masks that cannot be used.
    """
    end_if_importing()
    _use_compilation_cache(workdir)
    with _quiet(verbose=verbose, progress=progress) as texts:
        state = training.train(config, workdir, ends_process=False)
    own = configs.load_snapshot(workdir, trust=True)
    return TrainResult(fixed(as_path(workdir)), own, state, "\n".join(texts))


def evaluate(
    workdir: os.PathLike | str,
    overrides: Overrides = _NONE,
    *,
    checkpoint: str | int = "latest",
    network: str = "both",
    split: str = "val",
    verbose: bool = False,
    progress: bool = False,
    trust: bool = False,
) -> dict[str, dict[str, Any]]:
    """Evaluates a checkpoint of a run; the result is also written into `eval/` of its folder.

        evaluate("runs/photos")["teacher"]["miou"]              # in [0, 1]
        evaluate("runs/photos", {"data.root": "other_photos"})

    Args:
        workdir: folder of the run.
        overrides: key to value, for example of other data.
        checkpoint: `latest`, `best` or a step.
        network: `student`, `teacher` or `both`.
        split: `val`, `test`, `labeled`, or another list or split name.
        verbose: print the table that the command line prints.
        progress: show a bar, on standard error.
        trust: whether a method of its own that the run names, `module:Class`, may be imported.

    Returns:
        Network to its results: `miou`, `iou` by class, `accuracy` and others, in [0, 1].

    Raises:
        ConfigError: the workdir holds no run, or a key or value cannot be used.
        CheckpointError: the run has no such checkpoint.
        DataError: images or masks that cannot be used.
    """
    _use_compilation_cache(workdir)
    with _quiet(verbose=verbose, progress=progress):
        config = configs.load_snapshot(workdir, _as_arguments(overrides), trust=trust)
        return evaluation.evaluate(
            config, workdir, checkpoint=str(checkpoint), network=network, split=split
        )


@contextlib.contextmanager
def _quiet(*, verbose: bool = False, progress: bool = False) -> Iterator[list[str]]:
    with screen.quiet_libraries(), screen.collected(verbose=verbose, progress=progress) as texts:
        yield texts


def _use_compilation_cache(workdir: os.PathLike | str) -> None:
    """As on the command line, unless the caller has chosen a cache."""
    if jax.config.jax_compilation_cache_dir is None and os.fspath(workdir):
        use_compilation_cache(as_path(workdir))


def _as_arguments(overrides: Overrides) -> list[str]:
    """The overrides as the command line spells them."""
    flat = configs.flatten(overrides)
    return [f"--config.{name}={_spelled(value)}" for name, value in flat]


def _spelled(value: Any) -> str:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # Not the repr of NumPy's numbers and arrays, which no literal is.
    value = value.tolist() if hasattr(value, "tolist") else value
    return value if isinstance(value, str) else repr(value)
