"""Checkpoints by orbax: written while training goes on; the latest and the best are kept."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from ipixmatch_jax.engine.state import TrainState, networks
from ipixmatch_jax.errors import CheckpointError

# Items of a checkpoint. Student and teacher stand alone: evaluation reads only what it runs.
NETWORKS = ("student", "teacher")
_ITEMS = (*NETWORKS, "training")


def best_metric(metrics: dict[str, float]) -> float:
    """What the best checkpoint is best in: the mIoU of the network that `best_network` names."""
    return metrics["miou"]


def split_state(state: TrainState) -> dict[str, Any]:
    """The items of a checkpoint."""
    return {
        **networks(state),
        "training": {
            "step": state.step,
            "bad_steps": state.bad_steps,
            "opt_state": state.opt_state,
        },
    }


def join_state(items: dict[str, Any]) -> TrainState:
    """The state of `split_state`."""
    student, teacher = items["student"], items["teacher"]
    return TrainState(
        params=student["params"],
        batch_stats=student["batch_stats"],
        teacher_params=teacher["params"],
        teacher_batch_stats=teacher["batch_stats"],
        **items["training"],
    )


class Checkpoints:
    """The checkpoints of a workdir; a context manager that waits for running saves at its end."""

    def __init__(self, workdir: pathlib.Path):
        self.directory = pathlib.Path(workdir).absolute() / "checkpoints"
        best = policies.BestN(
            get_metric_fn=best_metric, n=1, keep_checkpoints_without_metrics=False
        )
        self._manager = ocp.CheckpointManager(
            self.directory,
            item_names=_ITEMS,
            options=ocp.CheckpointManagerOptions(
                best_fn=best_metric,
                preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(1), best]),
                cleanup_tmp_directories=True,
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    def latest(self) -> int | None:
        """Step of the last complete checkpoint."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the checkpoint with the highest `best_metric`."""
        return self._manager.best_step()

    def find(self, which: str) -> int:
        """The step that `latest`, `best` or a number names; CheckpointError where there is none."""
        steps = self._manager.all_steps()
        if not steps:
            raise CheckpointError(
                f"{self.directory} holds no checkpoint; train first, or mend --workdir"
            )
        named = {"latest": self.latest(), "best": self.best()}
        step = named.get(which, int(which) if which.isdigit() else None)
        if step not in steps:
            raise CheckpointError(
                f"no checkpoint {which!r} in {self.directory}; there are steps "
                f"{', '.join(map(str, sorted(steps)))}, 'latest' and, after an evaluation, 'best'"
            )
        return step

    def save(self, step: int, state: TrainState, miou: float | None) -> None:
        """Starts saving; returns when the state has left the device's buffers."""
        items = {name: ocp.args.StandardSave(item) for name, item in split_state(state).items()}
        metrics = None if miou is None else {"miou": miou}
        self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """The state at a step.

        Args:
            abstract: a state of `jax.ShapeDtypeStruct` with the shardings to restore into.
        """
        return join_state(self._restore(step, split_state(abstract)))

    def restore_network(self, step: int, network: str, abstract: Any) -> Any:
        """`{'params', 'batch_stats'}` of the `student` or the `teacher` alone."""
        return self._restore(step, {network: abstract})[network]

    def _restore(self, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
        args = {name: ocp.args.StandardRestore(item) for name, item in abstract.items()}
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**args))
        except (ValueError, KeyError, TypeError, FileNotFoundError, OSError) as error:
            raise CheckpointError(
                f"checkpoint {self.directory / str(step)} does not fit this config or is damaged: "
                f"{_first_line(error)}; use the config that it was trained with (config.json "
                "beside it), or another workdir"
            ) from error
        return {name: restored[name] for name in abstract}


def abstract_like(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and dtypes of a (possibly abstract) tree, with a sharding to restore into."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
