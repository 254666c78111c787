"""Splits by the keys train, val and test of YOLO's data.yaml: folders of images, or lists."""

import os
import posixpath

from ipixmatch_jax.data.files.split_lists import decoded, short_id
from ipixmatch_jax.data.importers.found import Found, some
from ipixmatch_jax.data.importers.names import with_split
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path

_KEYS = {"val": "val", "test": "test", "train": "train"}


def apply_yaml(tree: FolderTree, found: Found) -> None:
    """Changes the splits of the items of `found` to those that data.yaml states.

    Nothing changes if the folders tell a split, if the file states none or the same images for
    training and validation, or if the places that it names are not here.
    """
    root = str(tree.root).rstrip("/") + "/"
    inner = {item.image: item.image.removeprefix(root) for item in found.items}
    if any(item.split in ("val", "test") for item in found.items):
        _compare(tree, found, inner)
        return
    for path in tree.with_ending(".yaml", ".yml"):
        stated = _stated(tree, path)
        if not {"train", "val"} <= stated.keys():
            continue
        images = {split: _images(tree, path, places, inner) for split, places in stated.items()}
        if not images["val"] or not images["train"]:
            found.warnings.append(
                f"{path}: train and val name {some(stated['train'], 1)} and "
                f"{some(stated['val'], 1)}, which hold no image here; not used; set data.val"
            )
        elif images["val"] & images["train"]:
            found.notes.append(f"{path}: train and val name the same images; not used as splits")
        else:
            _apply(found, images)
            shown = ", ".join(f"{split} ({len(own)} images)" for split, own in images.items())
            found.notes.append(f"splits of {path}: {shown}")
        return


def _compare(tree: FolderTree, found: Found, inner: dict[str, str]) -> None:
    """Warns if the folders tell other splits than data.yaml does."""
    for path in tree.with_ending(".yaml", ".yml"):
        stated = _stated(tree, path)
        images = {split: _images(tree, path, places, inner) for split, places in stated.items()}
        others = {
            split: [item for item in found.items
                    if item.image in own - images.get(item.split, set()) and item.split != split]
            for split, own in images.items()
        }  # fmt: skip
        for split, items in others.items():
            if items and len(items) == len(images[split]):
                found.warnings.append(
                    f"{path}: {split} is {some(stated[split], 1)}, whose images are read as "
                    f"{items[0].split} by the name of their folder; correct the file, or set "
                    "data.labeled and data.val"
                )


def _stated(tree: FolderTree, path: str) -> dict[str, list[str]]:
    """Split -> the places that a YAML file with class names states."""
    import yaml

    try:
        content = yaml.safe_load(decoded(as_path(tree.path("", path)).read_bytes()))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    if not isinstance(content, dict) or "names" not in content:
        return {}
    values = {key: content.get(key) for key in _KEYS}
    lists = {key: value if isinstance(value, list) else [value] for key, value in values.items()}
    return {key: [str(v) for v in value if v] for key, value in lists.items() if any(value)}


def _images(tree: FolderTree, source: str, places: list[str], inner: dict[str, str]) -> set[str]:
    """The images in folders, or those that text files name; leading folders may be elsewhere."""
    found: set[str] = set()
    for place in places:
        plain = posixpath.normpath(place.replace("\\", "/"))
        parts = [part for part in plain.split("/") if part not in ("", ".", "..")]
        base = posixpath.dirname(source)
        tails = ["/".join(parts[start:]) for start in range(len(parts))]
        for tail in [posixpath.join(base, "/".join(parts)), *tails]:
            if tail.endswith(".txt") and tree.has(tail):
                found |= _listed(tree, tail, inner)
                break
            own = {image for image, path in inner.items() if path.startswith(f"{tail}/")}
            if own:
                found |= own
                break
    return found


def _listed(tree: FolderTree, path: str, inner: dict[str, str]) -> set[str]:
    try:
        lines = decoded(as_path(tree.path("", path)).read_bytes()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{tree.path('', path)}: cannot be read ({error})") from None
    by_name: dict[str, list[str]] = {}
    for image, own in inner.items():
        by_name.setdefault(os.path.splitext(posixpath.basename(own))[0], []).append(image)
    found = set()
    for line in filter(None, map(str.strip, lines)):
        fitting = by_name.get(short_id(line), [])
        tail = posixpath.normpath(line.replace("\\", "/")).lstrip("./")
        exact = [image for image in fitting if tail.endswith(inner[image])]
        found |= set(exact or fitting) if len(exact or fitting) == 1 else set()
    return found


def _apply(found: Found, images: dict[str, set[str]]) -> None:
    split_of = {image: split for split in _KEYS for image in images.get(split, ())}
    for index, item in enumerate(found.items):
        split = split_of.get(item.image, item.split)
        found.items[index] = item._replace(id=with_split(item.id, split), split=split)
