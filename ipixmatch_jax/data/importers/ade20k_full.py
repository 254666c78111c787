"""ADE20K in full (2017 and 2020/2021 releases): X.jpg, X_seg.png and X_atr.txt or X.json.

A pixel's class is R // 10 * 256 + G of X_seg.png; its name stands in the text or JSON file. Only
classes that occur are used; 0 is unlabeled and ignored. Zhou et al., CVPR 2017.
"""

import io

import numpy as np
from PIL import Image

from ipixmatch_jax.data.importers.annotations import MOST_CLASSES
from ipixmatch_jax.data.importers.contents import content, read_json
from ipixmatch_jax.data.importers.found import (
    Choices,
    Classes,
    Drawn,
    Found,
    Item,
    drawn_from,
    some,
)
from ipixmatch_jax.data.importers.places import item_id, split_of
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError


class Ade20kFull:
    """The full ADE20K."""

    name = "ade20k-full"
    source = "ADE20K in full (2017, 2020)"

    def sniff(self, tree: FolderTree) -> str:
        stems = _stems(tree)
        return f"{stems[0]}_seg.png with its list of objects" if stems else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        stems = _stems(tree)
        names: dict[int, str] = {}
        for stem in stems:
            present = np.unique(_numbers(tree.path("", f"{stem}_seg.png")))
            for number, name in _objects(tree, stem).items():
                if number in present:
                    names.setdefault(number, name)
            for number in present.tolist():
                names.setdefault(number, f"class {number}")
        names.pop(0, None)
        ids = sorted(names)
        if len(ids) > MOST_CLASSES:
            raise DataError(
                f"{tree.root}: {len(ids)} classes occur; expected at most {MOST_CLASSES}; use the "
                "150 classes of the scene-parsing benchmark (--config ade20k)"
            )
        found = Found(classes=Classes(tuple(names[number] for number in ids)))
        for stem in stems:
            image = next(f"{stem}{e}" for e in (".jpg", ".png") if tree.has(f"{stem}{e}"))
            split = split_of(image)
            mask = _drawn(tree.path("", f"{stem}_seg.png"), tuple(ids))
            found.items.append(Item(item_id(image, split), tree.path("", image), mask, split))
        found.notes.append(f"{len(ids)} classes occur: {some([names[n] for n in ids])}")
        return found


def _stems(tree: FolderTree) -> list[str]:
    stems = [path.removesuffix("_seg.png") for path in tree.with_ending("_seg.png")]
    return [
        stem for stem in stems
        if (tree.has(f"{stem}.jpg") or tree.has(f"{stem}.png"))
        and (tree.has(f"{stem}_atr.txt") or tree.has(f"{stem}.json"))
    ]  # fmt: skip


def _numbers(path: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content(path))) as picture:
            array = np.asarray(picture.convert("RGB")).astype(np.int64)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a mask ({error})") from None
    return array[..., 0] // 10 * 256 + array[..., 1]


def _objects(tree: FolderTree, stem: str) -> dict[int, str]:
    """Class number -> name, from the JSON of 2020; the text of 2017 has no numbers."""
    path = f"{stem}.json"
    if not tree.has(path):
        return {}
    listed = read_json(tree.path("", path))
    try:
        objects = listed["annotation"]["object"]
        return {int(o["name_ndx"]): str(o["name"]).split(",")[0] for o in objects}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{tree.path('', path)}: no ADE20K objects ({error})") from None


def _drawn(path: str, ids: tuple[int, ...]) -> Drawn:
    def draw() -> np.ndarray:
        numbers = _numbers(path)
        mask = np.full(numbers.shape, IGNORE, np.uint8)
        for class_id, number in enumerate(ids):
            mask[numbers == number] = class_id
        return mask

    return drawn_from(path, f"ade{ids}".encode(), draw)
