"""A folder per image with files such as image.png and mask.png; the folder is the image's name."""

import os

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.files.masks import MASK_SUFFIXES
from ipixmatch_jax.data.importers import names as folder_names
from ipixmatch_jax.data.importers.found import Choices, Found, Item, some
from ipixmatch_jax.data.importers.tree import FolderTree

# A folder of more files holds many images.
_MOST_FILES = 50


class ImageFolders:
    """CASE/image.png and CASE/mask.png, or img and label."""

    name = "image-folders"
    source = "one folder per image (image.png, mask.png)"

    def sniff(self, tree: FolderTree) -> str:
        pairs = _pairs(tree)
        if len(pairs) < 2:
            return ""
        folder, (image, mask) = next(iter(pairs.items()))
        return f"{folder}/{image} with {mask}, and {len(pairs) - 1} other folders like it"

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        found, pairs = Found(), _pairs(tree)
        for folder, (image, mask) in pairs.items():
            splits = [s for part in folder.split("/") if (s := folder_names.split(part))]
            split = splits[0] if splits else "train"
            name = folder if split in ("train", "unlabeled") else f"{split}/{folder}"
            path = tree.path(folder, mask) if split != "unlabeled" else None
            found.items.append(Item(name, tree.path(folder, image), path, split))
        others = [
            folder for folder, files in tree.files.items()
            if folder not in pairs and any(f.lower().endswith(IMAGE_SUFFIXES) for f in files)
        ]  # fmt: skip
        if others:
            found.warnings.append(
                f"{len(others)} folders do not hold one image and one mask and are left out: "
                f"{some(others)}"
            )
        return found


def _pairs(tree: FolderTree) -> dict[str, tuple[str, str]]:
    """Folder -> (image, mask) of the folders with exactly one of each, told by their names."""
    pairs = {}
    for folder, files in tree.files.items():
        if len(files) > _MOST_FILES:
            continue
        roles: dict[str, list[str]] = {"image": [], "mask": []}
        for file in files:
            stem, ending = os.path.splitext(file)
            if len(folder_names.words(stem)) == 1 and ending.lower() in IMAGE_SUFFIXES:
                roles.setdefault(folder_names.role(stem), []).append(file)
        (images, masks) = roles["image"], roles["mask"]
        if folder and len(images) == len(masks) == 1 and masks[0].lower().endswith(MASK_SUFFIXES):
            pairs[folder] = (images[0], masks[0])
    return pairs
