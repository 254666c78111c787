"""Cell Tracking Challenge: 01/t000.tif with 01_GT/SEG/man_seg000.tif or 01_ST/SEG; 2D sequences.

Gold masks (GT) of real microscopes show some of the cells alone, tracking markers (GT/TRA) all of
them. A gold mask is read if it covers every marker of its frame, else the silver mask (ST).
"""

import re

import numpy as np

from ipixmatch_jax.data.importers.cellpose import cells
from ipixmatch_jax.data.importers.drawing import gray
from ipixmatch_jax.data.importers.found import Choices, Classes, Found, Item, some
from ipixmatch_jax.data.importers.names import split_of_path, with_split
from ipixmatch_jax.data.importers.tree import FolderTree

_FOLDER = re.compile(r"(?P<sequence>(?:.*/)?\d\d)_(?P<kind>GT|ST)/SEG$")
_IMAGE, _MASK = re.compile(r"t(\d{3,4})\.tif$"), re.compile(r"man_seg(\d{3,4})\.tif$")
_MARKER = re.compile(r"man_track(\d{3,4})\.tif$")


class CellTracking:
    """Sequences with gold or silver masks."""

    name = "cell-tracking"
    source = "Cell Tracking Challenge (01, 01_GT/SEG, 01_ST/SEG)"

    def sniff(self, tree: FolderTree) -> str:
        found = _sequences(tree)
        return some([f"{one} with {one}_{kind}/SEG" for one, kind in found], 3)

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = Found(classes=Classes(("background", "cell")))
        used = {"GT": 0, "ST": 0}
        partly: list[str] = []
        thin: list[str] = []
        unchecked: list[str] = []
        sequences = {sequence for sequence, _ in _sequences(tree)}
        numbered = {folder for folder in tree.files if re.search(r"(^|/)\d\d$", folder)}
        for sequence in sorted(sequences | {f for f in numbered if _frames(tree, f, _IMAGE)}):
            gold = _frames(tree, f"{sequence}_GT/SEG", _MASK)
            silver = _frames(tree, f"{sequence}_ST/SEG", _MASK)
            markers = _frames(tree, f"{sequence}_GT/TRA", _MARKER)
            for frame, image in _frames(tree, sequence, _IMAGE).items():
                mask, kind = "", ""
                if frame in gold:
                    mask, kind = gold[frame], "GT"
                    if frame not in markers:
                        unchecked.append(mask)
                    elif _missed(tree, mask, markers[frame]):
                        partly.append(mask)
                        mask = ""
                if not mask and frame in silver:
                    mask, kind = silver[frame], "ST"
                    if frame in markers and _missed(tree, mask, markers[frame]):
                        thin.append(mask)
                used[kind] = used.get(kind, 0) + bool(mask)
                split = split_of_path(sequence)
                name = image.rpartition("/")[2].removesuffix(".tif")
                found.items.append(
                    Item(
                        with_split(f"{sequence}/{name}", split), tree.path("", image),
                        cells(tree.path("", mask)) if mask else None, split,
                    )
                )  # fmt: skip
        found.notes.append(
            f"masks: {used['GT']} gold (GT), {used['ST']} silver (ST); the cells of each mask, "
            "drawn together as class 1 of 2"
        )
        self._remarks(tree, found, partly, thin, unchecked)
        return found

    def _remarks(
        self, tree: FolderTree, found: Found, partly: list[str], thin: list[str],
        unchecked: list[str],
    ) -> None:  # fmt: skip
        if partly:
            found.warnings.append(
                f"{len(partly)} gold masks lack cells that GT/TRA marks, and are not used: "
                f"{some(partly, 3)}"
            )
        if thin:
            found.warnings.append(
                f"{len(thin)} silver masks lack some of the cells that GT/TRA marks, which are "
                f"read as background: {some(thin, 3)}"
            )
        if unchecked:
            found.problems.append(
                f"{tree.path('', unchecked[0])}, and {len(unchecked) - 1} other gold masks: no "
                "markers in GT/TRA, which tell whether a mask shows all cells; expected "
                "man_track000.tif and the like in GT/TRA; copy them from the download, or set "
                "data.folder.train_images and data.folder.train_masks if the masks are complete"
            )
        slices = [path for path in tree.with_ending(".tif") if re.search(r"man_seg_\d+_\d+", path)]
        if slices:
            found.warnings.append(
                f"{len(slices)} masks of slices of volumes are not read: {some(slices, 2)}"
            )


def _sequences(tree: FolderTree) -> list[tuple[str, str]]:
    """(sequence, GT or ST) of the sequences with images and masks."""
    matches = filter(None, map(_FOLDER.match, tree.files))
    return [
        (match["sequence"], match["kind"])
        for match in matches
        if _frames(tree, match.group(), _MASK) and _frames(tree, match["sequence"], _IMAGE)
    ]


def _frames(tree: FolderTree, folder: str, pattern: re.Pattern) -> dict[int, str]:
    """Number of the frame -> its file in a folder."""
    matches = filter(None, map(pattern.match, tree.files.get(folder, ())))
    return {int(match.group(1)): f"{folder}/{match.group()}" for match in matches}


def _missed(tree: FolderTree, mask: str, markers: str) -> bool:
    """True if some marker of a frame lies outside of all cells of its mask."""
    drawn, marked = gray(tree.path("", mask)), gray(tree.path("", markers))
    return bool(drawn.shape != marked.shape) or bool(
        set(np.unique(marked).tolist()) - {0} - set(np.unique(marked[drawn > 0]).tolist())
    )
