"""One mask file per object, in a folder per image: the Data Science Bowl 2018 (stage1_train)."""

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.drawing import union_of_files
from ipixmatch_jax.data.importers.found import Choices, Classes, Drawn, Found, Item, some
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.paths import as_path


class PerObject:
    """ID/images/ID.png and ID/masks/*.png."""

    name = "per-object"
    source = "one mask file per object (Data Science Bowl 2018)"

    def sniff(self, tree: FolderTree) -> str:
        bases = _bases(tree)
        # One image and several masks of other names: not a pair of folders of images and masks.
        several = [base for base, (images, masks) in bases.items()
                   if len(images) == 1 and len(masks) > 1]  # fmt: skip
        if len(several) >= max(1, len(bases) // 2):
            return f"one image and several masks in {some(several, 1)}"
        return ""

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found = Found(classes=Classes(("background", "object")))
        objects = 0
        for base, (images, masks) in _bases(tree).items():
            if len(images) != 1:
                found.problems.append(
                    f"{tree.path(base)}: {len(images)} images ({some(images)}); expected one image "
                    "and the masks of its objects; move the others"
                )
                continue
            split = folder_names.split_of_path(base)
            paths = [tree.path(f"{base}/masks", name) for name in masks]
            objects += len(paths)
            image = tree.path(f"{base}/images", images[0])
            mask = _union(paths, image) if paths else None
            name = base if split == "train" else f"{split}/{base}"
            found.items.append(Item(name, image, mask, split))
        found.notes.append(f"{objects} objects, drawn together as class 1 of 2")
        return found


def _bases(tree: FolderTree) -> dict[str, tuple[list[str], list[str]]]:
    """Folder -> (images, masks) of its folders images/ and masks/."""
    bases = {}
    for folder in tree.files:
        base, _, last = folder.rpartition("/")
        if last == "images" and base:
            images, masks = tree.files[folder], tree.files.get(f"{base}/masks", [])
            bases[base] = tuple(
                [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
                for names in (images, masks)
            )
    return bases


def _union(paths: list[str], image: str) -> Drawn:
    def content() -> bytes:
        return b"union" + b"".join(as_path(path).read_bytes() for path in paths)

    return Drawn(image, content, lambda: union_of_files(paths, image))
