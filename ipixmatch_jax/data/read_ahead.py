"""Reads the records of a split once, so that a broken file is found before training starts."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ipixmatch_jax.errors import DataError

# More records than this are left to the evaluation itself: reading 200 photos takes seconds, and an
# evaluation comes after the step is saved, so that a broken file then costs no step either.
MOST_RECORDS = 200
_SHOWN = 5
_THREADS = 4


def check_readable(source: Any, split: str) -> None:
    """Reads every record of a source with files, if there are at most MOST_RECORDS.

    Args:
        source: records of one split.
        split: its name, for the message.

    Raises:
        DataError: records that cannot be read; the first few are named.
    """
    if not hasattr(source, "files") or len(source) > MOST_RECORDS:
        return

    def problem(index: int) -> str:
        try:
            source[index]
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="read-ahead") as executor:
        problems = [text for text in executor.map(problem, range(len(source))) if text]
    if problems:
        more = f"\n… and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{len(problems)} of {len(source)} records of the {split} split cannot be read; all "
            f"are needed:\n" + "\n".join(problems[:_SHOWN]) + more
        )
