"""Masks in MATLAB files: CrackForest and BSDS (`groundTruth`), SBD (`GTcls`), or a plain matrix."""

import io
import os

import numpy as np

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.annotations import item_id, split_of
from ipixmatch_jax.data.importers.contents import content
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, some
from ipixmatch_jax.data.importers.pairing import pair
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path

# (variable, field) of the structs that data sets use.
_STRUCTS = (("groundTruth", "Segmentation"), ("GTcls", "Segmentation"), ("GTinst", "Segmentation"))


class Matlab:
    """One .mat file per image in a folder of masks."""

    name = "mat"
    source = "MATLAB masks (CrackForest, BSDS500, SBD)"

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
        values = sorted({int(v) for array in arrays.values() for v in np.unique(array)})
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
        for stem, path in images.items():
            mask, split = mask_of.get(_name(stem)), split_of(path)
            drawn = mask and _drawn(tree.path("", mask), lowest == 1)
            found.items.append(
                Item(item_id(path, split), tree.path("", path), drawn or None, split)
            )
        return found


def _files(tree: FolderTree) -> list[str]:
    return [path for path in tree.with_ending(".mat") if _is_mask_folder(path)]


def _is_mask_folder(path: str) -> bool:
    roles = [folder_names.role(part) for part in path.split("/")[:-1]]
    return "mask" in roles or "preview" in roles


def _name(stem: str) -> tuple[str, str]:
    """(split and scene, stem): the folders that are neither images nor masks, and the name."""
    *folders, last = stem.split("/")
    return "/".join(part for part in folders if not folder_names.role(part)), last


def read_matlab(path: str) -> np.ndarray:
    """The class map of a MATLAB file, integers [H,W] in 0..255.

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
    if array.ndim != 2 or not whole or array.min() < 0 or array.max() > IGNORE:
        raise DataError(
            f"{path}: holds {array.dtype}{list(array.shape)}; expected whole numbers 0..{IGNORE} "
            "[height, width]"
        )
    return array.astype(np.uint8)


def _drawn(path: str, from_one: bool) -> Drawn:
    def draw() -> np.ndarray:
        ids = read_matlab(path)
        return np.where(ids == IGNORE, IGNORE, ids - 1).astype(np.uint8) if from_one else ids

    return Drawn(path, lambda: b"mat%d" % from_one + as_path(path).read_bytes(), draw)
