"""A look at a whole data set before any training: every problem at once, and what it holds."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.catalog import assemble
from ipixmatch_jax.data.records import IGNORE, Dataset, Source, UnlabeledRecord, UnlabeledSource
from ipixmatch_jax.errors import DataError

# Findings that may be meant, and do not stop a training run, begin with this.
WARNING = "warning: "

_THREADS = 4
_SHOWN = 5


def check_dataset(data_config: ConfigDict, seed: int) -> list[str]:
    """Every problem of a data set, in lists, files, masks and splits; reads every file once.

    Args:
        data_config: `config.data`.
        seed: of data sets that are drawn.

    Returns:
        One message for each problem; those that begin with `WARNING` do not stop a training run.

    Raises:
        ConfigError: an unknown `data.name`, or class names or colours that do not fit.
    """
    try:
        dataset, problems = assemble(data_config, seed)
    except DataError as error:
        return [str(error)]
    warnings = _overlaps(dataset)
    for split in ("labeled", "val", "unlabeled"):
        counts = np.zeros(IGNORE + 1, np.int64)
        for record in _read_all(getattr(dataset, split)):
            if isinstance(record, DataError):
                problems.append(str(record))
            elif "mask" in record:
                counts += _histogram(record)
        if split != "unlabeled":
            warnings += _absent_classes(split, counts, dataset.class_names)
    # One file may serve several splits.
    return list(dict.fromkeys(problems + warnings))


def _histogram(record: UnlabeledRecord) -> np.ndarray:
    return np.bincount(record["mask"].ravel(), minlength=IGNORE + 1)


def _read_all(source: UnlabeledSource) -> Iterator[UnlabeledRecord | DataError]:
    """Each record in order, or the error that reading it gave."""

    def read(index: int) -> UnlabeledRecord | DataError:
        try:
            return source[index]
        except DataError as error:
            return error

    # In blocks, so that no more than one block of images is held.
    block = 8 * _THREADS
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="check") as executor:
        for start in range(0, len(source), block):
            yield from executor.map(read, range(start, min(start + block, len(source))))


def _overlaps(dataset: Dataset) -> list[str]:
    # Labeled and val overlapping is an error, which `assemble` reports.
    unlabeled = set(dataset.unlabeled.ids)
    findings = []
    for split, consequence in (
        ("val", "the model sees these images, without masks, while it trains"),
        ("labeled", "these images are trained on twice"),
    ):
        shared = sorted(unlabeled & set(getattr(dataset, split).ids))
        if shared:
            shown = ", ".join(shared[:_SHOWN]) + (", …" if len(shared) > _SHOWN else "")
            findings.append(
                f"{WARNING}{len(shared)} ids are in the unlabeled and in the {split} split: "
                f"{shown}; {consequence}; take them out of one list unless it is meant"
            )
    return findings


def _absent_classes(split: str, counts: np.ndarray, class_names: tuple[str, ...]) -> list[str]:
    total = counts.sum()
    absent = [name for index, name in enumerate(class_names) if not counts[index]]
    if not total or not absent:
        return []
    hint = "check data.class_names and the masks"
    if counts[IGNORE] and counts[0] + counts[IGNORE] == total:
        hint = f"all pixels are 0 or {IGNORE} (ignore): write foreground as 1, not {IGNORE}"
    return [
        f"{WARNING}no pixel of the {split} masks is of class {', '.join(absent)}; expected some "
        f"of every class; {hint}"
    ]


def summarize(dataset: Dataset, *, quick: bool = False) -> str:
    """Counts of each split, and how often each class appears in the labeled masks, as text.

    Args:
        dataset: what to describe.
        quick: counts alone; no file is read.

    Raises:
        DataError: a labeled file that cannot be used.
    """
    lines = [
        f"{split:9s} {len(source):6d} images{'' if quick else _size_range(source)}"
        for split, source in (
            ("labeled", dataset.labeled),
            ("unlabeled", dataset.unlabeled),
            ("val", dataset.val),
        )
    ]
    if quick:
        return "\n".join(lines)
    pixels, appearances = _class_counts(dataset.labeled)
    total = max(int(pixels.sum()), 1)
    width = max(map(len, (*dataset.class_names, "(ignore)")))
    lines += ["", f"   id  {'class':{width}s}  pixels of labeled   labeled images with it"]
    for index, name in [*enumerate(dataset.class_names), (IGNORE, "(ignore)")]:
        share = 100.0 * pixels[index] / total
        lines.append(f"  {index:3d}  {name:{width}s}  {share:15.2f} %   {appearances[index]:22d}")
    return "\n".join(lines)


def _class_counts(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each value, and images that hold it: int64 [256] each."""
    pixels = np.zeros(IGNORE + 1, np.int64)
    appearances = np.zeros(IGNORE + 1, np.int64)
    for record in _read_all(source):
        if isinstance(record, DataError):
            raise record
        histogram = _histogram(record)
        pixels += histogram
        appearances += histogram > 0
    return pixels, appearances


def _size_range(source: UnlabeledSource) -> str:
    sizes = {source.size(index) for index in range(len(source))}
    if not sizes:
        return ""
    smallest, largest = min(sizes, key=np.prod), max(sizes, key=np.prod)
    text = f", {smallest[0]}x{smallest[1]}"
    if len(sizes) > 1:
        text += f" to {largest[0]}x{largest[1]} in {len(sizes)} sizes"
    return f"{text} (height x width)"
