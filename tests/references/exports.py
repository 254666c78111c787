"""Miniature folders in the layouts of annotation tools, for the tests of importers."""

import base64
import io
import json
import zlib

import numpy as np
from PIL import Image

SIZE = (24, 32)
# Rectangles as (left, top, right, bottom), the same in all formats.
CAT, DOG = (2, 3, 10, 9), (15, 8, 28, 20)


def truth() -> np.ndarray:
    """Class 1 in CAT and class 2 in DOG, uint8 [24,32]."""
    ids = np.zeros(SIZE, np.uint8)
    for class_id, (left, top, right, bottom) in enumerate((CAT, DOG), start=1):
        ids[top:bottom, left:right] = class_id
    return ids


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def mask(path, ids, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(ids, np.uint8)).save(path, **options)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def corners(box):
    left, top, right, bottom = box
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def runs(box):
    """COCO's uncompressed run lengths of a box, column by column."""
    left, top, right, bottom = box
    flat = np.zeros(SIZE, np.uint8)
    flat[top:bottom, left:right] = 1
    values = flat.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], values, [1 - values[-1]]])))
    return np.diff(np.concatenate([[0], edges])).tolist()


def coco(root):
    from pycocotools import mask as pycocotools

    entries, images = [], []
    for number in range(4):
        photo(root / f"images/p{number}.jpg", number)
        images.append({"id": 7 + number, "file_name": f"p{number}.jpg", "height": 24, "width": 32})
        polygon = [[float(v) for point in corners(CAT) for v in point]]
        region = np.asfortranarray((truth() == 2).astype(np.uint8))
        drawn = [
            {"size": list(SIZE), "counts": runs(DOG)},
            {"size": list(SIZE), "counts": pycocotools.encode(region)["counts"].decode()},
        ][number % 2]
        for category, segmentation in ((50, polygon), (60, drawn)):
            entries.append({"id": len(entries), "image_id": 7 + number, "area": 50.0,
                            "category_id": category, "segmentation": segmentation,
                            "iscrowd": int(isinstance(segmentation, dict))})  # fmt: skip
    categories = [{"id": 60, "name": "dog"}, {"id": 50, "name": "cat"}]
    content = {"images": images, "annotations": entries, "categories": categories}
    text(root / "annotations/instances_default.json", content)


def labelme(root):
    for number in range(4):
        photo(root / f"p{number}.png", number)
        shapes = [{"label": name, "points": corners((a, b, c - 1, d - 1)), "shape_type": "polygon"}
                  for name, (a, b, c, d) in (("cat", CAT), ("dog", DOG))]  # fmt: skip
        size = {"imageHeight": 24, "imageWidth": 32, "imagePath": f"p{number}.png"}
        text(root / f"p{number}.json", {"version": "5.2.1", "shapes": shapes, **size})
    text(root / "labels.txt", "__ignore__\n_background_\ncat\ndog\n")


def yolo(root):
    names = "names:\n  0: cat\n  1: dog\n"
    text(root / "data.yaml", names)
    for split in ("train", "val"):
        for number in range(3):
            photo(root / f"images/{split}/p{number}.jpg", number + 10 * (split == "val"))
            lines = []
            for label, (left, top, right, bottom) in enumerate((CAT, DOG)):
                points = corners((left, top, right - 1, bottom - 1))
                lines.append(" ".join([str(label), *(f"{x / 32:.6f} {y / 24:.6f}"
                                                     for x, y in points)]))  # fmt: skip
            text(root / f"labels/{split}/p{number}.txt", "\n".join(lines) + "\n")


def cvat_xml(root):
    images = []
    for number in range(4):
        photo(root / f"images/p{number}.jpg", number)
        left, top, right, bottom = DOG
        width, height = right - left, bottom - top
        points = ";".join(f"{x},{y}" for x, y in corners((*CAT[:2], CAT[2] - 1, CAT[3] - 1)))
        images.append(
            f'<image id="{number}" name="p{number}.jpg" width="32" height="24">'
            f'<polygon label="cat" points="{points}" z_order="0"/>'
            f'<mask label="dog" rle="0,{width * height}" left="{left}" top="{top}" '
            f'width="{width}" height="{height}" z_order="0"/></image>'
        )
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("cat", "dog"))
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    body = f"<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>"
    text(root / "annotations.xml", f"<?xml version='1.0'?>{body}")


def supervisely(root):
    text(root / "meta.json", {"classes": [{"title": "cat"}, {"title": "dog"}]})
    for number in range(4):
        photo(root / f"ds/img/p{number}.jpg", number)
        stream = io.BytesIO()
        left, top, right, bottom = DOG
        Image.fromarray(np.full((bottom - top, right - left), 255, np.uint8)).save(stream, "PNG")
        data = base64.b64encode(zlib.compress(stream.getvalue())).decode()
        points = {"exterior": corners((*CAT[:2], CAT[2] - 1, CAT[3] - 1)), "interior": []}
        text(root / f"ds/ann/p{number}.jpg.json", {
            "size": {"height": 24, "width": 32},
            "objects": [
                {"classTitle": "cat", "geometryType": "polygon", "points": points},
                {"classTitle": "dog", "geometryType": "bitmap",
                 "bitmap": {"data": data, "origin": [left, top]}},
            ],
        })  # fmt: skip


def via(root):
    content = {}
    for number in range(4):
        photo(root / f"p{number}.jpg", number)
        polygon = corners((*CAT[:2], CAT[2] - 1, CAT[3] - 1))
        left, top, right, bottom = DOG
        content[f"p{number}.jpg123"] = {"filename": f"p{number}.jpg", "size": 123, "regions": [
            {"shape_attributes": {"name": "polygon", "all_points_x": [x for x, _ in polygon],
                                  "all_points_y": [y for _, y in polygon]},
             "region_attributes": {"class": "cat"}},
            {"shape_attributes": {"name": "rect", "x": left, "y": top, "width": right - left - 1,
                                  "height": bottom - top - 1},
             "region_attributes": {"class": "dog"}},
        ]}  # fmt: skip
    text(root / "via_region_data.json", content)


def encode_brush(values: np.ndarray) -> list[int]:
    """Label Studio's run lengths: runs of 16 bits for repeated values, 4 bits for single ones."""
    bits = [*_bits(len(values), 32), *_bits(7, 5)]
    for size in (3, 7, 11, 16):
        bits += _bits(size - 1, 4)
    start = 0
    while start < len(values):
        end = start
        while end < len(values) and values[end] == values[start] and end - start < 2**16:
            end += 1
        if end - start > 1:
            bits += [1, *_bits(3, 2), *_bits(end - start - 1, 16), *_bits(int(values[start]), 8)]
        else:
            bits += [0, *_bits(0, 2), *_bits(0, 3), *_bits(int(values[start]), 8)]
        start = end
    return np.packbits(bits).tolist()


def _bits(number, size):
    return [number >> (size - 1 - i) & 1 for i in range(size)]


def label_studio(root):
    tasks = []
    for number in range(4):
        photo(root / f"images/{number}abcdefa-p{number}.jpg", number)
        polygon = [[100 * x / 32, 100 * y / 24]
                   for x, y in corners((*CAT[:2], CAT[2] - 1, CAT[3] - 1))]  # fmt: skip
        brush = np.zeros((24, 32, 4), np.uint8)
        brush[..., 3] = (truth() == 2) * 255
        common = {"original_width": 32, "original_height": 24, "image_rotation": 0}
        tasks.append({
            "id": number, "data": {"image": f"/data/upload/1/{number}abcdefa-p{number}.jpg"},
            "annotations": [{"result": [
                {**common, "type": "polygonlabels",
                 "value": {"points": polygon, "polygonlabels": ["cat"]}},
                {**common, "type": "brushlabels",
                 "value": {"rle": encode_brush(brush.reshape(-1)), "brushlabels": ["dog"]}},
            ]}],
        })  # fmt: skip
    text(root / "result.json", tasks)


COLORS = ((0, 0, 0), (250, 50, 83), (51, 221, 255))


def cvat_mask(root):
    lines = (
        "# label:color_rgb:parts:actions\ncat:250,50,83::\nbackground:0,0,0::\ndog:51,221,255::\n"
    )
    text(root / "labelmap.txt", lines)
    text(root / "ImageSets/Segmentation/default.txt", "p0\np1\np2\np3\n")
    for number in range(4):
        photo(root / f"JPEGImages/p{number}.jpg", number)
        mask(root / f"SegmentationClass/p{number}.png", np.array(COLORS)[truth()])
        mask(root / f"SegmentationObject/p{number}.png", np.array(COLORS)[truth()])


def labelme2voc(root):
    text(root / "class_names.txt", "_background_\ncat\ndog\n")
    for number in range(4):
        photo(root / f"JPEGImages/p{number}.jpg", number)
        photo(root / f"SegmentationClassVisualization/p{number}.jpg", number)
        ids = truth().astype(np.int32)
        ids[0] = -1
        (root / "SegmentationClassNpy").mkdir(exist_ok=True, parents=True)
        np.save(root / f"SegmentationClassNpy/p{number}.npy", ids)


def roboflow(root):
    for split in ("train", "valid", "test"):
        text(root / split / "_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n2, dog\n")
        for number in range(3):
            name = f"frame_{number:04d}_jpg.rf.{split}{number}"
            photo(root / split / f"{name}.jpg", sum(map(ord, split)) + number)
            mask(root / split / f"{name}_mask.png", truth())


def mapillary(root):
    labels = [{"name": f"object--{n}", "readable": n, "color": list(c)}
              for n, c in zip(("background", "cat", "dog"), COLORS, strict=True)]  # fmt: skip
    text(root / "config_v2.0.json", {"labels": labels})
    for split in ("training", "validation"):
        for number in range(2):
            photo(root / f"{split}/images/p{number}.jpg", number + len(split))
            mask(root / f"{split}/v2.0/labels/p{number}.png", truth())
            mask(root / f"{split}/v2.0/instances/p{number}.png", truth())
