"""Describes a folder of images and masks as values for `config.data`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ipixmatch_jax.data.files.images import MAX_PIXELS, is_colored, stored_channels
from ipixmatch_jax.data.files.mask_facts import read_facts
from ipixmatch_jax.data.files.mask_values import Said, judge
from ipixmatch_jax.data.importers import PLACES, Found, choices_of, read_tree
from ipixmatch_jax.data.importers.cache import materialize
from ipixmatch_jax.data.importers.class_files import find_classes
from ipixmatch_jax.data.importers.class_lists import fitting, has_no_names
from ipixmatch_jax.data.importers.found import Item
from ipixmatch_jax.data.importers.tree import FolderTree, collecting_later, scan
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.paths import as_path

_NOTHING: Mapping[str, Any] = {}
_SHOWN = 5
# Images whose headers tell whether some have colors.
_HEADERS = 16


def describe_folder(root: str, given: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """Recognizes a folder and returns the values of `config.data` with which it is read.

    The layout is recognized by `data.importers`; `unlabeled/` may hold more images. Class names and
    colors come from the annotation files or from a class file such as `classes.txt` (`NAME` or
    `NAME RED GREEN BLUE` per line); without either, classes are counted in the masks of all splits.

    Args:
        root: the folder.
        given: keys of `config.data` that the user has set, such as `folder.train_images`. They are
            taken as given, and the rest of the description follows from them.

    Returns:
        Keys of `config.data`; those of `config.data.folder` in a dict under `folder`.

    Raises:
        DataError: the folder is not recognized, has no image with a mask, or its masks can mean
            several things.
    """
    return describe_with_items(root, given)[0]


def describe_with_items(
    root: str, given: Mapping[str, Any] = _NOTHING
) -> tuple[dict[str, Any], list[Item]]:
    """`describe_folder`, and all images of the folder, with the paths of their masks."""
    place = as_path(root).expanduser()
    own = {key.removeprefix("folder."): v for key, v in given.items() if key.startswith("folder.")}
    lists = [str(given.get(name, "")) for name in ("labeled", "val", "test")]
    with collecting_later():
        tree = scan(place)
        importer, reason, found = read_tree(tree, choices_of(own, lists))
    labeled = [item for item in found.items if item.mask is not None]
    if not labeled:
        raise DataError(_no_pairs(str(place), reason, found))
    if not any(lists) and all(item.split in ("val", "test") for item in labeled):
        raise DataError(
            f"{place}: {len(labeled)} masks, all of {labeled[0].split} images such as "
            f"{labeled[0].image}; expected masks of training images; name the images to train on "
            "in data.labeled, or move them to a folder of training images"
        )
    problems: list[str] = []
    drawn = materialize(labeled, str(own.get("cache", "")), problems)
    if not drawn:
        raise DataError("\n".join(problems[:_SHOWN]))
    try:
        classes = _classes(tree, found, [str(item.mask) for item in drawn], given)
    except DataError as error:
        # Faults of the layout often explain what is wrong with the masks.
        raise DataError("\n".join([str(error), *found.problems[:_SHOWN]])) from None
    folder: dict[str, Any] = {"format": importer.name, **dict.fromkeys(PLACES, ""), **found.keys}
    bands = stored_channels(labeled[0].image)
    if bands == 1 and any(map(is_colored, _sample([item.image for item in labeled]))):
        bands = None  # gray becomes RGB next to colors, which would become gray otherwise
    description = {
        "name": "folder",
        "root": str(root),
        "channels": given.get("channels") or (3 if bands is None else bands),
        **classes,
        "folder": folder,
    }
    return description, [*drawn, *(item for item in found.items if item.mask is None)]


def _sample(paths: list[str]) -> list[str]:
    """A few of the paths, spread over the list."""
    return paths[:: max(1, len(paths) // _HEADERS)][: 2 * _HEADERS]


def _no_pairs(place: str, reason: str, found: Found) -> str:
    lines = [*found.problems[:_SHOWN], *found.warnings[:_SHOWN]]
    images = [item.image for item in found.items]
    if not images:
        raise DataError(
            f"{place}: {reason}; masks and no image; expected the images, too, under the names of "
            "the masks; copy them into a folder images/ (in CVAT: export with 'Save images')"
            + "".join(f"\n  {line}" for line in lines)
        )
    shown = f", such as {images[0]}" if images else ""
    return (
        f"{place}: {reason}; {len(images)} images{shown}, none with a mask; expected masks of the "
        "same names as their images; set data.folder.train_images and data.folder.train_masks, or "
        "data.folder.mask_tail or mask_prefix" + "".join(f"\n  {line}" for line in lines)
    )


def _refuse_another_order(tree: FolderTree, given: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Raises a ConfigError if a key lists the stated classes in another order: names would move."""
    if given != names and sorted(given) == sorted(names):
        raise ConfigError(
            f"data.class_names={given} lists the classes of {tree.root} in another order; expected "
            f"{names}, the order of their ids there: each name would be that of another class; "
            "remove the key, or give the classes new names in that order"
        )


def _refuse_styles_of_files(tree: FolderTree, given: Mapping[str, Any], count: int) -> None:
    """Raises a ConfigError for keys about stored pixels if masks are drawn: the names would shift.

    Two classes are background and foreground for `binary` and `objects`, too.
    """
    fit = ("ids", "binary", "objects") if count == 2 else ("ids",)
    wrong = [] if given.get("masks", "ids") in fit else [f"data.masks={given['masks']}"]
    values = tuple(given.get("mask_values", ()))
    wrong += [f"data.mask_values={values}"] if values not in ((), tuple(range(count))) else []
    if wrong:
        raise ConfigError(
            f"{wrong[0]} says what the pixels of mask files mean, and the masks of {tree.root} are "
            "drawn from annotations or joined from one file per class, which name their classes; "
            "remove the key"
        )


def _classes(
    tree: FolderTree, found: Found, paths: list[str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """`num_classes`, `class_names`, `palette`, `masks` and more, whichever are known."""
    if found.classes:
        stated = found.classes
        _refuse_another_order(tree, tuple(given.get("class_names", ())), stated.names)
        if not any(isinstance(item.mask, str) for item in found.items):
            _refuse_styles_of_files(tree, given, len(stated.names))
        if len(stated.names) < 2:
            raise DataError(
                f"{tree.root}: the masks hold a single class ({', '.join(stated.names)}); expected "
                "two or more, such as background and one class; annotate a second one"
            )
        return {
            "num_classes": len(stated.names),
            "class_names": stated.names,
            "palette": stated.palette,
            "masks": stated.masks,
            "ignore_colors": stated.ignore_colors,
            "mask_values": stated.values,
        }
    file = find_classes(tree)
    names = tuple(given.get("class_names") or file.names)
    palette = tuple(map(tuple, given.get("palette") or file.palette))
    said = Said(
        names=names,
        palette=palette,
        style=str(given.get("masks", "")),
        values=tuple(given.get("mask_values") or file.values),
        num_classes=int(given.get("num_classes", 0)),
        ignored=tuple(given.get("ignore_values") or file.ignored),
        unlisted=file.unlisted and not given.get("class_names") and not given.get("palette"),
    )
    facts = read_facts(paths, MAX_PIXELS)
    described = judge(facts, said)
    if not names and not palette and has_no_names(tuple(described["class_names"])):
        stated = fitting(found.class_lists, described)
        if stated.names:
            said = replace(said, names=stated.names, palette=stated.palette)
            described = judge(facts, said)
    if file.ignored and said.ignored == file.ignored:
        described["ignore_values"] = file.ignored
    count, names = described["num_classes"], described["class_names"]
    if 0 < len(names) < count:
        source = "data.class_names" if given.get("class_names") else file.path
        raise DataError(
            f"{source}: {len(names)} names ({', '.join(names[:_SHOWN])}), and the masks hold ids "
            f"up to {count - 1}; expected one name for each id 0..{count - 1}; id 0 is often the "
            "background: put a line `background` first, or add the names that are missing"
        )
    return described
