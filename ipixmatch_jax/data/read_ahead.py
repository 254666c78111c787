"""Reads the records of a split once, so that a broken file is found before training starts."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ipixmatch_jax.data.records import IGNORE
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
        DataError: records that cannot be read, of which the first few are named; or masks without
            a class.
    """
    if not hasattr(source, "files") or len(source) > MOST_RECORDS:
        return

    labeled = []

    def problem(index: int) -> str:
        try:
            record = source[index]
        except DataError as error:
            return str(error)
        labeled.append("mask" not in record or bool((record["mask"] != IGNORE).any()))
        return ""

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="read-ahead") as executor:
        problems = [text for text in executor.map(problem, range(len(source))) if text]
    if problems:
        more = f"\n… and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{len(problems)} of {len(source)} records of the {split} split cannot be read; all "
            f"are needed:\n" + "\n".join(problems[:_SHOWN]) + more
        )
    if len(source) and not any(labeled):
        raise DataError(
            f"the {len(source)} masks of the {split} split hold only ignored pixels ({IGNORE}), "
            f"such as that of {source.ids[0]}; expected class ids, without which there is no mIoU; "
            f"label some pixels, or choose other images by data.{split}"
        )
