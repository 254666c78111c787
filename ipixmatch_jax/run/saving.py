"""Saves of a run: a checkpoint with all lines before it, also when the run ends by an error."""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax

from ipixmatch_jax.devices.parallel import Parallel
from ipixmatch_jax.engine.state import TrainState
from ipixmatch_jax.errors import UserError
from ipixmatch_jax.tracking.nonfinite_steps import BadSteps, describe
from ipixmatch_jax.tracking.progress import Progress
from ipixmatch_jax.tracking.skipped_records import SkippedRecords
from ipixmatch_jax.tracking.writers import Writers
from ipixmatch_jax.workdir.checkpoints import Checkpoints


@dataclasses.dataclass
class Saves:
    """Saves the state of a run together with the metrics of its steps.

    Attributes:
        saved: the last step that was saved; at first the one that the run starts from.
    """

    checkpoints: Checkpoints
    parallel: Parallel
    writers: Writers
    bad_steps: BadSteps
    skipped: SkippedRecords
    progress: Progress
    saved: int

    def report_bad_steps(self) -> None:
        """Writes and prints the bad steps since the last report."""
        for step, names in self.bad_steps.report():
            self.writers.write_bad_step(step, names)
            self.progress.warn(describe(step, names))

    def save(self, step: int, state: TrainState, skips: int) -> None:
        """Starts saving a step, after the files of metrics have reached the disk.

        Args:
            step: the step.
            state: the state after it.
            skips: records that this process has skipped since it started.

        Raises:
            UserError: the metrics cannot be written. What can be saved is saved first.
            CheckpointError: this checkpoint, or the one before, cannot be saved.
        """
        self.report_bad_steps()
        self.writers.write(step, self.skipped.unreported(skips))
        try:
            self.writers.sync()
        except UserError as error:
            raise self._after_saving(error, step, state) from error
        self._start(step, state)

    @contextlib.contextmanager
    def saved_on_error(self, step: int, state: TrainState, skips: int) -> Iterator[None]:
        """Saves the step if what runs in this context raises, and adds to the error what is saved.

        Raises:
            UserError: one that was raised, with a last sentence that says which step is saved.
                Other errors are raised as they are, with the sentence as a note.
        """
        try:
            yield
        except Exception as error:
            raise self._save_before(error, step, state, skips) from error

    def _save_before(self, error: Exception, step: int, state: TrainState, skips: int) -> Exception:
        """Saves the step because of an error in what follows it.

        Returns:
            The error to raise: of the same kind for one that the user can fix, with a last sentence
            that says which step is saved and what goes on from there.
        """
        if step == self.saved:
            return _told(error, f"step {step} is saved", step)
        if jax.process_count() > 1:
            # The others are already in the next step, and a checkpoint needs all of them.
            return _told(error, f"step {self.saved} is the last saved one", step)
        try:
            self.report_bad_steps()
            self.writers.write(step, self.skipped.unreported(skips))
            self.writers.sync()
        except UserError as second:
            error = type(error)(f"{error}\nThen: {second}") if _fixable(error) else error
        return self._after_saving(error, step, state)

    def _after_saving(self, error: Exception, step: int, state: TrainState) -> Exception:
        before = self.saved
        try:
            self._start(step, state)
            self.checkpoints.wait()
        except UserError as second:
            return _told(
                error, f"step {step} could not be saved ({second}); step {before} is", step
            )
        return _told(error, f"step {step} is saved", step)

    def _start(self, step: int, state: TrainState) -> None:
        self.checkpoints.save(step, self.parallel.global_arrays(state))
        self.saved = step


def _fixable(error: Exception) -> bool:
    return isinstance(error, UserError)


def _told(error: Exception, saved: str, step: int) -> Exception:
    """The error with the step that it met, and with what is saved."""
    text = f"met after step {step}; {saved}: once this is fixed, the same command goes on from it"
    if _fixable(error):
        return type(error)(f"{error}\n{text}")
    error.add_note(text)
    return error
