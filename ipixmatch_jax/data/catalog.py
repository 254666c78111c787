"""The data sources by name, and what every data set must satisfy whatever its source."""

from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data import digits, folder, tfds
from ipixmatch_jax.data.records import (
    IGNORE,
    Dataset,
    Splits,
    UnlabeledSource,
    spread_palette,
)
from ipixmatch_jax.data.resize import resized
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.registry import Registry

# (config.data, seed, problems) -> Splits; whatever cannot be used is left out of the splits and
# described in `problems`.
Builder = Callable[[ConfigDict, int, list[str]], Splits]

DATASETS: Registry[Builder] = Registry("data.name")
SOURCE_OPTIONS: dict[str, dict] = {}

for _name, _module in {"folder": folder, "digits": digits, "tfds": tfds}.items():
    DATASETS.register(_name)(_module.build)
    SOURCE_OPTIONS[_name] = _module.OPTIONS

_SHOWN = 5


def load_dataset(data_config: ConfigDict, seed: int) -> Dataset:
    """The data set that `config.data` describes.

    Args:
        data_config: `config.data`.
        seed: of data sets that are drawn; those on disk do not depend on it.

    Raises:
        ConfigError: an unknown `data.name`, or class names or colours that do not fit.
        DataError: files, lists or splits that cannot be used; the first few are named.
    """
    dataset, problems = assemble(data_config, seed)
    if problems:
        more = len(problems) - _SHOWN
        tail = [f"… and {more} more; --mode inspect lists all of them"] if more > 0 else []
        raise DataError("\n".join(problems[:_SHOWN] + tail))
    return resized(dataset, data_config.image_size)


def assemble(data_config: ConfigDict, seed: int) -> tuple[Dataset, list[str]]:
    """What can be used of a data set, at native size, and every problem that shows without pixels.

    Args:
        data_config: `config.data`.
        seed: of data sets that are drawn.

    Raises:
        ConfigError: an unknown `data.name`, or class names or colours that do not fit.
        DataError: a fault that leaves nothing to look at, such as a missing root.
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
        palette=_palette(data_config),
    )
    # An empty split that has been explained already needs no second message.
    if not problems:
        problems += [_empty(name) for name in ("labeled", "val") if not len(getattr(dataset, name))]
    problems += _overlap(dataset.labeled, dataset.val)
    return dataset, problems


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


def _palette(data: ConfigDict) -> np.ndarray:
    if not len(data.palette):
        return spread_palette(data.num_classes)
    palette = np.asarray(data.palette)
    if palette.shape != (data.num_classes, 3) or palette.min() < 0 or palette.max() > 255:
        raise ConfigError(
            f"data.palette has shape {palette.shape}; expected {data.num_classes} colours "
            "(red, green, blue) in 0..255, one for each class, or none at all"
        )
    return palette.astype(np.uint8)


def _empty(split: str) -> str:
    return f"the {split} split holds no records; expected at least one; see data.{split}"


def _overlap(labeled: UnlabeledSource, val: UnlabeledSource) -> list[str]:
    shared = sorted(set(labeled.ids) & set(val.ids))
    if not shared:
        return []
    shown = ", ".join(shared[:_SHOWN]) + (", …" if len(shared) > _SHOWN else "")
    return [
        f"{len(shared)} ids are in the labeled and in the val split: {shown}; expected none, or "
        "the model is measured on what it was trained on; take them out of one list"
    ]
