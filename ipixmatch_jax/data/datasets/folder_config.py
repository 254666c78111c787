"""What a folder of images and masks holds, so that nothing about it need be written down."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files import multiband
from ipixmatch_jax.data.files.finder import Finder
from ipixmatch_jax.data.files.images import (
    IMAGE_SUFFIXES,
    fetch,
    open_picture,
    pixel_array,
    read_bands,
)
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES, packed, read_class_ids
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path, join

# (images, masks) of the training set relative to the root; the first that is there.
_LAYOUTS = (("images", "masks"), ("train/images", "train/masks"))
_NOTHING: Mapping[str, Any] = {}
_CLASS_FILES = ("classes.json", "classes.txt")
_THREADS = 4


@dataclass(frozen=True)
class _MaskFacts:
    """Of one mask: its class ids, or its colours where it has three channels, and its palette."""

    values: frozenset[int] = frozenset()
    colors: frozenset[int] = frozenset()
    palette: tuple[tuple[int, int, int], ...] = ()


def describe_folder(root: str, given: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """Values for `config.data` that fit a folder of images and masks.

    Images are in `images/` and masks in `masks/`, or in `train/images` and `train/masks` with
    `val/images` and `val/masks` beside them; `unlabeled/` may hold more images. Class names, and
    colours if the masks are coloured, come from `classes.txt` (`NAME` or `NAME RED GREEN BLUE` a
    line) or `classes.json` (`classes`, `palette`) in the root; without either they are counted in
    the masks. A mask of 0 and 255 alone is read as background and foreground.

    Args:
        root: the folder.
        given: keys of `config.data` that the user has set, such as `folder.train_images`: they are
            taken as given, and the rest of the description follows from them.

    Returns:
        Keys of `config.data`; those of `config.data.folder` in a dict under `folder`.

    Raises:
        DataError: no images or masks, or masks that tell nothing.
    """
    place = as_path(root).expanduser()
    layout = next((pair for pair in _LAYOUTS if (place / pair[0]).is_dir()), None)
    own = (given.get("folder.train_images"), given.get("folder.train_masks"))
    if any(own):
        layout = tuple(a or b for a, b in zip(own, layout or _LAYOUTS[0], strict=True))
    if layout is None:
        raise DataError(
            f"{place}: no folder images/ or train/images/; expected images there and masks of the "
            "same names in masks/ or train/masks/"
        )
    images = Finder(join(place, layout[0]), "image", IMAGE_SUFFIXES)
    masks = Finder(join(place, layout[1]), "mask", MASK_SUFFIXES, given.get("folder.mask_tail", ""))
    image_ids, mask_ids = images.ids(), masks.ids()
    both = [name for name in image_ids if masks.has(name)]
    if not both:
        raise DataError(
            f"{place / layout[1]}: {len(mask_ids)} masks, none of the name of one of the "
            f"{len(image_ids)} images in {place / layout[0]}; expected ID.png for a labeled ID.jpg"
        )
    folder: dict[str, Any] = {"train_images": layout[0], "train_masks": layout[1]}
    if (place / "unlabeled").is_dir():
        folder["unlabeled_folders"] = ("unlabeled",)
    first = images.find(both[0])
    return {
        "name": "folder",
        "root": str(root),
        "channels": _channels(first),
        **_classes(place, [masks.find(name) for name in both], given),
        "folder": folder,
    }


def _channels(path: str) -> int:
    file = fetch(path, path)
    if multiband.is_raw(file):
        return multiband.read(file, path, shape_only=True).shape[-1]
    with open_picture(file, path) as picture:
        deep = picture.mode.startswith(("I", "F"))
    if not deep:
        return 3
    return read_bands(file, path, 1).shape[-1]


def _classes(root: Path, paths: list[str], given: Mapping[str, Any]) -> dict[str, Any]:
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="describe") as executor:
        facts = list(executor.map(_mask_facts, paths))
    values = frozenset().union(*(fact.values for fact in facts))
    colors = frozenset().union(*(fact.colors for fact in facts))
    names, palette = _named_classes(root)
    names = tuple(given.get("class_names", names))
    palette = tuple(tuple(color) for color in given.get("palette", palette))
    if colors:
        return _colored(colors, names, palette, paths[0])
    ids = values - {IGNORE}
    if ids <= {0} and IGNORE in values:
        names = names or ("background", "foreground")
        return {"num_classes": 2, "class_names": names, "masks": "colors",
                "palette": ((0, 0, 0), (255, 255, 255))}  # fmt: skip
    count = max(len(names), max(ids, default=0) + 1, 2)
    own = next((fact.palette for fact in facts if len(fact.palette) >= count), ())
    palette = palette or own[:count]
    # Equal colours tell nothing: a palette that was never set.
    return {"num_classes": count, "class_names": names,
            "palette": palette if len(set(palette)) == count else ()}  # fmt: skip


def _mask_facts(path: str) -> _MaskFacts:
    if path.endswith((".npy", ".mat")):
        return _MaskFacts(frozenset(np.unique(read_class_ids(path, path)).tolist()))
    file = fetch(path, path)
    with open_picture(file, path) as picture:
        if picture.mode in ("RGB", "RGBA"):
            if picture.format == "JPEG":
                read_class_ids(file, path)
            numbers = np.unique(packed(pixel_array(picture.convert("RGB"), path)))
            return _MaskFacts(colors=frozenset(numbers.tolist()))
        table = _palette_of(picture)
    return _MaskFacts(frozenset(np.unique(read_class_ids(file, path)).tolist()), palette=table)


def _palette_of(picture: Image.Image) -> tuple[tuple[int, int, int], ...]:
    flat = picture.getpalette("RGB") if picture.mode == "P" else None
    return tuple(map(tuple, np.reshape(flat, (-1, 3)).tolist())) if flat else ()


def _colored(
    found: frozenset[int], names: tuple[str, ...], palette: tuple, path: str
) -> dict[str, Any]:
    """Coloured masks: the colours of the class file, or every colour that there is, sorted."""
    if palette:
        return {"num_classes": len(palette), "class_names": names, "masks": "colors",
                "palette": palette}  # fmt: skip
    colors = tuple(((v >> 16) & 255, (v >> 8) & 255, v & 255) for v in sorted(found))
    if not 2 <= len(colors) <= IGNORE or (names and len(names) != len(colors)):
        expected = f"{len(names)} of them" if names else f"2 to {IGNORE}"
        raise DataError(
            f"{path}, and the other masks: {len(colors)} colours; expected {expected}, one for "
            "each class (smoothed edges and JPEG make many); list NAME RED GREEN BLUE of every "
            "class in classes.txt, or correct the masks"
        )
    names = names or tuple("#{:02x}{:02x}{:02x}".format(*color) for color in colors)
    return {"num_classes": len(colors), "class_names": names, "masks": "colors",
            "palette": colors}  # fmt: skip


def _named_classes(root: Path) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names and colours of the class file, () where it does not say."""
    for file in _CLASS_FILES:
        path = root / file
        if not path.is_file():
            continue
        try:
            text = path.read_bytes().decode("utf-8-sig")
            return _from_json(text) if file.endswith("json") else _from_lines(text)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: cannot be read as classes ({error}); expected NAME or NAME RED GREEN "
                'BLUE a line, or in JSON {"classes": [names], "palette": [[red, green, blue]]}'
            ) from None
    return (), ()


def _from_json(text: str):
    content = json.loads(text)
    palette = tuple(tuple(int(c) for c in color) for color in content.get("palette", ()))
    return tuple(map(str, content["classes"])), palette


def _from_lines(text: str):
    names, palette = [], []
    for line in text.splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) > 3 and all(word.isdigit() for word in words[-3:]):
            palette.append(tuple(int(word) for word in words[-3:]))
            words = words[:-3]
        names.append(" ".join(words))
    if palette and len(palette) != len(names):
        raise ValueError(f"{len(palette)} of {len(names)} classes have a colour")
    return tuple(names), tuple(palette)
