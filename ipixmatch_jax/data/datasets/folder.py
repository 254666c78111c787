"""Images and masks in folders: images with a mask are labeled, unless lists say otherwise."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets.class_order import drawn_otherwise
from ipixmatch_jax.data.datasets.mask_keys import masks_of, pixels_of
from ipixmatch_jax.data.datasets.mask_notes import style_notes
from ipixmatch_jax.data.files.file_records import FileImages, FileScenes
from ipixmatch_jax.data.files.finder import Finder, resolve
from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.files.split_lists import Entry, read_list
from ipixmatch_jax.data.grouping import group_keys
from ipixmatch_jax.data.hold_out import hold_out
from ipixmatch_jax.data.importers import choices_of, counts, read_folder
from ipixmatch_jax.data.importers.beside import masks_among
from ipixmatch_jax.data.importers.cache import materialize
from ipixmatch_jax.data.importers.class_lists import has_no_names, unused
from ipixmatch_jax.data.importers.finders import ItemFinder
from ipixmatch_jax.data.importers.found import SPLITS
from ipixmatch_jax.data.importers.tree import collecting_later
from ipixmatch_jax.data.records import Splits
from ipixmatch_jax.data.stratify import class_presence
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.keys import Key, Table
from ipixmatch_jax.paths import as_path, is_remote, join

OPTIONS: Table = {
    "format": Key(
        "",
        "importer of the folder, set by the config folder:FOLDER; empty: the six folders below",
    ),
    "train_images": Key("train/images", "folder of training images"),
    "train_masks": Key("train/masks", "folder of training masks"),
    "val_images": Key("val/images", "folder of validation images"),
    "val_masks": Key("val/masks", "folder of validation masks"),
    "test_images": Key("test/images", "folder of test images"),
    "test_masks": Key("test/masks", "folder of test masks"),
    "mask_tail": Key("", "text after the id in a mask's name: _mask for ID_mask.png"),
    "mask_prefix": Key("", "text before the id in a mask's name: gt_ for gt_ID.png"),
    "unannotated": Key(
        "unlabeled",
        "images that an annotation file lists without annotation: unlabeled, or all background",
        choices=("unlabeled", "background"),
    ),
    "cache": Key("", "folder of converted masks; empty: $IPIXMATCH_CACHE or the user's cache"),
    "exif": Key(
        "auto",
        "pixels on which masks of photos turned by EXIF were drawn; auto: by their size, or asked",
        choices=("auto", "upright", "stored"),
    ),
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
    # Each image is held out by a hash of its own id; see data/hold_out.py.
    "holdout": Key(
        0.2,
        "share of the labeled images held out for validation if there are no validation images",
        least=0,
        most=1,
    ),
    "holdout_seed": Key(0, "seed of the hold-out", least=0),
    # A regular expression: its match in the id, or its first group, names the group.
    "group": Key(
        "auto",
        "held out together: auto (near-duplicates, tiles), none, or a pattern of ids like ^(.*)_",
    ),
}

Rows = list[tuple[str, ...]]


def data_root(data: ConfigDict, holds: str) -> Path:
    """`data.root` as an existing folder; otherwise a DataError says what it should hold."""
    root = as_path(data.root).expanduser()
    if not data.root or not root.is_dir():
        known = not data.root or root.is_absolute() or is_remote(root)
        here = "" if known else f" (it is relative to {Path.cwd()})"
        raise DataError(
            f"data.root={data.root!r} is not a folder{here}; expected the folder with {holds}; "
            "set data.root"
        )
    return root


class _Layout:
    """Finders of one data set, and the rows of its splits."""

    def __init__(self, data: ConfigDict, problems: list[str]):
        self.data, self.options, self.problems = data, data.folder, problems
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.groups: tuple[tuple[str, str], ...] = ()
        self.drawn: dict[tuple[str, ...], tuple[str, str]] = {}
        self.root = data_root(data, "images, masks and lists")
        self.pixels, self.reader = pixels_of(data), masks_of(data)
        self._read()
        self.images, self.masks = self._finders("train")

    def _read(self) -> None:
        """Reads what the finders need."""

    def _has_folder(self, finder: Any) -> bool:
        """True if the split has a folder of its own."""
        return finder.folder.is_dir()

    def _same_folder(self, images: Any) -> bool:
        return images.folder == self.images.folder

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
        self._report_orphans()
        return self.rows([Entry(name) for name in ids], finders)

    def _report_orphans(self) -> None:
        """Warns about masks without an image; nothing is left out in silence."""
        orphans = [name for name in self.masks.ids() if not self.images.has(name)]
        if orphans:
            shown = ", ".join(orphans[:3]) + (", …" if len(orphans) > 3 else "")
            self.warnings.append(
                f"{len(orphans)} masks in {self.options.train_masks} have no image of the same "
                f"name in {self.options.train_images} and are left out: {shown}"
            )

    def _scan(self, finder: Finder) -> list[str]:
        if not self._has_folder(finder):
            self.problems.append(
                f"{finder.folder}: not a folder; expected {finder.kind}s; set "
                f"data.folder.*_{finder.kind}s relative to data.root"
            )
        # If images and masks share a folder, masks are recognized by their tail.
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
            if self._has_folder(finder) and not found:
                self.problems.append(f"{finder.folder}: holds no image; expected some")
            pools.append([(f"{folder}/{name}", *files) for name, *files in found])
        return pools

    def val(self, labeled: Rows) -> tuple[Rows, Rows]:
        """The remaining labeled rows, and the validation rows."""
        images, masks = self._finders("val")
        if self.data.val:
            return labeled, self._rows_of_list("val", images, masks)
        if self._has_folder(images) and not self._same_folder(images):
            found = self.rows([Entry(name) for name in self._scan(images)], [images, masks])
            return labeled, [(f"val/{name}", *files) for name, *files in found]
        return self._hold_out(labeled)

    def _rows_of_list(self, split: str, images: Finder, masks: Finder) -> Rows:
        own = self._has_folder(images)
        return self.rows(self.listed(split), [images, masks] if own else [self.images, self.masks])

    def test(self) -> Rows:
        images, masks = self._finders("test")
        if self.data.test:
            return self._rows_of_list("test", images, masks)
        # Test photos without published masks are no test split.
        if not self._has_folder(images) or not self._has_folder(masks):
            return []
        found = self.rows([Entry(name) for name in self._scan(images)], [images, masks])
        return [(f"test/{name}", *files) for name, *files in found]

    def _hold_out(self, labeled: Rows) -> tuple[Rows, Rows]:
        source = self.scenes(labeled)
        keys, notes = group_keys(source, str(self.options.group))
        share = float(self.options.holdout)
        if not 0 < share < 1 or len(set(keys)) < 2:
            self.problems.append(
                f"data.val is empty, and data.folder.holdout={share} of {len(labeled)} labeled "
                f"images in {len(set(keys))} groups leaves no validation; expected a list file "
                f"relative to {self.root}, a folder data.folder.val_images, or two or more labeled "
                "images that are not near-duplicates (data.folder.group='none' ignores that)"
            )
            return labeled, []
        presence = class_presence(source, self.reader.num_classes, self.problems)
        held = hold_out(keys, share, int(self.options.holdout_seed), presence).tolist()
        chosen = set(held)
        kept = [row for index, row in enumerate(labeled) if index not in chosen]
        self.groups = tuple(zip(map(str, source.ids), keys, strict=True))
        self.notes += notes
        self.notes.append(
            f"{len(held)} of {len(labeled)} labeled images are held out for validation, each by a "
            "hash of its id (data.folder.holdout, holdout_seed)"
        )
        return kept, [labeled[index] for index in held]

    def scenes(self, rows: Rows) -> FileScenes:
        drawn = [self.drawn.get(row[1:], ("", "")) for row in rows]
        names, unsized = ([one[place] for one in drawn] for place in (0, 1))
        return FileScenes(
            *columns(rows, 3), self.pixels, self.reader, own=True, exif=self.options.exif,
            mask_names=names, unsized=unsized,
        )  # fmt: skip


class _Imported(_Layout):
    """The same for a folder that an importer reads; its masks may be drawn into the cache."""

    def _read(self) -> None:
        lists = [self.data[name] for name in ("labeled", "val", "test")]
        importer, reason, found = read_folder(self.root, choices_of(self.options, lists))
        self.problems += found.problems
        self.problems += drawn_otherwise(found, self.data)
        items = materialize(found.items, str(self.options.cache), self.problems)
        self.drawn = {(i.image, str(i.mask)): i[4:] for i in items}
        self.items = {split: [i for i in items if i.split == split] for split in SPLITS}
        self.notes.append(f"read as {importer.source}: {reason}")
        self.notes += [*counts(items), *found.notes, *style_notes(self.data)]
        self.warnings += found.warnings
        own = tuple(self.data.class_names)
        self.warnings += unused(found.class_lists) if has_no_names(own) else []
        named = [one.file.path for one in found.class_lists if one.file.names == own]
        self.notes += [f"class names of {named[0]}"] if named else []

    def _finders(self, part: str) -> tuple[Any, Any]:
        items = self.items[part]
        if part != "train":
            # Validation and test images without a mask are reported and left out.
            items = [item for item in items if item.mask]
        return tuple(ItemFinder(items, kind, part, str(self.root)) for kind in ("image", "mask"))

    def _has_folder(self, finder: Any) -> bool:
        return finder.exists() if isinstance(finder, ItemFinder) else super()._has_folder(finder)

    def _same_folder(self, images: Any) -> bool:
        return False

    def _scan(self, finder: Any) -> list[str]:
        return finder.ids() if isinstance(finder, ItemFinder) else super()._scan(finder)

    def unlabeled_pools(self, taken: Rows) -> list[Rows]:
        pools = super().unlabeled_pools(taken)
        own = [(item.id, item.image) for item in self.items["unlabeled"]]
        pools = [*pools, without(own, taken)] if own else pools
        for pool in pools:
            masks = masks_among([path for _, path in pool])
            if masks:
                self.warnings.append(
                    f"{len(masks)} of a few unlabeled images look like masks (few colors): "
                    f"{', '.join(masks[:3])}; take them out of the folder"
                )
        return pools


def without(rows: Rows, others: Rows) -> Rows:
    """The rows whose image is not in `others`; lists may give one image two ids."""
    files = {row[1] for row in others}
    return [row for row in rows if row[1] not in files]


def columns(rows: Rows, count: int) -> tuple[tuple[str, ...], ...]:
    """The columns of rows; `count` empty columns if there is no row."""
    return tuple(zip(*rows, strict=True)) if rows else ((),) * count


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """The labeled, unlabeled, validation and test images of `data.root`.

    `data.labeled`, `data.unlabeled`, `data.val` and `data.test` name lists relative to the root.
    Without a list of labeled images, images with a mask that are in no other split are labeled,
    and images without a mask are unlabeled; `data.unlabeled='rest'` takes every training image that
    is in no other split. Without a list of validation images, the images of
    `data.folder.val_images` validate, or a hold-out; without a list of test images, the images of
    `data.folder.test_images` with masks are the test split. Entries of val and test lists refer to
    the training images if the split has no folder of its own.

    Args:
        data: `config.data`.
        seed: unused; the hold-out has its own seed, so that runs stay comparable.
        problems: every problem with lists and files is appended here; the sources leave it out.

    Raises:
        ConfigError: mask colors or pool weights that do not fit.
        DataError: the root is missing.
    """
    with collecting_later():
        return _splits((_Imported if data.folder.format else _Layout)(data, problems), data)


def _splits(layout: _Layout, data: ConfigDict) -> Splits:
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
        notes=tuple(layout.notes),
        warnings=tuple(layout.warnings),
        groups=layout.groups,
    )


def pool_weights(weights: tuple[float, ...], sizes: list[int]) -> tuple[tuple[int, float], ...]:
    """(images, share of the stream) per pool of unlabeled images; () for a single pool.

    Raises:
        ConfigError: the number of weights is not the number of pools, or a weight is not positive.
    """
    if not len(weights):
        return ()
    if len(weights) != len(sizes) or min(weights) <= 0:
        raise ConfigError(
            f"data.folder.unlabeled_weights={tuple(weights)}; expected {len(sizes)} positive "
            "numbers: one for the unlabeled images of train_images, if any, and one for each of "
            "unlabeled_folders"
        )
    total = sum(weights)
    return tuple((size, weight / total) for size, weight in zip(sizes, weights, strict=True))
