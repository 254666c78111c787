"""Images and masks in folders, and lists of ids that say who is labeled."""

import os
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ipixmatch_jax.data import images
from ipixmatch_jax.data.records import (
    EmptySource,
    Record,
    Splits,
    UnlabeledRecord,
    UnlabeledSource,
)
from ipixmatch_jax.errors import DataError

OPTIONS = {
    "train_images": "train/images",
    "train_masks": "train/masks",
    "val_images": "val/images",
    "val_masks": "val/masks",
}

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MASK_SUFFIXES = (".png",)


class FolderImages:
    """Images of a folder, without masks.

    Args:
        ids: the record ids.
        image_paths: the image file of each id.
    """

    def __init__(self, ids: Sequence[str], image_paths: Sequence[str]):
        self.ids = tuple(ids)
        self._image_paths = tuple(image_paths)
        self._sizes: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            path = self._image_paths[index]
            self._sizes[index] = images.image_size(path, path)
        return self._sizes[index]

    def __getitem__(self, index: int) -> UnlabeledRecord:
        path = self._image_paths[index]
        return {"id": self.ids[index], "image": images.read_image(path, path)}


class FolderScenes(FolderImages):
    """Images of a folder with the masks of another one; every mask is checked as it is read."""

    def __init__(
        self,
        ids: Sequence[str],
        image_paths: Sequence[str],
        mask_paths: Sequence[str],
        num_classes: int,
    ):
        super().__init__(ids, image_paths)
        self._mask_paths = tuple(mask_paths)
        self._num_classes = num_classes

    def __getitem__(self, index: int) -> Record:
        record = super().__getitem__(index)
        path = self._mask_paths[index]
        mask = images.read_class_ids(path, path)
        images.check_same_size(
            record["image"].shape[:2], mask.shape, self._image_paths[index], path
        )
        images.check_mask(mask, self._num_classes, path)
        return {**record, "mask": mask}


class _Finder:
    """Files of a folder by id, from one listing of each directory."""

    def __init__(self, folder: Path, kind: str, suffixes: tuple[str, ...]):
        self.folder, self.kind, self.suffixes = folder, kind, suffixes
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listings:
            found: dict[str, list[str]] = {}
            for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in self.suffixes:
                    found.setdefault(stem, []).append(name)
            self._listings[folder] = found
        return self._listings[folder]

    def find(self, record_id: str) -> str:
        where = self.folder / record_id
        names = self._listing(where.parent).get(where.name, [])
        expected = " or ".join(f"{record_id}{suffix}" for suffix in self.suffixes)
        if len(names) > 1:
            raise DataError(
                f"{where.parent}: {len(names)} {self.kind}s for id {record_id!r} "
                f"({', '.join(names)}); expected one; remove the others"
            )
        if not names:
            raise DataError(
                f"{self.folder}: no {self.kind} for id {record_id!r}; expected {expected}; "
                f"{self._hint(where)}"
            )
        return str(where.parent / names[0])

    def _hint(self, where: Path) -> str:
        if not self.folder.is_dir():
            return f"the folder itself is missing: set data.folder.*_{self.kind}s"
        if where.suffix.lower() in IMAGE_SUFFIXES:
            return "write ids in the list without the file ending"
        others = [p.name for p in where.parent.glob(f"{where.name}.*")] if where.name else []
        if others:
            return f"found {others[0]}, which is not read as a {self.kind}: convert it"
        return f"add the {self.kind} or take the id out of the list"


def read_ids(path: Path, key: str, problems: list[str]) -> list[str]:
    """The ids of a list file, one a line; blank lines and `#` comments are skipped.

    Args:
        path: the list file.
        key: the config key that names it, for messages.
        problems: missing file, empty list and duplicate ids are appended here.

    Returns:
        The ids in the order of the file, each once.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "not there" if isinstance(error, FileNotFoundError) else str(error)
        problems.append(
            f"{path}: list cannot be read ({reason}); expected a text file with one id a line; "
            f"set {key} to a list file relative to data.root"
        )
        return []
    lines = [line.strip() for line in lines]
    first_line: dict[str, int] = {}
    for number, record_id in enumerate(lines, start=1):
        if not record_id or record_id.startswith("#"):
            continue
        if record_id in first_line:
            problems.append(
                f"{path}: id {record_id!r} in line {number} and in line {first_line[record_id]}; "
                "expected every id once; remove one line"
            )
            continue
        first_line[record_id] = number
    if not first_line:
        problems.append(f"{path}: the list holds no id; expected one id a line ({key})")
    return list(first_line)


def _resolve(ids: list[str], finders: list[_Finder], problems: list[str]) -> list[tuple[str, ...]]:
    """(id, file of each finder …) of the ids whose files are all there."""
    rows = []
    for record_id in ids:
        files = []
        for finder in finders:
            try:
                files.append(finder.find(record_id))
            except DataError as error:
                problems.append(str(error))
        if len(files) == len(finders):
            rows.append((record_id, *files))
    return rows


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """The labeled, unlabeled and validation images of `data.root`.

    Args:
        data: `config.data`.
        seed: unused; lists say who is labeled.
        problems: every problem with lists and files is appended here, and left out of the sources.

    Raises:
        DataError: the root is missing.
    """
    root = Path(data.root).expanduser()
    if not data.root or not root.is_dir():
        raise DataError(
            f"data.root={data.root!r} is not a folder; expected the folder with the lists, images "
            "and masks; set data.root"
        )
    options = data.folder
    num_classes = int(data.num_classes)

    def finder(kind: str, folder: str) -> _Finder:
        suffixes = MASK_SUFFIXES if kind == "mask" else IMAGE_SUFFIXES
        return _Finder(root / folder, kind, suffixes)

    def ids(split: str) -> list[str]:
        if not data[split]:
            problems.append(f"data.{split} is empty; expected a list file relative to {root}")
            return []
        return read_ids(root / data[split], f"data.{split}", problems)

    def scenes(split: str, images_folder: str, masks_folder: str) -> FolderScenes:
        finders = [finder("image", images_folder), finder("mask", masks_folder)]
        rows = _resolve(ids(split), finders, problems)
        return FolderScenes(*(zip(*rows, strict=True) if rows else ((), (), ())), num_classes)

    labeled = scenes("labeled", options.train_images, options.train_masks)
    val = scenes("val", options.val_images, options.val_masks)
    unlabeled: UnlabeledSource = EmptySource()
    if data.unlabeled:
        rows = _resolve(ids("unlabeled"), [finder("image", options.train_images)], problems)
        unlabeled = FolderImages(*(zip(*rows, strict=True) if rows else ((), ())))
    return Splits(labeled, unlabeled, val)
