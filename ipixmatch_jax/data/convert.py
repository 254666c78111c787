"""Writes any folder that can be read in the plain layout.

    ipixmatch convert SRC DST

DST gets images/, masks/ (PNG of class ids, 255 is ignored) and classes.txt; with validation or test
images train/images, train/masks, val/images and so on; images without masks go to unlabeled/.
"""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data.datasets.folder import data_root
from ipixmatch_jax.data.datasets.mask_keys import masks_of
from ipixmatch_jax.data.importers import Found, choices_of, read_folder
from ipixmatch_jax.data.importers.cache import materialize
from ipixmatch_jax.data.importers.found import Item
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.paths import as_path, is_remote


def convert_data(config: ConfigDict, dst: str | os.PathLike) -> list[str]:
    """Writes the images and masks of the folder that `config.data` describes.

    Args:
        config: `config.data` with `name='folder'`; the folder is not changed.
        dst: a folder that is empty or does not exist. It is written as a whole or not at all.

    Returns:
        One line per split, and what was left out.

    Raises:
        ConfigError: the data is not a folder.
        DataError: a mask is wrong, or `dst` is not empty or not writable.
    """
    if config.name != "folder":
        raise ConfigError(
            f"data.name={config.name!r}; expected 'folder', such as --config folder:SRC"
        )
    target = Path(dst).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target}: not empty; expected a new folder; name another one")
    root = data_root(config, "images and masks")
    if not is_remote(root) and Path(root).resolve() in (
        target.resolve(),
        *target.resolve().parents,
    ):
        raise DataError(
            f"{target}: lies in {root}, which would be read with its own copies from then on; "
            "expected a folder elsewhere; name another one"
        )
    _, _, found = read_folder(root, choices_of(config.folder))
    if found.problems:
        raise DataError("\n".join(found.problems[:5]))
    problems: list[str] = []
    items = materialize(found.items, str(config.folder.cache), problems)
    if problems:
        raise DataError("\n".join(problems[:5]))
    _check_names(items)
    try:
        target.mkdir(parents=True, exist_ok=True)
        # Below the target, so that it is on the same disk; a killed conversion is easy to see.
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=target))
        try:
            lines = _write(items, config, unfinished)
            _write_classes(unfinished, tuple(config.class_names))
            for part in list(unfinished.iterdir()):
                part.rename(target / part.name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error}); name another folder") from None
    return [*lines, *_remarks(found)]


def _remarks(found: Found) -> list[str]:
    return [*found.notes, *(f"warning: {text}" for text in found.warnings)]


def _place(item: Item, splits: set[str]) -> str:
    """The folder of an item: '' for the root, a split's folder, or unlabeled."""
    if item.mask is None:
        return "unlabeled"
    return item.split if splits != {"train"} else ""


def _inner(item: Item) -> str:
    """The id without its split, as a path that stays below its folder."""
    prefix = "unlabeled/" if item.split == "unlabeled" else f"{item.split}/"
    name = item.id.removeprefix(prefix)
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def _check_names(items: list[Item]) -> None:
    splits = {item.split for item in items if item.mask is not None}
    seen: dict[str, Item] = {}
    for item in items:
        name = f"{_place(item, splits)}/{_inner(item)}"
        other = seen.setdefault(name, item)
        if other is not item:
            raise DataError(
                f"{item.image} and {other.image} would both be written as {name}; rename one"
            )


def _write(items: list[Item], config: ConfigDict, target: Path) -> list[str]:
    reader = masks_of(config)
    splits = {item.split for item in items if item.mask is not None}
    counts: dict[str, int] = {}
    for item in items:
        # Validation and test images without a mask must not be trained on.
        if item.mask is None and item.split in ("val", "test"):
            counts[f"left out: {item.split} images without a mask"] = (
                counts.get(f"left out: {item.split} images without a mask", 0) + 1
            )
            continue
        place, inner = _place(item, splits), _inner(item)
        base = target / place if item.mask is None else target / place / "images"
        image = base / f"{inner}{os.path.splitext(item.image)[1]}"
        image.parent.mkdir(parents=True, exist_ok=True)
        _copy(item.image, image)
        if item.mask is not None:
            mask = target / place / "masks" / f"{inner}.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(reader.read(str(item.mask), str(item.mask))).save(mask)
        counts[place or "images"] = counts.get(place or "images", 0) + 1
    return [f"{place}: {count}" for place, count in counts.items()]


def _copy(source: str, target: Path) -> None:
    if "://" in source:
        target.write_bytes(as_path(source).read_bytes())
    else:
        shutil.copyfile(source, target)


def _write_classes(target: Path, names: tuple[str, ...]) -> None:
    if not names:
        return
    # Names that a line of classes.txt cannot hold go to JSON.
    odd = any(
        name != " ".join(name.split()) or name.startswith("#") or re.search(r"( \d+){3}$", name)
        for name in names
    )
    if odd:
        (target / "classes.json").write_text(json.dumps({"classes": list(names)}, indent=1) + "\n")
    else:
        (target / "classes.txt").write_text("".join(f"{n}\n" for n in names), encoding="utf-8")
