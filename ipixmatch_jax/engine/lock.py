"""One run a workdir: a second one by mistake is refused."""

import os
import pathlib
import socket
from typing import IO

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import is_remote

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


class WorkdirLock:
    """A context manager that holds `WORKDIR/.lock`; only the first process of a run takes it.

    The system frees the lock with the process that held it, also after kill -9, so that there is no
    stale one. Object stores (gs://) know no locks; there it does nothing.

    Raises:
        ConfigError: another process trains in this workdir.
    """

    def __init__(self, workdir: pathlib.Path):
        self._path = workdir / ".lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> "WorkdirLock":
        if fcntl is None or is_remote(self._path):
            return self
        self._file = self._path.open("a+")
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
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()
        return self

    def __exit__(self, *_) -> None:
        if self._file is not None:
            self._file.close()
