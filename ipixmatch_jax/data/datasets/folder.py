"""Images and masks in folders: an image with a mask is labeled, unless lists say otherwise."""

from pathlib import Path

from ml_collections import ConfigDict

from ipixmatch_jax.data.files.file_records import FileImages, FileScenes
from ipixmatch_jax.data.files.finder import Finder, resolve
from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES, Pixels
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES, Masks
from ipixmatch_jax.data.files.split_lists import Entry, read_list
from ipixmatch_jax.data.records import Splits
from ipixmatch_jax.data.stratify import class_presence, draw
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.keys import Key, Table
from ipixmatch_jax.paths import as_path, join

OPTIONS: Table = {
    "train_images": Key("train/images", "folder of training images"),
    "train_masks": Key("train/masks", "folder of training masks"),
    "val_images": Key("val/images", "folder of validation images"),
    "val_masks": Key("val/masks", "folder of validation masks"),
    "test_images": Key("test/images", "folder of test images"),
    "test_masks": Key("test/masks", "folder of test masks"),
    "mask_tail": Key("", "text after the id in a mask's name: _mask for ID_mask.png"),
    "unlabeled_folders": Key(
        (), "more folders of images without masks, relative to data.root or absolute", kind="str"
    ),
    # Pools: the unlabeled images of train_images, if there are any, then each further folder.
    "unlabeled_weights": Key(
        (),
        "share of the unlabeled stream per pool of images; empty: every image once per epoch",
        kind="float",
        above=0,
    ),
    # Drawn so that every class keeps its share.
    "holdout": Key(
        0.2,
        "share of the labeled images held out for validation if there are no validation images",
        least=0,
        most=1,
    ),
    "holdout_seed": Key(0, "seed of the hold-out", least=0),
}

Rows = list[tuple[str, ...]]


def pixels_of(data: ConfigDict) -> Pixels:
    """Channels and value range of `config.data`."""
    pairs = tuple(tuple(float(value) for value in pair) for pair in data.value_range)
    return Pixels(int(data.channels), pairs)


def masks_of(data: ConfigDict) -> Masks:
    """How `config.data` says that masks are read.

    Raises:
        ConfigError: coloured masks without a palette.
    """
    palette = tuple(tuple(int(c) for c in color) for color in data.palette)
    if data.masks == "ids":
        return Masks(int(data.num_classes), palette=palette)
    if data.masks != "colors" or not palette:
        raise ConfigError(
            f"data.masks={data.masks!r} with {len(palette)} colours in data.palette; expected "
            "'ids', or 'colors' and a palette with the colour of every class"
        )
    table = {color: index for index, color in enumerate(palette)}
    table |= {tuple(int(c) for c in color): 255 for color in data.ignore_colors}
    return Masks(int(data.num_classes), colors=tuple(table.items()))


def data_root(data: ConfigDict, holds: str) -> Path:
    """`data.root` as a folder that is there; a DataError names what it should hold."""
    root = as_path(data.root).expanduser()
    if not data.root or not root.is_dir():
        raise DataError(
            f"data.root={data.root!r} is not a folder; expected the folder with {holds}; set "
            "data.root"
        )
    return root


class _Layout:
    """Finders of one data set, and the rows of its splits."""

    def __init__(self, data: ConfigDict, problems: list[str]):
        self.data, self.options, self.problems = data, data.folder, problems
        self.root = data_root(data, "images, masks and lists")
        self.pixels, self.reader = pixels_of(data), masks_of(data)
        self.images, self.masks = self._finders("train")

    def _finders(self, part: str) -> tuple[Finder, Finder]:
        images, masks = self.options[f"{part}_images"], self.options[f"{part}_masks"]
        tail = self.options.mask_tail
        return (
            Finder(join(self.root, images), "image", IMAGE_SUFFIXES),
            Finder(join(self.root, masks), "mask", MASK_SUFFIXES, tail),
        )

    def listed(self, split: str) -> list[Entry]:
        return read_list(join(self.root, self.data[split]), f"data.{split}", self.problems)

    def rows(self, entries: list[Entry], finders: list[Finder]) -> Rows:
        return resolve(entries, self.root, finders, self.problems)

    def labeled(self) -> Rows:
        finders = [self.images, self.masks]
        if self.data.labeled:
            return self.rows(self.listed("labeled"), finders)
        ids = [name for name in self._scan(self.images) if self.masks.has(name)]
        if not ids:
            self.problems.append(
                f"{self.masks.folder}: no mask of any image in {self.images.folder}; expected one "
                "of the same name for every labeled image; set data.folder.train_images and "
                "data.folder.train_masks, or data.labeled to a list"
            )
        return self.rows([Entry(name) for name in ids], finders)

    def _scan(self, finder: Finder) -> list[str]:
        if not finder.folder.is_dir():
            self.problems.append(
                f"{finder.folder}: not a folder; expected {finder.kind}s; set "
                f"data.folder.*_{finder.kind}s relative to data.root"
            )
        # Where images and masks share a folder, masks are told by their tail.
        tail = self.options.mask_tail
        return [name for name in finder.ids() if not tail or not name.endswith(tail)]

    def unlabeled_pools(self, taken: Rows) -> list[Rows]:
        spec, own = self.data.unlabeled, []
        if spec == "rest" or (not spec and not self.data.labeled):
            ids, scanned = {row[0] for row in taken}, self._scan(self.images)
            names = [n for n in scanned if n not in ids and (spec or not self.masks.has(n))]
            own = without(self.rows([Entry(name) for name in names], [self.images]), taken)
        elif spec:
            own = self.rows(self.listed("unlabeled"), [self.images])
        pools = [own] if own else []
        for folder in self.options.unlabeled_folders:
            finder = Finder(join(self.root, folder), "image", IMAGE_SUFFIXES)
            found = self.rows([Entry(name) for name in self._scan(finder)], [finder])
            if finder.folder.is_dir() and not found:
                self.problems.append(f"{finder.folder}: holds no image; expected some")
            pools.append([(f"{folder}/{name}", *files) for name, *files in found])
        return pools

    def val(self, labeled: Rows) -> tuple[Rows, Rows]:
        """The labeled rows that are left, and the validation rows."""
        images, masks = self._finders("val")
        if self.data.val:
            return labeled, self._rows_of_list("val", images, masks)
        if images.folder.is_dir() and images.folder != self.images.folder:
            found = self.rows([Entry(name) for name in self._scan(images)], [images, masks])
            return labeled, [(f"val/{name}", *files) for name, *files in found]
        return self._hold_out(labeled)

    def _rows_of_list(self, split: str, images: Finder, masks: Finder) -> Rows:
        own = images.folder.is_dir()
        return self.rows(self.listed(split), [images, masks] if own else [self.images, self.masks])

    def test(self) -> Rows:
        images, masks = self._finders("test")
        if self.data.test:
            return self._rows_of_list("test", images, masks)
        # Photos of a test whose masks are kept by others are no test split.
        if not images.folder.is_dir() or not masks.folder.is_dir():
            return []
        found = self.rows([Entry(name) for name in self._scan(images)], [images, masks])
        return [(f"test/{name}", *files) for name, *files in found]

    def _hold_out(self, labeled: Rows) -> tuple[Rows, Rows]:
        share = float(self.options.holdout)
        count = round(share * len(labeled))
        if not 0 < share < 1 or not 0 < count < len(labeled):
            self.problems.append(
                f"data.val is empty, and data.folder.holdout={share} of {len(labeled)} labeled "
                f"images leaves no validation; expected a list file relative to {self.root}, a "
                "folder data.folder.val_images, or a hold-out of at least one image"
            )
            return labeled, []
        source = self.scenes(labeled)
        presence = class_presence(source, self.reader.num_classes, self.problems)
        held = draw(count, len(labeled), int(self.options.holdout_seed), presence)
        chosen = set(held.tolist())
        kept = [row for index, row in enumerate(labeled) if index not in chosen]
        return kept, [labeled[index] for index in held]

    def scenes(self, rows: Rows) -> FileScenes:
        return FileScenes(*columns(rows, 3), self.pixels, self.reader, own=True)


def without(rows: Rows, others: Rows) -> Rows:
    """The rows whose image is none of the others'; lists may call one image by two ids."""
    files = {row[1] for row in others}
    return [row for row in rows if row[1] not in files]


def columns(rows: Rows, count: int) -> tuple[tuple[str, ...], ...]:
    """The columns of rows; `count` empty ones where there is no row."""
    return tuple(zip(*rows, strict=True)) if rows else ((),) * count


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """The labeled, unlabeled, validation and test images of `data.root`.

    `data.labeled`, `data.unlabeled`, `data.val` and `data.test` name lists relative to the root.
    Without a list of labeled images, those with a mask that no other split holds are labeled, and
    those without one unlabeled; `data.unlabeled='rest'` takes every training image that is in no
    other split. Without a list of validation images, those of `data.folder.val_images` validate, or
    a hold-out; without one of test images, those of `data.folder.test_images` test, where there are
    masks of them, too. What a list of val or test names is sought among the training images where
    there is no folder of its own.

    Args:
        data: `config.data`.
        seed: unused; the hold-out has a seed of its own, so that runs stay comparable.
        problems: every problem with lists and files is appended here, and left out of the sources.

    Raises:
        ConfigError: mask colours or pool weights that do not fit.
        DataError: the root is missing.
    """
    layout = _Layout(data, problems)
    everything, test = layout.labeled(), layout.test()
    listed = bool(data.labeled)
    labeled, val = layout.val(everything if listed else without(everything, test))
    labeled = labeled if listed else without(labeled, val)
    pools = layout.unlabeled_pools(everything + val + test)
    weights = pool_weights(data.folder.unlabeled_weights, [len(pool) for pool in pools])
    rows = [row for pool in pools for row in pool]
    return Splits(
        labeled=layout.scenes(labeled),
        unlabeled=FileImages(*columns(rows, 2), layout.pixels),
        val=layout.scenes(val),
        unlabeled_pools=weights,
        test=layout.scenes(test),
    )


def pool_weights(weights: tuple[float, ...], sizes: list[int]) -> tuple[tuple[int, float], ...]:
    """(images, share of the stream) of each pool of unlabeled images; () for one plain pool.

    Raises:
        ConfigError: another number of weights than pools, or a weight that is not positive.
    """
    if not len(weights):
        return ()
    if len(weights) != len(sizes) or min(weights) <= 0:
        raise ConfigError(
            f"data.folder.unlabeled_weights={tuple(weights)}; expected {len(sizes)} positive "
            "numbers: one for the unlabeled images of train_images, if there are any, and one for "
            "each of unlabeled_folders"
        )
    total = sum(weights)
    return tuple((size, weight / total) for size, weight in zip(sizes, weights, strict=True))
