"""Supervisely projects: DATASET/img/X, DATASET/ann/X.json and meta.json; format of 2020 to 2025."""

import base64
import io
import posixpath
import zlib
from dataclasses import replace

import numpy as np
from PIL import Image

from ipixmatch_jax.data.importers.annotations import Sheet, collect
from ipixmatch_jax.data.importers.contents import read_json
from ipixmatch_jax.data.importers.found import Choices, Found
from ipixmatch_jax.data.importers.names import is_only_split, split
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError


class Supervisely:
    """A Supervisely project."""

    name = "supervisely"
    source = "Supervisely project (meta.json, ann, img)"

    def sniff(self, tree: FolderTree) -> str:
        meta = _meta(tree)
        files = [path for path in tree.with_ending(".json") if "/ann/" in f"/{path}"]
        return f"{meta} and {files[0]}" if meta and files else ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        meta = read_json(tree.path("", _meta(tree)))
        names = [str(entry["title"]) for entry in meta.get("classes", ())]
        sheets = []
        for path in tree.with_ending(".json"):
            parts = path.split("/")
            if len(parts) < 2 or parts[-2] != "ann":
                continue
            image = _image(tree, "/".join((*parts[:-2], "img")), parts[-1].removesuffix(".json"))
            sheets.append(_sheet(path, image, read_json(tree.path("", path)), tree.path("", path)))
        tagged = {sheet.split for sheet in sheets if sheet.shapes}
        if not {"train", "val"} <= tagged or "" in tagged:
            # Tags that some images lack are no splits.
            sheets = [replace(sheet, split="") for sheet in sheets]
        return collect(tree, sheets, names, choices)


def _image(tree: FolderTree, folder: str, name: str) -> str:
    """The image of an annotation: X.jpg of X.jpg.json, or of X.json as older exports have it."""
    files = tree.files.get(folder, ())
    twins = [f for f in files if name not in files and posixpath.splitext(f)[0] == name]
    return posixpath.join(folder, twins[0] if len(twins) == 1 else name)


def _meta(tree: FolderTree) -> str:
    return next((p for p in tree.with_ending("meta.json") if p.split("/")[-1] == "meta.json"), "")


def _sheet(source: str, image: str, content: dict, path: str) -> Sheet:
    try:
        size = (int(content["size"]["height"]), int(content["size"]["width"]))
        shapes = [(str(o["classTitle"]), _shape(o, path)) for o in content["objects"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: no Supervisely annotation: {type(error).__name__} {error}; export it again"
        ) from None
    tags = {str(tag.get("name")) for tag in content.get("tags") or () if isinstance(tag, dict)}
    splits = {split(tag) for tag in tags if is_only_split(tag)}
    own = splits.pop() if len(splits) == 1 else ""
    return Sheet(source, image, size, shapes, split=own, known=bool(shapes))


def _shape(entry: dict, path: str) -> dict:
    kind = entry["geometryType"]
    if kind == "bitmap":
        bitmap = entry["bitmap"]
        try:
            data = zlib.decompress(base64.b64decode(bitmap["data"]))
            with Image.open(io.BytesIO(data)) as picture:
                array = np.array(picture)
        except (zlib.error, OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path}: a bitmap cannot be decoded ({error})") from None
        pixels = array[..., -1] > 0 if array.ndim == 3 else array > 0
        return {"kind": "mask", "pixels": pixels, "at": bitmap["origin"]}
    points = entry["points"]["exterior"]
    if kind == "polygon":
        return {"kind": "polygon", "points": points, "holes": entry["points"].get("interior", [])}
    if kind == "rectangle":
        return {"kind": "rectangle", "points": points}
    raise DataError(
        f"{path}: shape {kind!r} of {entry['classTitle']!r}; expected bitmap, polygon or "
        "rectangle; convert it in Supervisely, or remove it"
    )
