"""Files of evaluations: the run's own record, and later evaluations by `--mode eval`."""

import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.folder import (
    damaged_path,
    evaluation_path,
    evaluations_folder,
    later_evaluation_path,
    summary_path,
    write_whole,
    writing,
)

# What an evaluation measured and how, in the order in which tables show it.
_KEY_PARTS = ("split", "eval", "data")
_LONGEST_SPLIT = 40


def ids_sha256(ids: Iterable[str]) -> str:
    """Hash of a list of record ids; their order does not matter."""
    lines = "\n".join(sorted(map(str, ids)))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def evaluation_key(record: Mapping[str, Any]) -> str:
    """Hash of an evaluation's data and settings; evaluations of equal key share a file.

    Args:
        record: contents of an evaluation file.
    """
    facts = json.dumps(dict(_facts(record)), sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(fact, first value, second value) of each fact in which two evaluations differ.

    Older files lack some facts; what either file lacks is not compared.
    """
    first, second = dict(_facts(one)), dict(_facts(other))
    common = [name for name in first if name in second]
    return [(name, first[name], second[name]) for name in common if first[name] != second[name]]


def unknown_facts(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The facts that only one of two evaluations states."""
    first, second = dict(_facts(one)), dict(_facts(other))
    return [name for name in {**first, **second} if (name in first) != (name in second)]


def measured_otherwise(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """`differences` that make two numbers incomparable: other images, or evaluated otherwise.

    The place of the images does not matter.
    """
    return [found for found in differences(one, other) if found[0] != "data.root"]


def check_measured_alike(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Checks that evaluations may stand in one table.

    Args:
        records: name of the run → contents of an evaluation file.

    Returns:
        The runs of which it is not known, because an older version did not state its images.

    Raises:
        DataError: other images, or evaluated in another way; names the runs and what differs.
    """
    stated = {name: record for name, record in records.items() if "data" in record}
    first = next(iter(stated or records), "")
    for name, record in records.items():
        found = measured_otherwise(records[first], record)
        if found:
            facts = "; ".join(f"{fact}: {shortened(a)} and {shortened(b)}" for fact, a, b in found)
            raise DataError(
                f"{first} and {name} differ in what they were evaluated on, or how: {facts}; "
                "expected runs measured in the same way; evaluate them alike (--mode eval), or "
                "write a table for each"
            )
    return [name for name in records if stated and name not in stated]


def _facts(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in _KEY_PARTS:
        value = record.get(part)
        if isinstance(value, Mapping):
            yield from ((f"{part}.{name}", fact) for name, fact in value.items())
        elif value is not None:
            yield part, value


def read_evaluations(workdir: AnyPath) -> list[dict[str, Any]]:
    """The run's own record: the contents of its `eval/STEP.json`, in the order of steps."""
    folder = evaluations_folder(workdir)
    paths = [path for path in folder.iterdir() if path.stem.isdigit()] if folder.exists() else []
    return sorted(map(_read, paths), key=lambda one: one["step"])


def _read(path: AnyPath) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
        mious = [record[name].get("miou") for name in NETWORKS if name in record]
        if not isinstance(record["step"], int) or not all(map(_is_number_or_none, mious)):
            raise ValueError("its step or a mIoU is no number")
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected an evaluation as "
            "training or --mode eval wrote it; move the file away"
        ) from None


def _is_number_or_none(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def set_damaged_aside(workdir: AnyPath) -> list[str]:
    """Renames files of evaluations that cannot be read; returns a message for each."""
    folder, messages = evaluations_folder(workdir), []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix != ".json" or path == summary_path(workdir):
            continue
        try:
            _read(path)
        except DataError:
            aside = damaged_path(path)
            with writing(path):
                path.replace(aside)
            messages.append(f"{path} cannot be read: moved to {aside}; the summary is without it")
    return messages


def read_later_evaluations(workdir: AnyPath) -> list[dict[str, Any]]:
    """The evaluations by `--mode eval`, in the order of steps; `file` is the name of the file."""
    folder = evaluations_folder(workdir)
    if not folder.exists():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix != ".json" or path.stem.isdigit() or path == summary_path(workdir):
            continue
        found.append({**_read(path), "file": path.name})
    return sorted(found, key=lambda one: one["step"])


def write_evaluation(
    workdir: AnyPath,
    step: int,
    split: str,
    results: Mapping[str, Any],
    protocol: str = "",
    about: Mapping[str, Any] | None = None,
) -> AnyPath:
    """Writes an evaluation of the run's own record, `eval/STEP.json`; only training does.

    Args:
        protocol: name of the published split of labeled images, if it is one.
        about: `Evaluator.about()`.
    """
    path = evaluation_path(workdir, step)
    _write(path, _record(step, split, results, protocol, about))
    return path


def write_later_evaluation(
    workdir: AnyPath,
    step: int,
    split: str,
    results: Mapping[str, Any],
    protocol: str = "",
    about: Mapping[str, Any] | None = None,
) -> AnyPath:
    """Writes an evaluation by `--mode eval`; never to the run's own record.

    A file of the same key keeps its results of networks that are not in `results`.

    Args:
        protocol: name of the published split of labeled images, if it is one.
        about: `Evaluator.about()`.

    Returns:
        The path of the file; of the run's own file, unchanged, if that holds equal results.
    """
    record = _record(step, split, results, protocol, about)
    own = evaluation_path(workdir, step)
    if own.exists() and _says_the_same(_read(own), record, results):
        return own
    how = record["eval"]
    words = [split_word(split), how.get("mode", ""), how.get("absent", "")]
    path = later_evaluation_path(workdir, step, words, evaluation_key(record))
    before = _read(path) if path.exists() else {}
    _write(path, {**before, **record})
    return path


def split_word(split: str) -> str:
    """A split's name for file names; a list file gives its own name."""
    return re.sub(r"[^\w.-]", "_", pathlib.PurePath(split).stem)[:_LONGEST_SPLIT]


def _record(
    step: int,
    split: str,
    results: Mapping[str, Any],
    protocol: str,
    about: Mapping[str, Any] | None,
) -> dict[str, Any]:
    facts = {"step": step, "split": split, "protocol": protocol, "eval": {}, **(about or {})}
    return {**facts, **results}


def _says_the_same(
    own: Mapping[str, Any], record: Mapping[str, Any], results: Mapping[str, Any]
) -> bool:
    """True if no fact that both records state differs, and `own` holds these results."""
    known = json.loads(json.dumps(results))
    return not differences(own, record) and all(own.get(name) == known[name] for name in known)


def _write(path: AnyPath, record: Mapping[str, Any]) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(record, indent=2) + "\n")


def later_rows(workdir: AnyPath) -> list[dict[str, Any]]:
    """The later evaluations, each with what differs from the run's own record.

    Returns:
        Dicts `file`, `step`, `split`, `differs` (text) and `miou` (network → mIoU in [0, 1]).
    """
    own = read_evaluations(workdir)
    by_step = {record["step"]: record for record in own}
    rows = []
    for record in read_later_evaluations(workdir):
        compared = by_step.get(record["step"], own[-1] if own else {})
        rows.append(
            {
                "file": record["file"],
                "step": record["step"],
                "split": record.get("split", ""),
                "differs": difference_text(compared, record),
                "miou": {n: record[n]["miou"] for n in NETWORKS if "miou" in record.get(n, {})},
            }
        )
    return rows


def difference_text(own: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """One line with the facts in which a later evaluation differs from a record of the run."""
    found = [f"{name} {shortened(theirs)}" for name, _, theirs in differences(own, record)]
    unknown = unknown_facts(own, record)
    if unknown:
        found.append(f"not stated in both: {', '.join(unknown)}")
    if not found and own.get("step") == record["step"]:
        found.append("the numbers alone: files, device or versions have changed")
    return "; ".join(found) or "nothing"


def shortened(value: Any) -> str:
    """A fact as text; of a hash the beginning."""
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text
