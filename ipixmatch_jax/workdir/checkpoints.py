"""Checkpoints by orbax, saved in the background; the last two and the best are kept."""

import shutil
import sys
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from ipixmatch_jax.devices.processes import agree, first_only, is_first
from ipixmatch_jax.engine.state import NETWORKS, TrainState, held_teacher, networks
from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.paths import AnyPath, as_path, is_remote
from ipixmatch_jax.workdir.checkpoint_scores import (
    LatestAndBest,
    best_of,
    read_mious,
    write_miou,
)
from ipixmatch_jax.workdir.folder import check_encoding, checkpoints_folder, config_path
from ipixmatch_jax.workdir.literal_folders import take_folders_literally

# Items of a checkpoint. Student and teacher are separate items: evaluation reads only one.
_ITEMS = (*NETWORKS, "training", "checksums")
# Errors of the file system and of tensorstore; orbax raises them in its own thread or in this one.
_SAVE_ERRORS = (OSError, ValueError, RuntimeError)


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, which would refuse all checkpoints for one damaged file of metrics."""

    def metrics(self, step: int) -> None:
        """None: `read_mious` reads them."""


def split_state(state: TrainState) -> dict[str, Any]:
    """Splits a state into the items of a checkpoint."""
    training = {
        "step": state.step,
        "bad_steps": state.bad_steps,
        "opt_state": state.opt_state,
    }
    if jax.tree.leaves(state.balance):  # absent from checkpoints of most runs, and of older ones
        training["balance"] = state.balance
    return {**networks(state), "training": training}


def join_state(items: dict[str, Any], abstract: TrainState) -> TrainState:
    """Joins the items of `split_state` to a state like `abstract`.

    The teacher of a checkpoint is whole; that of a state has only what learns.
    """
    student, teacher = items["student"], items["teacher"]
    return TrainState(
        params=student["params"],
        batch_stats=student["batch_stats"],
        teacher_params=held_teacher(teacher["params"], abstract),
        teacher_batch_stats=teacher["batch_stats"],
        **items["training"],
    )


class Checkpoints:
    """The checkpoints of a workdir; a context manager that waits for running saves at its end.

    The last two are kept, because the last may be damaged, and the best.

    Args:
        workdir: folder of the run.
        writable: True in the run itself, which also removes leftovers of a killed save. Others only
            read, also while the run goes on.

    Raises:
        CheckpointError: the folder cannot be read.
    """

    def __init__(self, workdir: AnyPath, *, writable: bool = False):
        self._workdir = as_path(workdir)
        check_encoding(self._workdir)
        take_folders_literally()
        self._writable = writable
        if not is_remote(self._workdir):
            self._workdir = self._workdir.absolute()
        self.directory = checkpoints_folder(self._workdir)
        self._mious: dict[int, float] = {}
        self._policy = LatestAndBest(self._mious)
        try:
            self._manager = self._open()
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self.directory} cannot be read: {_first_line(error)}; if a file in it is "
                "damaged, move the folder of its step away"
            ) from error

    def _open(self) -> ocp.CheckpointManager:
        writing: dict[str, Any] = {"read_only": True, "create": False}
        if self._writable:
            writing = {"preservation_policy": self._policy, "cleanup_tmp_directories": True}
        manager = _Manager(
            self.directory, item_names=_ITEMS, options=ocp.CheckpointManagerOptions(**writing)
        )
        self._mious.clear()
        self._mious.update(read_mious(self.directory, manager.all_steps(), _warn))
        return manager

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, failed: type | None, *_) -> None:
        try:
            self._manager.close()
        except _SAVE_ERRORS as error:
            # An error that is already raised says more than that of the save which it interrupted.
            if failed is None:
                raise self._not_saved("the last one", error) from error

    def latest(self) -> int | None:
        """Step of the last complete checkpoint."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the checkpoint with the highest mIoU of the network `best_network`."""
        return best_of(self._mious, self._manager.all_steps())

    def is_evaluated(self, step: int) -> bool:
        """True if the evaluation of a checkpoint has been recorded."""
        return step in self._mious

    def find(self, which: str) -> int:
        """The step that `latest`, `best` or a number names.

        Raises:
            CheckpointError: there is no such checkpoint.
        """
        steps = self._manager.all_steps()
        if not steps:
            raise CheckpointError(
                f"{self.directory} holds no checkpoint; train first, or check --workdir"
            )
        named = {"latest": self.latest(), "best": self.best()}
        step = named.get(which, int(which) if which.isdigit() else None)
        if step not in steps:
            raise CheckpointError(
                f"no checkpoint {which!r} in {self.directory}; there are steps "
                f"{', '.join(map(str, sorted(steps)))}, 'latest' and, after an evaluation, 'best'"
            )
        return step

    def save(self, step: int, state: TrainState) -> None:
        """Starts a save; returns when the state has been copied from the device's buffers.

        Args:
            step: step of the state.
            state: global arrays.

        Raises:
            CheckpointError: this checkpoint, or the previous one that was still being written,
                cannot be saved.
        """
        if not config_path(self._workdir).exists():
            raise CheckpointError(
                f"step {step} cannot be saved: {config_path(self._workdir)} does not exist any "
                "more; was the folder deleted or unmounted? Restore it, and the same command "
                "resumes its last checkpoint"
            )
        parts = split_state(state)
        items = {name: ocp.args.StandardSave(part) for name, part in parts.items()}
        sums = {name: checksum(part) for name, part in parts.items()}
        items["checksums"] = ocp.args.JsonSave(sums)
        try:
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        except _SAVE_ERRORS as error:
            raise self._not_saved(f"step {step}, or the one before", error) from error

    def wait(self) -> None:
        """Waits until the save that was started last is complete.

        Raises:
            CheckpointError: it could not be saved.
        """
        try:
            self._manager.wait_until_finished()
        except _SAVE_ERRORS as error:
            raise self._not_saved("the last step", error) from error

    def record_evaluation(self, step: int, miou: float) -> None:
        """Adds the mIoU to a checkpoint whose save was started; removes the best it supersedes.

        Waits until the save is complete. All processes call it together.

        Args:
            step: step of the checkpoint.
            miou: mIoU of the network `best_network`, in [0, 1].

        Raises:
            CheckpointError: the checkpoint could not be saved.
            UserError: the mIoU cannot be written.
        """
        self.wait()
        first_only(lambda: write_miou(self.directory, step, miou))
        self._mious[step] = miou
        steps = self._manager.all_steps()
        for superseded in sorted({*steps} - self._policy.kept(steps)):
            self._manager.delete(superseded)

    def _not_saved(self, what: str, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"{self.directory}: {what} could not be saved: {_first_line(error)}; make room, or "
            "make the folder writable, and the same command resumes the last complete checkpoint"
        )

    def restore_latest(self, abstract: TrainState, say: Callable[[str], None]) -> TrainState | None:
        """The state of the last checkpoint; if that is damaged, of the one before it.

        Damaged checkpoints are moved to `checkpoints-damaged/`.

        Args:
            abstract: a state of `jax.ShapeDtypeStruct` with the shardings to restore into.
            say: prints a message about each damaged checkpoint.

        Returns:
            None if there is no checkpoint.

        Raises:
            CheckpointError: no checkpoint can be restored.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        first_error = None
        for tried, step in enumerate(steps):
            error = None
            try:
                state = self.restore(step, abstract)
            except CheckpointError as caught:
                error = caught
            if not agree(error is not None):
                self._move_away(steps[:tried], say)
                return state
            first_error = first_error or error or CheckpointError(f"step {step}: see process 0")
        if first_error is not None:
            raise first_error
        return None

    def _move_away(self, steps: list[int], say: Callable[[str], None]) -> None:
        if not steps:
            return
        folder = self._workdir / "checkpoints-damaged"
        for step in steps:
            target = folder / str(step)
            say(f"checkpoint {step} is damaged: moved to {target}; an earlier one is resumed")
            if is_first():
                folder.mkdir(exist_ok=True)
                if target.exists():
                    shutil.rmtree(target)
                (self.directory / str(step)).rename(target)
        agree(False)  # all wait for the first
        self._manager.close()
        self._manager = self._open()

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """Restores the state at a step.

        Args:
            step: step of a checkpoint.
            abstract: a state of `jax.ShapeDtypeStruct` with the shardings to restore into.

        Raises:
            CheckpointError: it is damaged, or does not fit `abstract`.
        """
        return join_state(self._restore(step, split_state(abstract)), abstract)

    def restore_network(self, step: int, network: str, abstract: Any) -> Any:
        """Restores `{'params', 'batch_stats'}` of the `student` or the `teacher` alone."""
        return self._restore(step, {network: abstract})[network]

    def network_shapes(self, step: int, network: str, sharding: Any) -> Any:
        """Shapes of a saved network, for `restore_network`, whatever model it is of.

        Raises:
            CheckpointError: the checkpoint does not say.
        """
        folder = self.directory / str(step) / network
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                tree = checkpointer.metadata(folder).item_metadata.tree
            return jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
            )
        except Exception as error:  # a damaged file may raise any class in orbax
            raise CheckpointError(f"{folder} cannot be read: {_first_line(error)}") from error

    def module_names(self, step: int) -> set[str]:
        """Names of the top-level modules of the student's parameters at a step."""
        folder = self.directory / str(step) / "student"
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.metadata(folder).item_metadata.tree
        return set(tree["params"])

    def _restore(self, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
        args = {name: ocp.args.StandardRestore(item) for name, item in abstract.items()}
        folder = self.directory / str(step)
        if (folder / "checksums").exists():  # older checkpoints have none
            args["checksums"] = ocp.args.JsonRestore()
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**args))
        except Exception as error:  # a damaged file may raise any class in orbax
            raise CheckpointError(
                f"checkpoint {folder} does not fit this config or is damaged: "
                f"{_first_line(error)}; use the config that it was trained with (the "
                "workdir's config.json), or another workdir"
            ) from error
        sums = restored.get("checksums") or {}
        for name in abstract:
            if name in sums and sums[name] != checksum(restored[name]):
                raise CheckpointError(
                    f"checkpoint {folder} is damaged: the values of {name} differ from the saved "
                    "ones; use another step, or move the folder away"
                )
        return {name: restored[name] for name in abstract}


# The factor of every position is odd, so that no change of one number cancels modulo 2³².
_FACTOR = np.uint32(2654435762)
_CHUNK = 1 << 18  # numbers whose products stay in the cache


def checksum(tree: Any) -> int:
    """CRC-32 of a tree's arrays: any flipped bit changes it, the layout of devices does not."""
    sums = []
    for leaf in jax.tree.leaves(tree):
        if getattr(leaf, "is_fully_addressable", True) or leaf.is_fully_replicated:
            sums.append(_sum_on_host(np.asarray(leaf)))
        else:
            # A sum over processes: two at once could wait for each other in opposite orders.
            sums.append(_sum_on_devices(leaf).block_until_ready())
    return zlib.crc32(np.array(jax.device_get(sums), np.uint32).tobytes())


def _sum_on_host(leaf: np.ndarray) -> np.uint32:
    """As `_sum_on_devices`, without a program to compile for every shape."""
    bits = leaf.reshape(-1).view(f"u{leaf.dtype.itemsize}")
    total = 0
    for start in range(0, bits.size, _CHUNK):
        part = bits[start : start + _CHUNK].astype(np.uint32)
        places = np.arange(start, start + part.size).astype(np.uint32) * _FACTOR + np.uint32(1)
        total += int(np.sum(part * places, dtype=np.uint32))
    return np.uint32(total % 2**32)


@jax.jit
def _sum_on_devices(leaf: jax.Array) -> jax.Array:
    width = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(leaf, width).reshape(-1).astype(jnp.uint32)
    places = jax.lax.iota(jnp.uint32, bits.size) * jnp.uint32(_FACTOR) + jnp.uint32(1)
    return jnp.sum(bits * places, dtype=jnp.uint32)


def abstract_like(tree: Any, shardings: Any) -> Any:
    """Shapes and dtypes of a tree, which may be abstract, with the shardings to restore into.

    Args:
        tree: arrays or `jax.ShapeDtypeStruct`.
        shardings: a tree of shardings, or one sharding for all arrays.
    """
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        jax.tree.broadcast(shardings, tree),
    )


def _warn(text: str) -> None:
    if is_first():
        print(f"warning: {text}", file=sys.stderr)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
