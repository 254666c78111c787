"""Annotation files of one image each: the image that they name, and the one that has their name."""

import os
import posixpath
from collections.abc import Iterable

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.annotations import Sheet, collect
from ipixmatch_jax.data.importers.found import Choices, Found, some
from ipixmatch_jax.data.importers.image_index import ImageIndex
from ipixmatch_jax.data.importers.names import folded
from ipixmatch_jax.data.importers.parts import parts_of
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError


def collect_by_names(
    tree: FolderTree, sheets: list[Sheet], labels: Iterable[str] | None, choices: Choices,
    *, tool: str, key: str,
) -> Found:  # fmt: skip
    """`collect`, of annotation files of one image each, whose own names count too.

    Args:
        tree: the folder.
        sheets: one per annotation file; `image` is changed.
        labels: as for `collect`.
        choices: as for `collect`.
        tool: the program, for messages.
        key: where its files name their image, for messages.
    """
    problems, notes = _settle_names(tree, sheets, tool, key)
    found = collect(tree, sheets, labels, choices)
    found.problems += problems
    found.notes += notes
    return found


def _settle_names(
    tree: FolderTree, sheets: list[Sheet], tool: str, key: str
) -> tuple[list[str], list[str]]:
    """Compares the image that each file names with the image that has the file's own name.

    If only the latter exists, both files were renamed, and it is taken.

    Returns:
        Problems and notes: both images exist, and the annotation may be that of either.
    """
    problems, renamed = [], []
    images = {os.path.splitext(path)[0]: path for path in tree.with_ending(*IMAGE_SUFFIXES)}
    index = ImageIndex(tree)
    for sheet in sheets:
        beside = images.get(os.path.splitext(sheet.source)[0], "")
        own = beside or index.with_stem(os.path.splitext(posixpath.basename(sheet.source))[0])
        stem = os.path.splitext(posixpath.basename(sheet.image.replace("\\", "/")))[0]
        if not own:
            continue
        same = folded(stem) == folded(os.path.splitext(posixpath.basename(own))[0])
        try:
            parts = parts_of(sheet.source, several=False)
            named = index.find(sheet.image, posixpath.dirname(sheet.source), parts=parts)
        except DataError:
            # Several images fit; `collect` reports it.
            continue
        if not named and (beside or not same):
            renamed += [] if same else [f"{sheet.image} -> {own}"]
            sheet.image = own
        elif named and named != own and not same:
            where = "lies next to it" if beside else "has its name"
            problems.append(
                f"{tree.path('', sheet.source)}: {key} is {sheet.image}, but {own} {where}; "
                "expected the annotation of the image with the same name; it may be a copy: "
                f"correct {key}, or rename or remove one of the two files"
            )
    if not renamed:
        return problems, []
    return problems, [
        f"{len(renamed)} {tool} files name an image that does not exist, and are read for the "
        f"image with their own name: {some(renamed, 3)}"
    ]
