"""The report of --mode inspect: reads a whole data set once and lists everything wrong with it."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.catalog import assemble, image_is_mask
from ipixmatch_jax.data.files.exif_agreement import orientation_problems
from ipixmatch_jax.data.files.file_records import record_names
from ipixmatch_jax.data.files.images import resize_mask
from ipixmatch_jax.data.files.jpeg_traces import edge_positions
from ipixmatch_jax.data.files.orientation import gradient_of
from ipixmatch_jax.data.grouping import THUMBNAIL, small_colors, thumbnail_of
from ipixmatch_jax.data.inspection import findings, mask_sets
from ipixmatch_jax.data.inspection.border_colors import border_colors
from ipixmatch_jax.data.inspection.class_names import object_as_ground, unreadable_names
from ipixmatch_jax.data.inspection.exchanged_masks import exchanged_masks
from ipixmatch_jax.data.inspection.findings import ERROR, Facts, Finding
from ipixmatch_jax.data.inspection.hidden_colors import hidden_colors, hidden_share
from ipixmatch_jax.data.inspection.inverted_masks import contrast_of, inverted_masks
from ipixmatch_jax.data.inspection.near_duplicates import near_duplicates, unlabeled_copies
from ipixmatch_jax.data.inspection.pairing_check import (
    displaced_masks,
    mirrored_masks,
    shifted_masks,
)
from ipixmatch_jax.data.inspection.scaled_masks import scaled_masks
from ipixmatch_jax.data.inspection.tile_leaks import tile_leaks
from ipixmatch_jax.data.records import IGNORE, NONE, Dataset, UnlabeledSource, spread_palette
from ipixmatch_jax.errors import DataError

SPLITS = ("labeled", "val", "test", "unlabeled")
_THREADS = 4
# Unlabeled images that are compared with those of validation and test.
_MOST_SMALL = 20_000


@dataclass
class SplitReport:
    """Summary of one split.

    Attributes:
        images: number of records.
        readable: number of readable records.
        sizes: (H, W) -> number of images.
        pixels: pixels per mask value, int64 [256].
        images_with: images whose mask holds the value, int64 [256].
    """

    images: int = 0
    readable: int = 0
    sizes: Counter = field(default_factory=Counter)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images_with: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, facts: Facts) -> None:
        self.readable += 1
        self.sizes[facts.size] += 1
        if facts.histogram is not None:
            self.pixels += facts.histogram
            self.images_with += facts.histogram > 0


@dataclass
class Report:
    """The result of `inspect_dataset`.

    Attributes:
        dataset: the usable part of the data set, at native size.
        splits: the summary of each split.
        findings: all findings, errors first.
        needs: what a training run with the config lacks; see `training_needs`.
        trains: whether such a run would start in spite of its needs.
    """

    dataset: Dataset
    splits: dict[str, SplitReport]
    findings: list[Finding]
    needs: list[str] = field(default_factory=list)
    trains: bool = True

    @property
    def errors(self) -> list[Finding]:
        """The findings that would make training wrong."""
        return [finding for finding in self.findings if finding.severity == ERROR]

    @property
    def masked(self) -> dict[str, SplitReport]:
        """The splits with masks; test only if it exists."""
        return {n: s for n, s in self.splits.items() if n != "unlabeled" and _shown(n, s)}

    def to_json(self) -> dict[str, Any]:
        """The report as numbers, texts and lists."""
        names = self.dataset.class_names
        return {
            "usable": not self.errors,
            "protocol": self.dataset.protocol,
            "notes": list(self.dataset.notes),
            "splits": {
                name: {
                    "images": split.images,
                    "readable": split.readable,
                    "sizes": {f"{h}x{w}": count for (h, w), count in split.sizes.most_common()},
                    "classes": {
                        label: {
                            "pixels": int(split.pixels[value]),
                            "images": int(split.images_with[value]),
                        }
                        for value, label in [*enumerate(names), (IGNORE, "(ignore)")]
                    }
                    if name != "unlabeled"
                    else {},
                }
                for name, split in self.splits.items()
            },
            "findings": [finding.to_json() for finding in self.findings],
            "training_needs": list(self.needs),
        }

    def text(self) -> str:
        """The report for a terminal: how the data was read, splits, classes, findings."""
        lines = list(self.dataset.notes)
        lines += [""] * bool(lines)
        lines += [_split_line(*one) for one in self.splits.items() if _shown(*one)]
        if self.dataset.protocol:
            lines.append(f"labeled images of the protocol {self.dataset.protocol}")
        lines += ["", *_class_lines(self.dataset, self.masked), ""]
        for severity in (ERROR, findings.WARNING):
            found = [f for f in self.findings if f.severity == severity]
            if found:
                lines.append(f"{len(found)} {severity}{'s' if len(found) > 1 else ''}:")
                lines += [f"  - {f.message}" for f in found]
        if not self.findings:
            lines.append("nothing wrong was found")
        if self.needs:
            lines += ["before training:", *(f"  - {line}" for line in self.needs)]
        return "\n".join(lines)


def _shown(name: str, split: SplitReport) -> bool:
    return bool(split.images) or name != "test"


def _split_line(name: str, split: SplitReport) -> str:
    text = f"{name:9s} {split.images:6d} images"
    if split.sizes:
        smallest, largest = min(split.sizes, key=np.prod), max(split.sizes, key=np.prod)
        text += f", {smallest[0]}x{smallest[1]}"
        if len(split.sizes) > 1:
            text += f" to {largest[0]}x{largest[1]} in {len(split.sizes)} sizes"
        text += " (height x width)"
    broken = split.images - split.readable
    return text + (f", {broken} of them unusable" if broken else "")


def _class_lines(dataset: Dataset, splits: dict[str, SplitReport]) -> list[str]:
    width = max(map(len, (*dataset.class_names, "(ignore)")))
    heads = "".join(f"{f'{name} pixels, images':>24s}" for name in splits)
    lines = [f"   id  {'class':{width}s}{heads}"]
    for value, name in [*enumerate(dataset.class_names), (IGNORE, "(ignore)")]:
        cells = "".join(
            f"{100.0 * split.pixels[value] / max(split.pixels.sum(), 1):13.2f} % "
            f"{split.images_with[value]:8d}"
            for split in splits.values()
        )
        lines.append(f"  {value:3d}  {name:{width}s}{cells}")
    return lines


def inspect_dataset(data_config: ConfigDict, seed: int, unmeasured: str = "") -> Report:
    """Reads every file of a data set once and reports what it holds and what is wrong.

    Args:
        data_config: `config.data`, with statistics filled in for images over 8 bits.
        seed: seed of generated data sets.
        unmeasured: why statistics could not be measured; the first finding.

    Raises:
        ConfigError: an unknown `data.name`, or class names or colors that do not fit.
    """
    try:
        dataset, problems = assemble(data_config, seed)
    except DataError as error:
        return Report(_nothing(data_config), _empty_splits(), [findings.from_problem(str(error))])
    found = [findings.from_problem(problem) for problem in problems]
    found += [findings.left_out(warning) for warning in dataset.warnings]
    masked = (dataset.labeled, dataset.val, dataset.test)
    found += [findings.orientation(problem) for problem in orientation_problems(masked)]
    splits, facts = _empty_splits(), {}
    for name in SPLITS:
        source = getattr(dataset, name)
        splits[name].images = len(source)
        facts[name] = []
        for index, record in enumerate(_read_all(source)):
            if isinstance(record, DataError):
                files = record_names(source, index)
                found.append(findings.unusable(name, index, files, str(record)))
                continue
            facts[name].append(record)
            splits[name].add(record)
            found += findings.of_record(name, record)
    found += findings.of_ids(dataset)
    near, similar = near_duplicates({name: facts[name] for name in SPLITS if name != "unlabeled"})
    found += findings.of_contents(facts, similar) + near + unlabeled_copies(facts, near)
    misplaced = shifted_masks(facts["labeled"]) or exchanged_masks(facts)
    if not any(finding.kind == "orientation" for finding in found):
        misplaced += mirrored_masks(facts["labeled"])
    found += misplaced or scaled_masks(facts["labeled"]) or displaced_masks(facts["labeled"])
    found += mask_sets.of_edges(facts["labeled"])
    exchanged = mask_sets.exchanged_classes(dataset.class_names, facts)
    found += exchanged or inverted_masks(dataset.class_names, facts)
    found += mask_sets.of_classes(
        dataset, {n: (s.pixels, s.images_with) for n, s in splits.items()}, facts
    )
    found += tile_leaks(dataset, facts)
    found += hidden_colors(facts)
    found += unreadable_names(dataset.class_names)
    found += object_as_ground(dataset.class_names, facts)
    found += border_colors(dataset)
    if unmeasured:
        # That these images cannot be scaled follows from it.
        found = [finding for finding in found if "set data.value_range=" not in finding.message]
        found.append(Finding(ERROR, "statistics", "labeled", "", unmeasured))
    unique = {finding.message: finding for finding in reversed(found)}
    ordered = [finding for finding in found if unique.get(finding.message) is finding]
    ordered.sort(key=lambda finding: (finding.severity != ERROR, finding.kind != "statistics"))
    return Report(dataset, splits, ordered)


def _empty_splits() -> dict[str, SplitReport]:
    return {name: SplitReport() for name in SPLITS}


def _nothing(data: ConfigDict) -> Dataset:
    names = tuple(data.class_names) or tuple(f"class {i}" for i in range(data.num_classes))
    return Dataset(NONE, NONE, NONE, names, spread_palette(len(names)))


def _read_all(source: UnlabeledSource) -> Iterator[Facts | DataError]:
    """The facts of each record in order, or the error that reading it gave."""

    def read(index: int) -> Facts | DataError:
        try:
            record = source[index]
        except DataError as error:
            return error
        image, mask = record["image"], record.get("mask")
        paths = getattr(source, "image_paths", ()) if image.shape[-1] == 3 else ()
        return Facts(
            index=index,
            id=record["id"],
            files=record_names(source, index),
            size=image.shape[:2],
            blank=bool((image == image[:1, :1]).all()),
            levels=(int(image.min()), int(image.max())),
            image_hash=_digest(image),
            mask_hash=None if mask is None else _digest(mask),
            histogram=None if mask is None else np.bincount(mask.ravel(), minlength=256),
            image_is_mask=mask is not None and image_is_mask(record),
            thumbnail=None if mask is None and index >= _MOST_SMALL else thumbnail_of(image),
            edges=None if mask is None else edge_positions(mask),
            hidden=hidden_share(paths[index]) if paths else 0.0,
            **({} if mask is None else _in_small(image, mask)),
        )

    # In blocks, so that memory holds at most one block of images.
    block = 8 * _THREADS
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="inspect") as executor:
        for start in range(0, len(source), block):
            yield from executor.map(read, range(start, min(start + block, len(source))))


def _in_small(image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    """The facts of an image and its mask that are those of both in small."""
    colors, small_mask = small_colors(image), resize_mask(mask, THUMBNAIL)
    return {
        "small_mask": small_mask,
        "gradient": gradient_of(colors).astype(np.float16),
        "contrast": contrast_of(colors, small_mask),
    }


def _digest(array: np.ndarray) -> bytes:
    content = hashlib.blake2b(np.ascontiguousarray(array), digest_size=16)
    content.update(str(array.shape).encode())
    return content.digest()


def summarize(dataset: Dataset) -> str:
    """How the data was read, the number of images per split, and the protocol; no file is read."""
    counts = {name: len(getattr(dataset, name)) for name in SPLITS}
    lines = [f"{name:9s} {n:6d} images" for name, n in counts.items() if n or name != "test"]
    if dataset.protocol:
        lines.append(f"protocol  {dataset.protocol}")
    lines = [*dataset.notes, *lines, *(f"warning: {text}" for text in dataset.warnings)]
    return "\n".join(lines)
