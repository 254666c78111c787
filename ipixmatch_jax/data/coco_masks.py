"""Masks of the 81 classes from COCO's annotations: python -m ipixmatch_jax.data.coco_masks ROOT

ROOT holds annotations/instances_train2017.json and instances_val2017.json; masks/ID.png is written
for every image.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ipixmatch_jax.data.datasets.coco import CATEGORY_IDS, PARTS
from ipixmatch_jax.errors import DataError, UserError, exit_code


def rasterize(size: tuple[int, int], annotations: Sequence[dict]) -> np.ndarray:
    """The class ids of one image's instances, uint8 [H,W]: polygons and run lengths drawn in turn.

    Crowds are drawn first, then instances from the largest to the smallest, so that what is small
    stays visible.

    Args:
        size: (H, W).
        annotations: entries of `annotations` in an instances file.
    """
    class_of = {category: index for index, category in enumerate(CATEGORY_IDS, start=1)}
    canvas = Image.new("L", size[::-1], 0)
    brush = ImageDraw.Draw(canvas)
    order = sorted(annotations, key=lambda a: (not a.get("iscrowd", 0), -a.get("area", 0.0)))
    for annotation in order:
        class_id, drawn = class_of[annotation["category_id"]], annotation["segmentation"]
        if isinstance(drawn, dict):
            region = Image.fromarray(_run_lengths(drawn["counts"], size))
            canvas.paste(class_id, mask=region)
            continue
        for polygon in drawn:
            if len(polygon) >= 6:
                brush.polygon([tuple(p) for p in np.reshape(polygon, (-1, 2))], fill=class_id)
    return np.array(canvas)


def _run_lengths(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Uncompressed run lengths, column by column, as uint8 [H,W] of 0 and 255."""
    values = np.arange(len(counts)) % 2 * 255
    flat = np.repeat(values, counts).astype(np.uint8)
    return np.ascontiguousarray(flat.reshape(size[::-1]).T)


def make_masks(root: Path) -> int:
    """Writes `masks/ID.png` for every image of both instances files; the number written.

    Raises:
        DataError: the annotations are not there.
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
    """Makes the masks of one root; 0, or 2 for an error that the user can mend."""
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
