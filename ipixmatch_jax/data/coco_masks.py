"""Class-id masks from COCO annotations: python -m ipixmatch_jax.data.coco_masks ROOT

ROOT holds annotations/instances_train2017.json and instances_val2017.json; masks/ID.png is written
for every image. Regions are decoded by pycocotools, COCO's own library (extra `coco`).
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ipixmatch_jax.data.datasets.coco import CATEGORY_IDS, PARTS
from ipixmatch_jax.data.importers.coco_regions import draw_annotations
from ipixmatch_jax.errors import DataError, UserError, exit_code

_CLASS_OF = {category: index for index, category in enumerate(CATEGORY_IDS, start=1)}


def rasterize(size: tuple[int, int], annotations: Sequence[dict]) -> np.ndarray:
    """Draws the instances of one image as class ids 0..80, uint8 [H,W]; see `draw_annotations`.

    Args:
        size: (H, W).
        annotations: entries of `annotations` in an instances file.

    Raises:
        DataError: pycocotools is not installed, a category is unknown, or a region is damaged.
    """
    return draw_annotations(size, annotations, _CLASS_OF)


def make_masks(root: Path) -> int:
    """Writes `masks/ID.png` for every image of both instances files; returns the number written.

    Raises:
        DataError: the annotations are missing or damaged.
    """
    written = 0
    (root / "masks").mkdir(exist_ok=True)
    for part in PARTS:
        path = root / "annotations" / f"instances_{part}.json"
        try:
            content = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(
                f"{path}: cannot be read ({error}); expected COCO's annotations"
            ) from None
        of_image: dict[int, list[dict]] = {}
        for annotation in content["annotations"]:
            of_image.setdefault(annotation["image_id"], []).append(annotation)
        for image in content["images"]:
            size = (image["height"], image["width"])
            mask = rasterize(size, of_image.get(image["id"], []))
            stem = Path(image["file_name"]).stem
            Image.fromarray(mask).save(root / "masks" / f"{stem}.png")
            written += 1
    return written


def main(arguments: Sequence[str]) -> int:
    """Writes the masks of one root; returns 0, or 2 for a user error."""
    if len(arguments) != 1:
        print("usage: python -m ipixmatch_jax.data.coco_masks ROOT", file=sys.stderr)
        return 2
    try:
        print(f"{make_masks(Path(arguments[0]))} masks written")
    except UserError as error:
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
