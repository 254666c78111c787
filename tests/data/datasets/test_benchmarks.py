"""Reads miniatures of the benchmarks in their own folder layouts."""

import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.coco_masks import main as make_coco_masks
from ipixmatch_jax.data.coco_masks import rasterize
from ipixmatch_jax.data.datasets import ade20k, cityscapes, coco, pet, voc
from ipixmatch_jax.errors import ConfigError, DataError


def picture(path, seed=0, size=(10, 14)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)


def mask_file(path, array, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array.astype(np.uint8))
    if palette:
        image.putpalette([(37 * i + 5) % 256 for i in range(768)])
    image.save(path)


def classes(seed, values, size=(10, 14)):
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), size)


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


VOC_VALUES = [*range(21), 255]


@pytest.fixture
def voc_root(tmp_path):
    """3 VOC training images, 2 of validation, and 4 that only SBD labels, 1 of them VOC val."""
    root = tmp_path / "VOC2012"
    ids = [f"2007_00{n:04d}" for n in range(9)]
    for seed, name in enumerate(ids):
        picture(root / f"JPEGImages/{name}.jpg", seed)
    for seed, name in enumerate(ids[:5]):
        mask_file(root / f"SegmentationClass/{name}.png", classes(seed, VOC_VALUES), palette=True)
    sbd = tmp_path / "benchmark_RELEASE/dataset"
    (sbd / "cls").mkdir(parents=True)
    for seed, name in enumerate(ids):
        content = {"Segmentation": classes(100 + seed, range(21)), "Boundaries": np.zeros(3)}
        scipy.io.savemat(sbd / f"cls/{name}.mat", {"GTcls": content})
    lists = root / "ImageSets/Segmentation"
    text(lists / "train.txt", ids[:3])
    text(lists / "val.txt", ids[3:5])
    text(lists / "trainval.txt", ids[:5])
    text(sbd / "train.txt", [ids[0], ids[5], ids[6], ids[4]])
    text(sbd / "val.txt", [ids[7], ids[8]])
    return root


def voc_config(make_config, root, **changes):
    return make_config(
        **{"name": "voc", "root": str(root), "num_classes": 21, "labeled": "train",
           "unlabeled": "", "val": "val", **changes}
    )  # fmt: skip


def test_voc_with_sbd(voc_root, make_config):
    config = voc_config(
        make_config, voc_root, labeled="train_aug", voc={"sbd": "../benchmark_RELEASE/dataset"}
    )
    dataset = load_dataset(config, 0)
    ids = [f"2007_00{n:04d}" for n in range(9)]
    # SBD's and VOC's training images, less VOC's validation images.
    assert set(dataset.labeled.ids) == {*ids[:3], *ids[5:]}
    assert dataset.val.ids == tuple(ids[3:5])
    assert len(dataset.test) == 0
    text(voc_root / "late.txt", ids[4:5])
    config.val, config.test = "val", "late.txt"
    assert load_dataset(config, 0).test.ids == (ids[4],)
    assert dataset.class_names == voc.CLASSES and len(dataset.palette) == 21
    for index, name in enumerate(dataset.labeled.ids):
        number = ids.index(name)
        # VOC's own mask if it exists, otherwise SBD's.
        seed, values = (number, VOC_VALUES) if number < 3 else (100 + number, range(21))
        np.testing.assert_array_equal(dataset.labeled[index]["mask"], classes(seed, values))


def test_voc_split_lists_of_the_field(voc_root, make_config):
    text(voc_root / "splits/92/labeled.txt", [
        "JPEGImages/2007_000001.jpg SegmentationClass/2007_000001.png",
        "JPEGImages/2007_000006.jpg SegmentationClass/2007_000006.png",
    ])  # fmt: skip
    text(voc_root / "splits/92/unlabeled.txt", [
        "JPEGImages/2007_000007.jpg SegmentationClass/2007_000007.png",
    ])  # fmt: skip
    # The masks that people call SegmentationClassAug.
    mask_file(voc_root / "SegmentationClassAug/2007_000006.png", classes(6, VOC_VALUES))
    dataset = load_dataset(
        voc_config(make_config, voc_root, labeled="splits/92/labeled.txt",
                   unlabeled="splits/92/unlabeled.txt"), 0
    )  # fmt: skip
    assert dataset.labeled.ids == ("2007_000001", "2007_000006")
    assert dataset.unlabeled.ids == ("2007_000007",)
    np.testing.assert_array_equal(dataset.labeled[1]["mask"], classes(6, VOC_VALUES))
    assert set(dataset.unlabeled[0]) == {"id", "image"}


@pytest.mark.parametrize("changes, error, message", [
    ({"labeled": "train_aug"}, DataError, r"train_aug\.txt: list cannot be read"),
    ({"labeled": "tran"}, ConfigError, "data.labeled='tran'; expected a list file.*train_aug"),
    ({"num_classes": 20}, ConfigError, "data.num_classes=20; expected 21"),
    ({"root": "/nowhere"}, DataError, "not a folder.*JPEGImages"),
])  # fmt: skip
def test_voc_faults(voc_root, make_config, changes, error, message):
    with pytest.raises(error, match=message):
        load_dataset(voc_config(make_config, changes.pop("root", voc_root), **changes), 0)


def test_voc_missing_files_are_counted(voc_root, make_config):
    for name in ("2007_000000", "2007_000002"):
        (voc_root / f"SegmentationClass/{name}.png").unlink()
    with pytest.raises(DataError, match="no mask for 2 of 3 ids of data.labeled: 2007_000000, 20"):
        load_dataset(voc_config(make_config, voc_root), 0)


# From the public label table of the Cityscapes scripts: (label id, train id).
TRAIN_IDS = [(7, 0), (8, 1), (11, 2), (12, 3), (13, 4), (17, 5), (19, 6), (20, 7), (21, 8),
             (22, 9), (23, 10), (24, 11), (25, 12), (26, 13), (27, 14), (28, 15), (31, 16),
             (32, 17), (33, 18)]  # fmt: skip


@pytest.fixture
def city_root(tmp_path):
    root = tmp_path / "cityscapes"
    scenes = [("train", "jena", 3), ("train", "ulm", 2), ("val", "lindau", 2),
              ("train_extra", "bayreuth", 2)]  # fmt: skip
    seed = 0
    for split, city, count in scenes:
        for number in range(count):
            name = f"{city}_{number:06d}_000019"
            picture(root / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", seed)
            seed += 1
            if split == "train_extra":
                continue
            raw = classes(seed, range(34))
            lookup = np.full(256, 255, np.uint8)
            for label_id, train_id in TRAIN_IDS:
                lookup[label_id] = train_id
            folder = root / f"gtFine/{split}/{city}"
            mask_file(folder / f"{name}_gtFine_labelIds.png", raw)
            mask_file(folder / f"{name}_gtFine_labelTrainIds.png", lookup[raw])
            picture(folder / f"{name}_gtFine_color.png", seed)
    return root


def city_config(make_config, root, **changes):
    return make_config(
        **{"name": "cityscapes", "root": str(root), "num_classes": 19, "labeled": "train",
           "unlabeled": "", "val": "val", **changes}
    )  # fmt: skip


def test_cityscapes_label_ids_are_converted_right(city_root, make_config):
    converted = load_dataset(
        city_config(make_config, city_root, cityscapes={"masks": "labelIds"}), 0
    )
    published = load_dataset(
        city_config(make_config, city_root, cityscapes={"masks": "labelTrainIds"}), 0
    )
    assert len(converted.labeled) == 5 and len(converted.val) == 2
    seen = set()
    for source, other in ((converted.labeled, published.labeled), (converted.val, published.val)):
        assert source.ids == other.ids
        for index in range(len(source)):
            np.testing.assert_array_equal(source[index]["mask"], other[index]["mask"])
            seen |= set(np.unique(source[index]["mask"]).tolist())
    assert seen == {*range(19), 255}
    assert converted.class_names == cityscapes.CLASSES and cityscapes.CLASSES[13] == "car"


def test_cityscapes_lists_name_train_ids_that_only_the_download_lacks(city_root, make_config):
    for path in city_root.rglob("*labelTrainIds.png"):
        path.unlink()
    line = ("leftImg8bit/train/jena/jena_000001_000019_leftImg8bit.png "
            "gtFine/train/jena/jena_000001_000019_gtFine_labelTrainIds.png")  # fmt: skip
    text(city_root / "splits/labeled.txt", [line])
    dataset = load_dataset(
        city_config(make_config, city_root, labeled="splits/labeled.txt", unlabeled="rest"), 0
    )
    assert dataset.labeled.ids == ("jena_000001_000019",) and len(dataset.unlabeled) == 4
    assert dataset.labeled[0]["mask"].max() == 255
    extra = load_dataset(city_config(make_config, city_root, unlabeled="train_extra"), 0)
    assert extra.unlabeled.ids == ("bayreuth_000000_000019", "bayreuth_000001_000019")


def test_cityscapes_label_ids_under_the_name_of_train_ids(city_root, make_config):
    folder = city_root / "gtFine/train/jena"
    name = "jena_000000_000019_gtFine_"
    (folder / f"{name}labelIds.png").rename(folder / f"{name}labelTrainIds.png")
    with pytest.raises(DataError, match="mask value 19, 20.*likely Cityscapes labelIds"):
        load_dataset(city_config(make_config, city_root), 0)
    mask_file(folder / f"{name}labelIds.png", classes(0, [7, 34]))
    with pytest.raises(DataError, match="mask value 254"):
        load_dataset(city_config(make_config, city_root, cityscapes={"masks": "labelIds"}), 0)


@pytest.fixture
def coco_root(tmp_path):
    """Images of two sizes, their annotations, and COCO-Stuff pixel maps of the same things."""
    root = tmp_path / "coco"
    square = [[2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]]
    # 10 x 14 column by column: the last two columns.
    crowd = {"counts": [120, 20], "size": [10, 14]}
    for part, first in (("train2017", 1), ("val2017", 5)):
        images, annotations = [], []
        for number in range(first, first + 4):
            name = f"{number:012d}"
            picture(root / f"{part}/{name}.jpg", number)
            images.append({"id": number, "file_name": f"{name}.jpg", "height": 10, "width": 14})
            annotations += [
                {"image_id": number, "category_id": 90, "segmentation": square, "area": 16.0},
                {"image_id": number, "category_id": 13, "segmentation": crowd, "iscrowd": 1},
            ]
            stuff = np.full((10, 14), 150, np.uint8)
            stuff[0] = 255
            stuff[2:4] = 89  # category 90, toothbrush
            stuff[4:6] = 12  # category 13, stop sign
            mask_file(root / f"stuffthingmaps/{part}/{name}.png", stuff)
        path = root / f"annotations/instances_{part}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return root


def coco_config(make_config, root, **changes):
    return make_config(
        **{"name": "coco", "root": str(root), "num_classes": 81, "labeled": "train",
           "unlabeled": "", "val": "val", **changes}
    )  # fmt: skip


def test_coco_masks_from_the_annotations(coco_root, make_config, capsys):
    assert make_coco_masks([str(coco_root)]) == 0
    assert "8 masks" in capsys.readouterr().out
    text(coco_root / "labeled.txt", [f"train2017/{1:012d}.jpg masks/{1:012d}.png"])
    dataset = load_dataset(
        coco_config(make_config, coco_root, labeled="labeled.txt", unlabeled="rest"), 0
    )
    assert len(dataset.unlabeled) == 3 and len(dataset.val) == 4
    mask = dataset.labeled[0]["mask"]
    # As pycocotools draws it: the last row and column of the polygon are outside.
    assert (mask[1:5, 2:6] == coco.CLASSES.index("toothbrush")).all()
    assert (mask[:, 12:] == coco.CLASSES.index("stop sign")).all()
    assert mask[8, 2] == 0 and (mask > 0).sum() == 16 + 20


def test_coco_small_things_stay_visible():
    def box(x0, y0, x1, y1):
        return [[x0, y0, x1, y0, x1, y1, x0, y1]]

    small = {"category_id": 1, "segmentation": box(3, 3, 4, 4), "area": 1}
    large = {"category_id": 2, "segmentation": box(0, 0, 8, 8), "area": 64}
    for order in ([small, large], [large, small]):
        mask = rasterize((9, 9), order)
        assert mask[3, 3] == 1 and mask[7, 7] == 2


def test_coco_stuff_pixel_maps(coco_root, make_config):
    mask = load_dataset(coco_config(make_config, coco_root), 0).val[0]["mask"]
    assert (mask[2:4] == 80).all() and (mask[4:6] == 12).all()
    assert (mask[:2] == 0).all() and (mask[6:] == 0).all()
    assert coco.CLASSES[12] == "stop sign" and coco.CATEGORY_IDS[11] == 13


def test_ade20k(tmp_path, make_config):
    for part, prefix, count in (("training", "train", 4), ("validation", "val", 2)):
        for number in range(count):
            name = f"ADE_{prefix}_{number:08d}"
            picture(tmp_path / f"images/{part}/{name}.jpg", number)
            mask_file(tmp_path / f"annotations/{part}/{name}.png", classes(number, range(151)))
    config = make_config(name="ade20k", root=str(tmp_path), num_classes=150, labeled="train",
                         unlabeled="", val="val")  # fmt: skip
    dataset = load_dataset(config, 0)
    assert dataset.class_names == ade20k.CLASSES and len(dataset.labeled) == 4
    stored = classes(1, range(151)).astype(int)
    expected = np.where(stored == 0, 255, stored - 1)
    np.testing.assert_array_equal(dataset.labeled[1]["mask"], expected)
    assert dataset.val.ids == ("ADE_val_00000000", "ADE_val_00000001")
    mask_file(tmp_path / "annotations/training/ADE_train_00000000.png", classes(0, [1, 151]))
    with pytest.raises(DataError, match="mask value 254"):
        load_dataset(config, 0)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_pet(tmp_path, make_config, num_classes):
    names = ["Abyssinian_1", "beagle_2", "pug_30", "Sphynx_4"]
    for seed, name in enumerate(names):
        picture(tmp_path / f"images/{name}.jpg", seed)
        mask_file(tmp_path / f"annotations/trimaps/{name}.png", classes(seed, [1, 2, 3]))
    (tmp_path / "annotations/trimaps/._beagle_2.png").write_bytes(b"resource fork")
    text(
        tmp_path / "annotations/trainval.txt",
        ["#Image CLASS-ID", "Abyssinian_1 1 1 1", "beagle_2 5 2 1"],
    )
    text(tmp_path / "annotations/test.txt", ["pug_30 1 1 1", "Sphynx_4 2 1 1"])
    dataset = load_dataset(
        make_config(name="pet", root=str(tmp_path), num_classes=num_classes, labeled="trainval",
                    unlabeled="", val="test"), 0
    )  # fmt: skip
    assert dataset.labeled.ids == ("Abyssinian_1", "beagle_2")
    assert dataset.class_names == pet.CLASSES[:num_classes]
    stored = classes(1, [1, 2, 3])
    expected = np.select([stored == 1, stored == 2], [1, 0], 255 if num_classes == 2 else 2)
    np.testing.assert_array_equal(dataset.labeled[1]["mask"], expected)
