"""The result of an importer: images with their masks and splits, classes, and remarks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from ipixmatch_jax.data.importers.class_lists import ClassList
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.paths import as_path

SPLITS = ("train", "val", "test", "unlabeled")
SHOWN = 5


class Drawn(NamedTuple):
    """A mask that is not a file of class ids: it is drawn once and kept in the cache.

    Attributes:
        name: the source, for messages and for the name of the cached file.
        content: bytes that determine the mask; the key of the cache is their hash.
        draw: returns the class ids, uint8 [H,W].
        source: what messages call the mask; '' takes `name`.
        unsized: `pixels` or `shares` (of width and height), by which annotations without a size
            place the shapes; '' if they state the size of the image.
    """

    name: str
    content: Callable[[], bytes]
    draw: Callable[[], np.ndarray]
    source: str = ""
    unsized: str = ""


def drawn_from(path: str, rule: bytes, draw: Callable[[], np.ndarray]) -> Drawn:
    """A mask that is drawn from one file; `rule` tells how, with all that it depends on."""
    return Drawn(path, lambda: rule + as_path(path).read_bytes(), draw)


class Item(NamedTuple):
    """An image with its mask (a path, a `Drawn`, or None) and its split.

    If the mask was drawn, also what messages call it, and `Drawn.unsized`.
    """

    id: str
    image: str
    mask: "str | Drawn | None"
    split: str
    mask_name: str = ""
    unsized: str = ""


@dataclass(frozen=True)
class Classes:
    """Classes of a data set, and how its masks store them.

    Attributes:
        names: class names in the order of the ids; () if unknown.
        palette: one (red, green, blue) per class; () if unknown.
        masks: `ids`, or `colors` if the classes are the colors of `palette`.
        ignore_colors: mask colors that mean ignore.
        values: the stored value of each class if it is not the id; ().
    """

    names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    masks: str = "ids"
    ignore_colors: tuple[tuple[int, int, int], ...] = ()
    values: tuple[int, ...] = ()


@dataclass
class Found:
    """The result of an importer.

    Attributes:
        items: all images.
        classes: names and colors if the source states them; None: they are counted in the masks.
        notes: counts and decisions, one line each.
        warnings: images or masks that were left out, one line each.
        problems: faults that would make training wrong, one line each.
        keys: keys of `config.data.folder` that give the same result again.
        class_lists: files under any name that look like lists of classes, if none is stated.
    """

    items: list[Item] = field(default_factory=list)
    classes: Classes | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    keys: dict = field(default_factory=dict)
    class_lists: list[ClassList] = field(default_factory=list)

    def of(self, split: str, *, labeled: bool) -> list[Item]:
        """The items of a split, either those with a mask or those without."""
        return [i for i in self.items if i.split == split and (i.mask is not None) == labeled]


# Keys of `config.data.folder` that the user has set.
Choices = dict


class Importer(Protocol):
    """Reads one kind of folder.

    Attributes:
        name: value of `data.folder.format`.
        source: the tool or data set, with the version whose files it was written for.
    """

    name: str
    source: str

    def sniff(self, tree: FolderTree) -> str:
        """Returns the reason why this is such a folder; '' if it is not."""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        """Reads the folder.

        Raises:
            DataError: the folder cannot be read as this format.
        """


def some(names: list[str], count: int = SHOWN) -> str:
    """The first names of a list, for messages."""
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


def without_mask(images: list[str]) -> list[str]:
    """The warning about images of a benchmark's val or test split; [] if there are none."""
    if not images:
        return []
    return [f"{len(images)} val or test images have no mask: {some(images, 2)}"]


def counts(items: list[Item]) -> list[str]:
    """One line per split: images with and without a mask."""
    lines = []
    for split in SPLITS:
        own = [item for item in items if item.split == split]
        masks = sum(item.mask is not None for item in own)
        if own:
            lines.append(f"{split}: {len(own)} images, {masks} with a mask")
    return lines
