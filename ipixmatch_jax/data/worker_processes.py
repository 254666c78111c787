"""The processes that read data (`data.workers`): their start, and their end with their parent."""

import multiprocessing
import os
import re
import signal
import sys
import threading
from multiprocessing import resource_tracker

from ipixmatch_jax.errors import DataError

# A worker still serves its parent for this time after SIGTERM, so that the parent can save.
_GRACE_S = 20
_QUIET = "ignore:resource_tracker:UserWarning"


# What grain says of a worker that ended.
_ENDED = "Worker process was terminated unexpectedly"
_GUARD = "if __name__ == '__main__':"


def ended_worker(error: RuntimeError) -> DataError | None:
    """What to say if a worker process has ended; None of other errors."""
    if _ENDED not in str(error):
        return None
    code = re.search(r"exit code (-?\d+)", str(error))
    return DataError(
        f"a worker process of data.workers has ended (exit code {code[1] if code else 'unknown'}); "
        "its own message, if any, stands above. In a script, call train below "
        f"{_GUARD!r}, since workers import the script; exit code -9 is often a lack of memory: set "
        "fewer data.workers, or data.workers=0, which reads in threads"
    )


def end_if_importing() -> None:
    """Ends this process with a message if it is a worker that still imports the user's script."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        print(f"a worker process imports the script, which trains outside of {_GUARD!r}",
              file=sys.stderr, flush=True)  # fmt: skip
        os._exit(1)


def start_quiet_tracker() -> None:
    """Starts the process that frees the shared memory of workers, without its warning.

    After an error it frees what is left and warns of that, below the message that the user needs.
    """
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = _QUIET if before is None else f"{before},{_QUIET}"
    try:
        resource_tracker.ensure_running()
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


def init_worker(index: int, count: int) -> None:
    """Runs at the start of a worker process.

    A worker waits on queues, which tell nothing of a parent that was killed: a thread watches the
    parent instead. Stop signals often go to all processes of a terminal or job; the parent alone
    decides then, and ends its workers after it has saved.

    Args:
        index: index of this worker; as grain passes it.
        count: number of workers.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _end_later())
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True, name="parent-watch").start()


def _end_later() -> None:
    timer = threading.Timer(_GRACE_S, os._exit, [0])
    timer.daemon = True
    timer.start()


def _end_with(parent: multiprocessing.Process) -> None:
    parent.join()
    os._exit(1)
