"""Images of a folder, found by the names that annotation files give them."""

import os
import posixpath
from collections.abc import Sequence

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.found import some
from ipixmatch_jax.data.importers.names import folded, without_upload_prefix
from ipixmatch_jax.data.importers.places import place_of, split_of
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

# LabelMe may name its own file as the image.
_NO_IMAGES = (".json", ".xml", ".txt", ".csv")


class ImageIndex:
    """Finds images of a tree by the names in annotation files."""

    def __init__(self, tree: FolderTree):
        self.tree = tree
        above = len(tree.top.split("/")) if tree.top else 0
        self.images: list[str] = [
            path
            for path in tree.with_ending(*IMAGE_SUFFIXES)
            if not any(folder_names.role(p) == "preview" for p in path.split("/")[above:-1])
        ]
        # File name of an image as the annotations gave it -> its path, if an upload prefix differs,
        # the spelling (case and Unicode form), or the ending.
        self.renamed: dict[str, str] = {}
        self.respelled: dict[str, str] = {}
        self.converted: dict[str, str] = {}
        self._folders = {part for path in self.images for part in path.split("/")[:-1]}
        self._places = {folded(posixpath.dirname(path)) for path in self.images}
        self._by_name: dict[str, list[str]] = {}
        self._by_plain: dict[str, list[str]] = {}
        self._by_letters: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for path in self.images:
            base = posixpath.basename(path)
            self._by_name.setdefault(base, []).append(path)
            self._by_letters.setdefault(folded(base), []).append(path)
            if place_of(posixpath.dirname(path)).role != "mask":
                self._by_stem.setdefault(os.path.splitext(base)[0], []).append(path)
            if without_upload_prefix(base) != base:
                self._by_plain.setdefault(without_upload_prefix(base), []).append(path)

    def find(self, name: str, near: str = "", split: str = "", parts: Sequence[str] = ()) -> str:
        """The relative path of an image; '' if there is none.

        If no image has the name, the case of letters, their Unicode form, Label Studio's upload
        prefix or the ending may differ; the prefix is removed from the name, or from the images.

        Args:
            name: file name or path; folders in it may be those of another machine.
            near: the folder of the annotation file, preferred if several images fit.
            split: likewise, the split of the annotations; '' if nothing tells it. An image in a
                folder of another split does not fit.
            parts: likewise, names of the part of the data set that is annotated, such as siteA; see
                `parts_of`. An image in images/siteB does not fit if there is images/siteA.

        Raises:
            DataError: several images fit.
        """
        name = posixpath.normpath(name.replace("\\", "/"))
        for start in (near, ""):
            path = posixpath.normpath(posixpath.join(start, name))
            if self.tree.has(path) and not path.lower().endswith(_NO_IMAGES):
                return path
        folder, base = posixpath.split(name)
        plain = without_upload_prefix(base)
        if not name.startswith("/") and name[1:2] != ":":
            # The folders of another machine tell no split.
            split = folder_names.split_of_path(folder, split)
        tables = ((base, self._by_name), (folded(base), self._by_letters),
                  (plain, self._by_name), (base, self._by_plain))  # fmt: skip
        for number, (key, table) in enumerate(tables):
            candidates = [p for p in table.get(key, ()) if self._may_be(p, folder, split, parts)]
            if not candidates:
                continue
            path = self._single(candidates, posixpath.join(folder, key), name, near, split)
            if number:
                (self.respelled if number == 1 else self.renamed)[name] = path
            return path
        stem, ending = os.path.splitext(base)
        # Names of video frames may have no ending, and a dot: scene.001.
        stem = stem if ending.lower() in IMAGE_SUFFIXES or base not in self._by_stem else base
        found = self._by_stem.get(stem, ())
        candidates = [path for path in found if self._may_be(path, folder, split, parts)]
        if len(candidates) == 1:
            self.converted[name] = candidates[0]
            return candidates[0]
        return ""

    def with_stem(self, stem: str) -> str:
        """The only image outside of folders of masks with a name before its ending; ''."""
        found = self._by_stem.get(stem, ())
        return found[0] if len(found) == 1 else ""

    def _may_be(self, path: str, folder: str, split: str, named: Sequence[str]) -> bool:
        """False if an image of that name is another one, and the one that is meant is missing.

        The folder in a name may be that of another machine. If it exists here, the image lies in
        it; and the annotations of train do not describe the images of test.
        """
        last = folder.rpartition("/")[2]
        parts = path.split("/")[:-1]
        own = folder_names.split_of_path("/".join(parts), "")
        if split and own and split != own:
            return False
        # Is there a folder like this one, but of the part that is meant?
        groups = place_of("/".join(parts)).group.split("/") if named else ()
        here = {folded(name) for name in parts}
        for part in named:
            others = ((*parts[:i], part, *parts[i + 1 :])
                      for i, name in enumerate(parts) if name in groups)  # fmt: skip
            absent = folded(part) not in here
            if absent and any(folded("/".join(other)) in self._places for other in others):
                return False
        return last in parts or last not in self._folders

    def _single(self, candidates: list[str], key: str, name: str, near: str, split: str) -> str:
        if len(candidates) > 1:
            longest = max(_common_tail(path, key) for path in candidates)
            fitting = [path for path in candidates if _common_tail(path, key) == longest]
            inside = [path for path in fitting if near and path.startswith(f"{near}/")]
            if len(inside) != 1:
                inside = [path for path in fitting if split_of(path) == (split or "train")]
            if len(inside) != 1:
                # siteA/json/1.json describes siteA/images/1.jpg, and not siteB/images/1.jpg.
                shared = {path: _common_start(path, near) for path in fitting}
                inside = [path for path in fitting if 0 < shared[path] == max(shared.values())]
            candidates = inside if len(inside) == 1 else fitting
        if len(candidates) > 1:
            raise DataError(
                f"{self.tree.path('', candidates[0])}: {len(candidates)} images fit {name!r} of "
                f"the annotations: {some(candidates)}; expected one; rename or remove the others"
            )
        return candidates[0]


def _common_start(path: str, folder: str) -> int:
    """The folders from the root on that two paths share."""
    return len(os.path.commonprefix([path.split("/")[:-1], folder.split("/")]))


def _common_tail(path: str, name: str) -> int:
    pairs = zip(reversed(path.split("/")), reversed(name.split("/")), strict=False)
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count
