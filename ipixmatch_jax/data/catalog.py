"""The registry of data sources, and the checks that every data set must pass."""

import copy
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets import ade20k, cityscapes, coco, digits, folder, pet, tfds, voc
from ipixmatch_jax.data.files.exif_agreement import orientation_problems
from ipixmatch_jax.data.files.file_records import equal_files, record_files, record_names
from ipixmatch_jax.data.keys import DATA_KEYS
from ipixmatch_jax.data.protocols import identify
from ipixmatch_jax.data.records import (
    IGNORE,
    Dataset,
    Record,
    Source,
    Splits,
    spread_palette,
)
from ipixmatch_jax.data.resize import resized
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.keys import Key, Table, defaults_of
from ipixmatch_jax.registry import Registry

# (config.data, seed, problems) -> Splits. Records that cannot be used are left out of the splits
# and described in `problems`.
Builder = Callable[[ConfigDict, int, list[str]], Splits]


class _Sources(Registry[Builder]):
    """Builders by `data.name`; `tfds:NAME` is the TFDS data set NAME."""

    def __getitem__(self, name: str) -> Builder:
        return super().__getitem__("tfds" if name.startswith("tfds:") else name)


DATASETS: _Sources = _Sources("data.name")
SOURCE_OPTIONS: dict[str, Table] = {}

_MODULES = {
    "folder": folder,
    "digits": digits,
    "tfds": tfds,
    "voc": voc,
    "cityscapes": cityscapes,
    "coco": coco,
    "ade20k": ade20k,
    "pet": pet,
}
for _name, _module in _MODULES.items():
    DATASETS.register(_name)(_module.build)
    SOURCE_OPTIONS[_name] = _module.OPTIONS

_SHOWN = 5
# Number of labeled records, spread over the list, that are read before training starts.
_PROBED = 24
# Headers are cheaper: these many are read to find photos that EXIF turns.
_PROBED_HEADERS = 256


def data_defaults() -> ConfigDict:
    """Every key of `config.data` with its default."""
    return ConfigDict(copy.deepcopy(defaults_of(data_keys())))


def data_keys() -> Table:
    """The keys of `config.data`, with a group for each source."""
    name = Key(
        "folder",
        "source of the data; each source has a group of keys of its own",
        choices=DATASETS.names,
        other="tfds:NAME",
    )
    return {"name": name, **DATA_KEYS, **SOURCE_OPTIONS}


def load_dataset(data_config: ConfigDict, seed: int) -> Dataset:
    """The data set that `config.data` describes.

    Args:
        data_config: `config.data`.
        seed: seed of generated data sets; data sets on disk do not depend on it.

    Raises:
        ConfigError: an unknown `data.name`, or class names or colors that do not fit.
        DataError: files, lists or splits that cannot be used; the first few are named.
    """
    dataset, problems = assemble(data_config, seed)
    problems = problems or _probe(dataset, skip=data_config.on_error == "skip")
    if problems:
        more = len(problems) - _SHOWN
        tail = [f"… and {more} more; --mode inspect lists all of them"] if more > 0 else []
        raise DataError("\n".join(problems[:_SHOWN] + tail))
    return resized(dataset, data_config.image_size)


def assemble(data_config: ConfigDict, seed: int) -> tuple[Dataset, list[str]]:
    """The usable part of a data set, at native size, and the problems found without reading pixels.

    Args:
        data_config: `config.data`.
        seed: seed of generated data sets.

    Raises:
        ConfigError: an unknown `data.name`, or class names or colors that do not fit.
        DataError: nothing can be used, for example because the root is missing.
    """
    num_classes = int(data_config.num_classes)
    if not 2 <= num_classes <= IGNORE:
        raise ConfigError(
            f"data.num_classes={num_classes}; expected 2..{IGNORE} ({IGNORE} is the ignore id)"
        )
    problems: list[str] = []
    splits = DATASETS[data_config.name](data_config, seed, problems)
    dataset = Dataset(
        labeled=splits.labeled,
        unlabeled=splits.unlabeled,
        val=splits.val,
        class_names=_class_names(data_config, splits.class_names),
        palette=_palette(data_config, splits.palette),
        unlabeled_pools=splits.unlabeled_pools,
        protocol=identify(splits.labeled.ids),
        test=splits.test,
        notes=splits.notes,
        warnings=splits.warnings,
        groups=splits.groups,
    )
    # An empty split that is already explained needs no second message.
    if not problems:
        problems += [_empty(name) for name in ("labeled", "val") if not len(getattr(dataset, name))]
    problems += _overlap(dataset, "val") + _overlap(dataset, "test")
    return dataset, problems


def split_ids(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """The ids of each split, in the order of its source; the key of a record in every file."""
    names = ("labeled", "unlabeled", "val", "test")
    return {name: tuple(getattr(dataset, name).ids) for name in names}


def _class_names(data: ConfigDict, own: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(data.class_names) or own
    names = names or tuple(f"class {index}" for index in range(data.num_classes))
    if len(names) != data.num_classes:
        raise ConfigError(
            f"data.class_names holds {len(names)} names; expected data.num_classes="
            f"{data.num_classes}; correct either"
        )
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(
            f"data.class_names holds {', '.join(map(repr, doubled))} more than once; expected "
            "every name once; rename all but one"
        )
    return names


def _palette(data: ConfigDict, own: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    colors = tuple(data.palette) or own
    if not len(colors):
        return spread_palette(data.num_classes)
    palette = np.asarray(colors)
    if palette.shape != (data.num_classes, 3) or palette.min() < 0 or palette.max() > 255:
        raise ConfigError(
            f"data.palette has shape {palette.shape}; expected {data.num_classes} colors "
            "(red, green, blue) in 0..255, one per class, or none"
        )
    return palette.astype(np.uint8)


def _empty(split: str) -> str:
    return f"the {split} split holds no records; expected at least one; see data.{split}"


def _overlap(dataset: Dataset, split: str) -> list[str]:
    source: Source = getattr(dataset, split)
    shared = sorted(set(dataset.labeled.ids) & set(source.ids))
    if shared:
        shown = ", ".join(shared[:_SHOWN]) + (", …" if len(shared) > _SHOWN else "")
        file = record_files(source, list(source.ids).index(shared[0]))[0]
        return [
            f"{file}: {len(shared)} ids are in the labeled and in the {split} split: {shown}; "
            "expected none: the model would be evaluated on training images; remove them from "
            "one list"
        ]
    return []


def _probe(dataset: Dataset, *, skip: bool) -> list[str]:
    """Faults of a few labeled and validation records, found before compilation starts."""
    counts, problems = _probe_source(dataset.labeled)
    # Training can skip a record; evaluation needs all of them.
    problems = problems * (not skip) + _probe_source(dataset.val)[1] + _copies(dataset)
    problems += orientation_problems((dataset.labeled, dataset.val), most=_PROBED_HEADERS)
    if problems or not counts.any():
        return problems
    return no_foreground(_until_foreground(dataset.labeled, counts), _first_mask(dataset))


def _first_mask(dataset: Dataset) -> str:
    return record_names(dataset.labeled, 0)[-1]


def _until_foreground(source: Source, counts: np.ndarray) -> np.ndarray:
    """Counts of the probed masks; of all masks if the probed ones hold no foreground."""
    if counts[1:IGNORE].any() or len(source) <= _PROBED or not hasattr(source, "mask"):
        return counts
    total = np.zeros_like(counts)
    for index in range(len(source)):
        try:
            total += np.bincount(source.mask(index).ravel(), minlength=256)
        except DataError:
            continue
        if total[1:IGNORE].any():
            break
    return total


def _probe_source(source: Source) -> tuple[np.ndarray, list[str]]:
    """Counts pixels per mask value, int64 [256], in a few records, and lists their faults."""
    counts, problems = np.zeros(256, np.int64), []
    if not hasattr(source, "files"):
        return counts, problems
    picked = np.linspace(0, len(source) - 1, min(_PROBED, len(source))).round().astype(int)
    for index in picked:
        try:
            record = source[int(index)]
        except DataError as error:
            problems.append(str(error))
            continue
        counts += np.bincount(record["mask"].ravel(), minlength=256)
        image, mask = record_names(source, int(index))[:2]
        if image_is_mask(record):
            problems.append(f"{image}: is the mask {mask}; expected a photo; put it there")
    return counts, problems


def image_is_mask(record: Record) -> bool:
    """True if the image is a copy of its mask; False for masks of one value (undecidable)."""
    image, mask = record["image"], record["mask"]
    return bool((image == mask[..., None]).all() and (mask != mask[:1, :1]).any())


def _copies(dataset: Dataset) -> list[str]:
    """Labeled files with an identical copy in val or test (user data only, not benchmarks)."""
    if not getattr(dataset.labeled, "own", False):
        return []
    paths = {name: getattr(getattr(dataset, name), "image_paths", ()) for name in ("val", "test")}
    labeled = dataset.labeled.image_paths
    return [
        f"{one} (labeled) and {other} ({name}) are the same file, byte for byte; expected "
        "different images: the model would be evaluated on training images; remove one from "
        "its list"
        for name in paths
        for one, other in [
            *((path, path) for path in sorted({*labeled} & {*paths[name]})),
            *equal_files(labeled, paths[name]),
        ]
    ]


def no_foreground(counts: np.ndarray, name: str) -> list[str]:
    """A problem if no pixel is of classes 1 to 254, else no problem.

    Args:
        counts: pixels per value, int64 [256].
        name: the name of one of the mask files.
    """
    total = counts.sum()
    if not total or counts[0] + counts[IGNORE] != total:
        return []
    if counts[IGNORE] < 0.02 * total:
        return [
            f"{name}, and the other labeled masks: no pixel is of classes 1..{IGNORE - 1}; all are "
            "0; expected some foreground; check the masks and data.masks"
        ]
    share = 100.0 * counts[IGNORE] / total
    return [
        f"{name}, and the other labeled masks: all pixels are 0 or {IGNORE} ({share:.0f} % of "
        f"them), and {IGNORE} means ignore; expected class ids; likely a binary mask with "
        f"foreground written as {IGNORE}: write foreground as 1, not {IGNORE}"
    ]
