"""Checks of a data set beyond unreadable files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ipixmatch_jax.data.files.file_records import record_files
from ipixmatch_jax.data.records import IGNORE, Dataset

ERROR, WARNING = "error", "warning"

_SHOWN = 5
_SMALLEST_SIDE = 8
# A photo with less between its darkest and brightest value shows nothing.
_FEWEST_LEVELS = 8
# A mask of background with more ignore than this is likely binary, with foreground as 255.
_SUSPICIOUS_IGNORE = 0.1


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        severity: `error`: training would fail or be wrong; `warning`: may be intended.
        kind: one word for the type of fault.
        split: labeled, unlabeled, val or test; '' if it concerns no single split.
        file: the file to check first.
        message: fault, place, expectation and fix.
        index: index of the record in its split, or None.
    """

    severity: str
    kind: str
    split: str
    file: str
    message: str
    index: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The finding as texts and numbers."""
        return asdict(self)


@dataclass(frozen=True)
class Facts:
    """Facts about one record, collected while reading it.

    Attributes:
        index: index in its split.
        id: record id.
        files: image file, and mask file if there is one.
        size: (H, W).
        blank: True if all pixels of the image are equal.
        image_hash: hash of the decoded pixels.
        mask_hash: hash of the mask, or None without a mask.
        histogram: pixels per mask value, int64 [256], or None.
        image_is_mask: True if every band equals the mask, and the mask has several values.
        thumbnail: the image in small, uint8 [48,48]; None in a long list of unlabeled images.
        small_mask: the mask in small, uint8 [48,48], or None.
        gradient: differences of neighboring pixels of the small image, in any band, float16
            [48,48], or None.
        edges: edges of the mask by their position in blocks of 8x8 pixels, int64 [8], or None.
        levels: lowest and highest value of the image, 0 to 255.
        contrast: difference of two classes in the image, float64 [8], or None; see `contrast_of`.
        hidden: share of the image's pixels whose colors lie below transparency; `hidden_share`.
    """

    index: int
    id: str
    files: tuple[str, ...]
    size: tuple[int, int]
    blank: bool
    image_hash: bytes
    mask_hash: bytes | None
    histogram: np.ndarray | None
    image_is_mask: bool
    thumbnail: np.ndarray | None = None
    small_mask: np.ndarray | None = None
    edges: np.ndarray | None = None
    levels: tuple[int, int] = (0, 255)
    contrast: np.ndarray | None = None
    hidden: float = 0.0
    gradient: np.ndarray | None = None


def from_problem(problem: str) -> Finding:
    """The finding for a problem found without pixels; its message begins with the file."""
    # A line of a list comes first where one names the file.
    text = re.sub(r"^[^:]+ line \d+: ", "", problem)
    file, separator, _ = text.partition(": ")
    file = file if separator and " " not in file.strip() or "/" in file else ""
    return Finding(ERROR, "list", "", file, problem)


def left_out(warning: str) -> Finding:
    """The finding for files that were left out when the folder was read."""
    return Finding(WARNING, "left-out", "", "", warning)


def orientation(problem: str) -> Finding:
    """The finding for masks that may be drawn on pixels that EXIF turns."""
    return Finding(ERROR, "orientation", "", problem.partition(": ")[0], problem)


def unusable(split: str, index: int, files: Sequence[str], message: str) -> Finding:
    """The finding for a record that cannot be read or used."""
    kinds = {
        "mask value": "mask-values",
        "pixel format": "mask-format",
        "mask is": "size-mismatch",
        "color": "mask-colors",
        "a JPEG": "mask-format",
        "band(s)": "channels",
    }
    file = next((file for file in reversed(files) if file in message), files[0])
    said = message.replace(file, "")
    kind = next((kind for text, kind in kinds.items() if text in said), "unreadable")
    return Finding(ERROR, kind, split, file, message, index)


def of_record(split: str, facts: Facts) -> list[Finding]:
    """Findings about one record that was read without error."""
    found = []

    def note(severity: str, kind: str, file: str, text: str) -> None:
        found.append(Finding(severity, kind, split, file, f"{file}: {text}", facts.index))

    image, mask = facts.files[0], facts.files[-1]
    if min(facts.size) < _SMALLEST_SIDE:
        height, width = facts.size
        note(WARNING, "tiny", image, f"{width}x{height} pixels; expected a photo; check it")
    if facts.blank:
        note(WARNING, "blank", image, "all pixels are equal; expected a photo; check it")
    elif facts.levels[1] - facts.levels[0] < _FEWEST_LEVELS:
        low, high = facts.levels
        text = (
            f"nearly even: its values are {low} to {high} of 0 to 255; expected a photo; check it"
        )
        note(WARNING, "even", image, text)
    if facts.histogram is None:
        return found
    if facts.image_is_mask:
        text = f"is the mask {mask}; expected a photo; put the photo there"
        note(ERROR, "image-is-mask", image, text)
    counts, total = facts.histogram, facts.histogram.sum()
    if counts[IGNORE] == total:
        text = f"all pixels are {IGNORE} (ignore); expected some class; label it or remove it"
        note(WARNING, "all-ignored", mask, text)
    elif counts[0] + counts[IGNORE] == total and counts[IGNORE] > _SUSPICIOUS_IGNORE * total:
        share = 100.0 * counts[IGNORE] / total
        text = (
            f"only 0 and {IGNORE}; {share:.0f} % is {IGNORE}, which means ignore; likely "
            f"foreground written as {IGNORE}: write its class id"
        )
        note(WARNING, "binary-mask", mask, text)
    return found


# Consequence of an image in two splits.
_MEASURED = "the model is evaluated on a training image"
_SEEN = "training uses it without its mask"
OVERLAPS = {
    frozenset({"labeled", "val"}): _MEASURED,
    frozenset({"labeled", "test"}): _MEASURED,
    frozenset({"val", "test"}): "the checkpoint is chosen on a test image",
    frozenset({"unlabeled", "val"}): _SEEN,
    frozenset({"unlabeled", "test"}): _SEEN,
    frozenset({"unlabeled", "labeled"}): "training uses it twice",
}


def of_ids(dataset: Dataset) -> list[Finding]:
    """Ids in two splits, except labeled ids in val or test, which loading reports."""
    found = []
    for pair in (("unlabeled", "val"), ("unlabeled", "test"), ("unlabeled", "labeled"),
                 ("test", "val")):  # fmt: skip
        split, other = pair
        source = getattr(dataset, split)
        position = {name: index for index, name in enumerate(source.ids)}
        shared = sorted(position.keys() & set(getattr(dataset, other).ids))
        if shared:
            index = position[shared[0]]
            file = record_files(source, index)[0]
            found.append(
                Finding(
                    WARNING, "overlap", split, file,
                    f"{len(shared)} ids are in the {split} and in the {other} split: "
                    f"{_shown(shared)} ({file}); {OVERLAPS[frozenset(pair)]}; remove them from "
                    "one list unless intended",
                    index,
                )
            )  # fmt: skip
    return found


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def of_contents(
    facts: Mapping[str, Sequence[Facts]], similar: frozenset[tuple[str, str]] = frozenset()
) -> list[Finding]:
    """Equal images with two ids, within a split or across splits, and masks used twice.

    Args:
        facts: facts per split.
        similar: pairs of image files that show the same scene; they may share a mask.
    """
    seen: dict[bytes, tuple[str, Facts]] = {}
    masks: dict[bytes, Facts] = {}
    found = []
    for split, records in facts.items():
        for record in records:
            # Blank images are all alike and already reported.
            first_split, first = seen.setdefault(record.image_hash, (split, record))
            # The same id in two splits is reported by its id.
            if first is not record and not record.blank and first.id != record.id:
                found.append(_copy(first_split, first, split, record))
            if record.mask_hash is None or np.count_nonzero(record.histogram) < 2:
                continue
            twin = masks.setdefault(record.mask_hash, record)
            pair = tuple(sorted((twin.files[0], record.files[0])))
            if twin is not record and twin.image_hash != record.image_hash and pair not in similar:
                found.append(
                    Finding(
                        WARNING, "same-mask", split, record.files[-1],
                        f"{record.files[-1]}: the same mask as {twin.files[-1]}, but their images "
                        "differ; expected one mask per image; check both",
                        record.index,
                    )
                )  # fmt: skip
    return found


def _copy(first_split: str, first: Facts, split: str, record: Facts) -> Finding:
    one, other = first.files[0], record.files[0]
    if first_split == split:
        kind, consequence = "duplicate", f"it counts twice in the {split} split"
    else:
        kind, consequence = "overlap", OVERLAPS[frozenset({first_split, split})]
    return Finding(
        ERROR if consequence == _MEASURED else WARNING, kind, split, other,
        f"{other} ({split}): the same image as {one} ({first_split}), pixel for pixel; "
        f"{consequence}; remove one of them",
        record.index,
    )  # fmt: skip
