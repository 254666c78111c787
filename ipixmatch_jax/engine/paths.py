"""Writing the files of a run, here and in object stores (gs://)."""

import contextlib
from collections.abc import Iterator
from typing import Any

from ipixmatch_jax.errors import UserError
from ipixmatch_jax.paths import is_remote


@contextlib.contextmanager
def writing(path: Any) -> Iterator[None]:
    """Around writing to a run's folder: says what to do where that fails.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or path} cannot be written ({error.strerror}); make room, or make "
            "the folder writable, and the same command resumes the last complete checkpoint"
        ) from error


def write_whole(path: Any, text: str) -> None:
    """Writes a file of a run so that nobody, also after kill -9, ever sees a part of it.

    Raises:
        UserError: as `writing`.
    """
    with writing(path):
        if is_remote(path):
            path.write_text(text)  # objects appear whole
            return
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(text)
        temporary.replace(path)
