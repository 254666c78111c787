"""The folder of a run, local or gs://: names of its files, its lock, and atomic writes."""

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

from ipixmatch_jax.errors import ConfigError, UserError
from ipixmatch_jax.paths import AnyPath, as_path, is_remote

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

# The names of all files and folders that a run writes.
CONFIG = "config.json"
METRICS = "metrics.jsonl"
THROUGHPUT = "throughput.jsonl"
BAD_STEPS = "bad_steps.jsonl"
ENVIRONMENT = "environment.json"
CHECKPOINTS = "checkpoints"
EVALUATIONS = "eval"
SUMMARY = "summary.json"
DIAGNOSES = "diagnose"
SPLITS = "splits.json"
PREDICTIONS = "predictions"
REPORT = "report.html"
NEXT = "next"


def config_path(workdir: AnyPath) -> AnyPath:
    """`config.json`: the resolved config of the run."""
    return as_path(workdir) / CONFIG


def metrics_path(workdir: AnyPath) -> AnyPath:
    """`metrics.jsonl`: a line of named numbers for each logged step."""
    return as_path(workdir) / METRICS


def environment_path(workdir: AnyPath) -> AnyPath:
    """`environment.json`: devices, threads and versions that the bits of the run depend on."""
    return as_path(workdir) / ENVIRONMENT


def damaged_path(path: AnyPath) -> AnyPath:
    """`NAME.damaged`: parts of a file that could not be read."""
    return path.with_name(f"{path.name}.damaged")


def splits_path(workdir: AnyPath) -> AnyPath:
    """`splits.json`: the ids of the images that the run trains and validates on."""
    return as_path(workdir) / SPLITS


def evaluations_folder(workdir: AnyPath) -> AnyPath:
    """`eval/`: the results of every evaluation, and their summary."""
    return as_path(workdir) / EVALUATIONS


def evaluation_path(workdir: AnyPath, step: int | str) -> AnyPath:
    """`eval/STEP.json`: the results of one of the run's own evaluations."""
    return evaluations_folder(workdir) / f"{step}.json"


def later_evaluation_path(workdir: AnyPath, step: int, words: Sequence[str], key: str) -> AnyPath:
    """`eval/STEP-SPLIT-MODE-ABSENT-KEY.json`: an evaluation by `--mode eval`.

    Args:
        words: split, mode and absent.
        key: hash of what was measured and how; its beginning stands in the name.
    """
    return evaluations_folder(workdir) / f"{'-'.join([str(step), *words, key[:8]])}.json"


def summary_path(workdir: AnyPath) -> AnyPath:
    """`eval/summary.json`: the summary of all evaluations of the run."""
    return evaluations_folder(workdir) / SUMMARY


def diagnoses_folder(workdir: AnyPath) -> AnyPath:
    """`diagnose/`: the results of `--mode diagnose`."""
    return as_path(workdir) / DIAGNOSES


def diagnosis_path(workdir: AnyPath, step: int) -> AnyPath:
    """`diagnose/STEP.json`: the result of `--mode diagnose` for a checkpoint."""
    return diagnoses_folder(workdir) / f"{step}.json"


def checkpoints_folder(workdir: AnyPath) -> AnyPath:
    """`checkpoints/`: the latest checkpoints and the best one."""
    return as_path(workdir) / CHECKPOINTS


def has_checkpoint(workdir: AnyPath) -> bool:
    """True if a step has been saved; without one, nothing of the run is worth keeping."""
    folder = checkpoints_folder(workdir)
    return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())


def predictions_folder(workdir: AnyPath) -> AnyPath:
    """`predictions/`: pictures of validation images; also the default of `--mode predict`."""
    return as_path(workdir) / PREDICTIONS


def next_folder(workdir: AnyPath) -> AnyPath:
    """`next/`: the images that `--mode next` suggests to label."""
    return as_path(workdir) / NEXT


@contextlib.contextmanager
def writing(path: AnyPath) -> Iterator[None]:
    """A context for writes to a run's folder; an error says what the user can do.

    Args:
        path: file that is written, for the message.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename or path} cannot be written, since its folder does not exist any "
            "more; was it deleted, moved or unmounted? Put it back, and the same command resumes "
            "the last complete checkpoint in it"
        ) from error
    except OSError as error:
        raise UserError(
            f"{error.filename or path} cannot be written ({error.strerror}); make room, or make "
            "the folder writable, and the same command resumes the last complete checkpoint"
        ) from error


def write_whole(path: AnyPath, text: str) -> None:
    """Writes a file atomically: no reader ever sees a part of it, even after kill -9.

    Raises:
        UserError: as `writing`.
    """
    with writing(path):
        if is_remote(path):
            path.write_text(text)  # objects appear whole
            return
        temporary = path.with_name(path.name + ".tmp")
        temporary.unlink(missing_ok=True)  # a leftover, or a link that leads out of the folder
        with _opened(temporary, os.O_WRONLY | os.O_EXCL) as file:
            file.write(text)
        temporary.replace(path)


def _opened(path: AnyPath, flags: int) -> IO[str]:
    """Opens or creates a local file; a symbolic link in its place is an OSError."""
    follow_not = getattr(os, "O_NOFOLLOW", 0)  # not on Windows
    mode = "a+" if flags & os.O_RDWR else "w"
    descriptor = os.open(path, flags | os.O_CREAT | follow_not, 0o666)
    return os.fdopen(descriptor, mode)


class WorkdirLock:
    """A context manager that holds `WORKDIR/.lock`; only the first process of a run takes it.

    The system frees the lock when the process that holds it ends, even by kill -9, so that no stale
    lock is left. Object stores (gs://) have no locks; there it does nothing.

    Raises:
        ConfigError: another process trains in this workdir.
        UserError: the disk is full.
    """

    def __init__(self, workdir: AnyPath):
        self._path = workdir / ".lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> "WorkdirLock":
        if fcntl is None or is_remote(self._path):
            return self
        try:
            self._file = _opened(self._path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise ConfigError(
                f"{self._path} cannot be opened ({error.strerror}); expected a plain file, or "
                "none; remove it, or choose another --workdir"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise ConfigError(
                f"--workdir {self._path.parent} is in use by {holder}; wait for it or stop it "
                "(SIGTERM saves first), or choose another --workdir"
            ) from error
        except OSError:
            return self  # a file system without locks
        try:
            with writing(self._path):
                self._file.truncate(0)
                self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                self._file.flush()
        except UserError:
            with contextlib.suppress(OSError):  # it writes what could not be written
                self._file.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        if self._file is not None:
            self._file.close()


def check_encoding(workdir: AnyPath) -> None:
    """Checks that checkpoints can be in a folder; their library takes paths in UTF-8 alone.

    Raises:
        ConfigError: the path has bytes that Python could not read as text.
    """
    path = str(workdir if is_remote(workdir) else workdir.absolute())
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"--workdir {printable_path(path)}: this path is not text in "
            f"{sys.getfilesystemencoding()}, the encoding of file names here, and checkpoints "
            "cannot be saved there; choose a path of ASCII letters, or set PYTHONUTF8=1 if the "
            "path is UTF-8"
        ) from None


def printable_path(path: str) -> str:
    """A path with escapes in place of bytes that are no text."""
    return path.encode("utf-8", "backslashreplace").decode()


def make_workdir(workdir: AnyPath) -> None:
    """Makes the folder of a run.

    Raises:
        ConfigError: the folder cannot be written.
    """
    check_encoding(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if is_remote(workdir):
            (workdir / ".writable").touch()
            (workdir / ".writable").unlink()
        else:
            tempfile.TemporaryFile(dir=workdir).close()
    except OSError as error:
        raise ConfigError(
            f"--workdir {workdir} cannot be written ({error.strerror}); choose another folder"
        ) from error
