"""Masks in MATLAB files: CrackForest (`groundTruth`), SBD (`GTcls`), or a plain matrix.

Pascal Context keeps a matrix `LabelMap` of numbers up to 459 per image.
"""

import io
import os

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.object_masks import without_gaps
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.contents import content
from ipixmatch_jax.data.importers.found import (
    Choices,
    Classes,
    Drawn,
    Found,
    Item,
    drawn_from,
    some,
)
from ipixmatch_jax.data.importers.pairing import pair
from ipixmatch_jax.data.importers.places import item_id, split_of
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

# (variable, field) of the structs that data sets use.
_STRUCTS = (("groundTruth", "Segmentation"), ("GTcls", "Segmentation"), ("GTinst", "Segmentation"))
# Folders of masks whose name says nothing: Pascal Context.
_PLAIN = ("trainval",)


class Matlab:
    """One .mat file per image in a folder of masks."""

    name = "mat"
    source = "MATLAB masks (CrackForest, SBD, Pascal Context)"

    def sniff(self, tree: FolderTree) -> str:
        folders = {path.rpartition("/")[0] for path in _files(tree)}
        return f".mat files in {some(sorted(folders), 3)}" if folders else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = Found()
        masks = {os.path.splitext(path)[0]: path for path in _files(tree)}
        images = {os.path.splitext(path)[0]: path for path in tree.with_ending(*IMAGE_SUFFIXES)
                  if not _is_mask_folder(path)}  # fmt: skip
        pairs = pair([_name(stem) for stem in images], [_name(stem) for stem in masks])
        found.notes, found.warnings = list(pairs.notes), list(pairs.warnings)
        by_name = {_name(stem): path for stem, path in masks.items()}
        mask_of = {image: by_name[mask] for mask, image in pairs.pairs.items()}
        arrays = {path: read_matlab(tree.path("", path)) for path in mask_of.values()}
        held = [set(np.unique(array).tolist()) for array in arrays.values()]
        if without_gaps([ids - {0} for ids in held]):
            raise DataError(
                f"{tree.path('', next(iter(arrays)))}, and {len(held) - 1} other files: in each "
                "one the numbers run from 1 without a gap, up to another number: they number the "
                "segments of one image (BSDS500), and the same number is another thing in the "
                "next; expected class ids; save masks of class ids as PNG"
            )
        values = sorted(set().union(*held))
        if max(values, default=0) > IGNORE:
            return _sparse(tree, found, images, mask_of, values)
        lowest = min(values, default=0)
        if values and lowest == 1:
            found.notes.append(f"values {values[0]}..{values[-1]} are classes 0..{values[-1] - 1}")
        count = max((v for v in values if v != IGNORE), default=1) - (lowest == 1) + 1
        names = (
            ("background", "foreground")
            if count == 2
            else tuple(f"class {i}" for i in range(count))
        )
        found.classes = Classes(names)
        table = tuple(range(1, IGNORE)) if lowest == 1 else ()
        return _with_items(tree, found, images, mask_of, table)


def _sparse(
    tree: FolderTree, found: Found, images: dict[str, str], mask_of: dict, values: list[int]
) -> Found:
    """Numbers beyond 255 become class ids in their order."""
    if len(values) > IGNORE:
        raise DataError(
            f"{tree.root}: {len(values)} values up to {values[-1]} in .mat files; expected at most "
            f"{IGNORE} classes; merge classes, and save the masks again"
        )
    found.classes = Classes(tuple(f"value {value}" for value in values))
    found.notes.append(
        f"{len(values)} values up to {values[-1]} are classes in their order: "
        f"{some([str(value) for value in values], 12)}"
    )
    return _with_items(tree, found, images, mask_of, tuple(values))


def _with_items(
    tree: FolderTree, found: Found, images: dict[str, str], mask_of: dict, table: tuple[int, ...]
) -> Found:
    for stem, path in images.items():
        mask, split = mask_of.get(_name(stem)), split_of(path)
        drawn = mask and _drawn(tree.path("", mask), table)
        found.items.append(Item(item_id(path, split), tree.path("", path), drawn or None, split))
    return found


def _files(tree: FolderTree) -> list[str]:
    files = tree.with_ending(".mat")
    named = [path for path in files if _is_mask_folder(path)]
    if named or not files:
        return named
    # A folder of another name, in which nothing else than masks of images lies: trainval/ID.mat.
    stems = {_name(os.path.splitext(path)[0])[1] for path in tree.with_ending(*IMAGE_SUFFIXES)}
    return [
        path for path in files
        if os.path.splitext(path.rpartition("/")[2])[0] in stems
        and not any(n.lower().endswith(IMAGE_SUFFIXES) for n in tree.files[path.rpartition("/")[0]])
    ]  # fmt: skip


def _is_mask_folder(path: str) -> bool:
    roles = [folder_names.role(part) for part in path.split("/")[:-1]]
    return "mask" in roles or "preview" in roles


def _name(stem: str) -> tuple[str, str]:
    """(split and scene, stem): the folders that are neither images nor masks, and the name."""
    *folders, last = stem.split("/")
    kept = (part for part in folders if not folder_names.role(part) and part not in _PLAIN)
    return "/".join(kept), last


def read_matlab(path: str) -> np.ndarray:
    """The class map of a MATLAB file, uint16 [H,W].

    Raises:
        DataError: unreadable, or no matrix of integers in it.
    """
    import scipy.io

    try:
        variables = scipy.io.loadmat(io.BytesIO(content(path)))
    except (OSError, ValueError, TypeError, NotImplementedError, EOFError, KeyError) as error:
        raise DataError(
            f"{path}: cannot be read as a MATLAB file ({error}); save it again"
        ) from None
    except Exception as error:  # scipy.io raises whatever a damaged file leads to
        raise DataError(f"{path}: cannot be read as a MATLAB file ({error})") from None
    if {"inst_map", "type_map"} <= variables.keys():
        # HoVer-Net's form of nuclei, such as CoNSeP: numbers of objects, and their classes.
        return _checked(variables["type_map"], path)
    for variable, field in _STRUCTS:
        if variable in variables:
            return _checked(_field(variables[variable], field, f"{path}: {variable}.{field}"), path)
    matrices = {k: v for k, v in variables.items() if isinstance(v, np.ndarray) and v.ndim == 2
                and min(v.shape) > 1}  # fmt: skip
    if len(matrices) != 1:
        raise DataError(
            f"{path}: variables {some([k for k in variables if k[:2] != '__'])}; expected "
            "groundTruth, GTcls or a single matrix; save the masks as PNG"
        )
    return _checked(next(iter(matrices.values())), path)


def _field(struct: np.ndarray, field: str, name: str) -> np.ndarray:
    """The matrix in a field of a struct, whichever way the file nests it."""
    try:
        while struct.dtype == object:
            struct = struct.flat[0]
        inner = struct[field]
        while inner.dtype == object:
            inner = inner.flat[0]
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise DataError(f"{name}: not in the file ({error}); save the masks as PNG") from None
    return inner


def _checked(array: np.ndarray, path: str) -> np.ndarray:
    whole = array.dtype.kind in "uib" or (array == np.round(array)).all()
    if array.ndim != 2 or not whole or array.min() < 0 or array.max() >= 2**16:
        raise DataError(
            f"{path}: holds {array.dtype}{list(array.shape)}; expected whole numbers 0..65535 "
            "[height, width]"
        )
    return array.astype(np.uint16)


def _drawn(path: str, table: tuple[int, ...]) -> Drawn:
    """The mask of a file; `table` holds the stored value of each class, () for ids."""

    def draw() -> np.ndarray:
        ids = read_matlab(path)
        if not table:
            return ids.astype(np.uint8)
        place = np.searchsorted(table, ids).clip(0, len(table) - 1)
        known = np.asarray(table)[place] == ids
        return np.where(known, place, IGNORE).astype(np.uint8)

    return drawn_from(path, b"mat%r" % (table,), draw)
