"""Files of `--mode diagnose`: `diagnose/STEP.json` in a run's folder."""

import json
from collections.abc import Mapping
from typing import Any

from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.folder import diagnoses_folder, write_whole, writing

# What a reader of the file may rely on.
_KEYS = ("step", "split", "images", "batches", "losses", "recommendation")


def write_diagnosis(path: AnyPath, record: Mapping[str, Any]) -> None:
    """Writes a diagnosis; one of the same file before it is replaced.

    Raises:
        UserError: the file cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def read_diagnoses(workdir: AnyPath) -> list[dict[str, Any]]:
    """The diagnoses of a run, in the order of steps.

    Raises:
        DataError: a file cannot be read.
    """
    folder = diagnoses_folder(workdir)
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if path.suffix == ".json" and path.stem.isdigit()]
    return [_read(path) for path in sorted(paths, key=lambda path: int(path.stem))]


def _read(path: AnyPath) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
        missing = [key for key in _KEYS if key not in record]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return record
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected a file as --mode "
            "diagnose wrote it; delete it, or run --mode diagnose again"
        ) from None
