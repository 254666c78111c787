"""Exports as annotation libraries write them, in forms that their manuals do not tell."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.files.mask_values import Said, describe_masks
from ipixmatch_jax.data.importers import read_folder
from ipixmatch_jax.errors import DataError
from tests.references.exports import CAT, DOG, SIZE, corners, mask, photo, text, truth

COLORS = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)


def images(number=3):
    return [
        {"id": i, "file_name": f"p{i}.png", "height": SIZE[0], "width": SIZE[1]}
        for i in range(number)
    ]


def polygons(cat=1, dog=2, only=range(3)):
    flat = [[float(v) for point in corners(box) for v in point] for box in (CAT, DOG)]
    return [
        {"id": 2 * i + j, "image_id": i, "category_id": (cat, dog)[j], "segmentation": [flat[j]]}
        for i in only
        for j in (0, 1)
    ]


def categories(**ids):
    return [{"id": number, "name": name} for name, number in ids.items()]


def read(root):
    """Class names and {stem: class ids} of the annotated images."""
    _, _, found = read_folder(root, {})
    assert not found.problems
    return found.classes.names, {
        item.id: item.mask.draw() for item in found.items if item.mask is not None
    }


def test_coco_files_that_number_their_categories_differently(tmp_path):
    for i in range(4):
        photo(tmp_path / f"p{i}.png", i)
    for name, numbers, own in (
        ("anna", {"cat": 1, "dog": 2}, (0, 1)),
        ("bert", {"dog": 1, "cat": 2}, (2, 3)),
    ):
        content = {
            "images": [images(4)[i] for i in own],
            "annotations": polygons(numbers["cat"], numbers["dog"], own),
            "categories": categories(**numbers),
        }
        text(tmp_path / f"{name}.json", content)
    names, masks = read(tmp_path)
    assert names == ("background", "cat", "dog")
    for ids in masks.values():
        np.testing.assert_array_equal(ids, truth())
    assert len(masks) == 4


def test_coco_files_of_other_numbers_and_spellings_are_refused(tmp_path):
    for i in range(2):
        photo(tmp_path / f"p{i}.png", i)
    for i, numbers in enumerate(({"cat": 1, "dog": 2}, {"Dog": 1, "cat": 2})):
        content = {
            "images": [images(2)[i]],
            "annotations": polygons(only=[i]),
            "categories": categories(**numbers),
        }
        text(tmp_path / f"{i}.json", content)
    with pytest.raises(DataError, match="differ in case or spaces alone"):
        read_folder(tmp_path, {})


def test_coco_files_of_the_same_images_without_regions_are_left_out(tmp_path):
    for i in range(3):
        photo(tmp_path / f"images/p{i}.png", i)
    kinds = categories(cat=1, dog=2)
    plain = {"images": images(), "annotations": [], "categories": kinds}
    text(tmp_path / "annotations/image_info_train.json", plain)
    labels = [{"id": i, "image_id": i, "category_id": 1} for i in range(3)]
    text(tmp_path / "annotations/labels_train.json", plain | {"annotations": labels})
    text(tmp_path / "annotations/instances_train.json", plain | {"annotations": polygons()})
    _, masks = read(tmp_path)
    assert len(masks) == 3
    np.testing.assert_array_equal(masks["p0"], truth())


def test_label_studio_knows_no_size_of_images_without_annotations(tmp_path):
    for i in range(3):
        photo(tmp_path / f"images/p{i}.png", i)
    listed = images()
    listed[1] |= {"height": None, "width": None}
    content = {"images": listed, "annotations": polygons(only=(0, 2))}
    text(tmp_path / "result.json", content | {"categories": categories(cat=1, dog=2)})
    _, masks = read(tmp_path)
    assert sorted(masks) == ["p0", "p2"]


def test_labelme_xml_of_mask_files_alone(tmp_path):
    for i in range(3):
        photo(tmp_path / f"Images/train/p{i}.png", i)
        objects = ""
        for number, name in enumerate(("cat", "dog"), start=1):
            opaque = np.zeros((*SIZE, 4), np.uint8)
            opaque[truth() == number] = (255, 0, 0, 153)
            mask(tmp_path / f"Masks/train/p{i}_mask_{number}.png", opaque)
            file = f"<segm><mask>p{i}_mask_{number}.png</mask></segm>"
            objects += f"<object><name>{name}</name><deleted>0</deleted>{file}</object>"
        head = f"<filename>p{i}.png</filename><folder>train</folder>"
        size = f"<imagesize><nrows>{SIZE[0]}</nrows><ncols>{SIZE[1]}</ncols></imagesize>"
        body = f"<annotation>{head}{size}{objects}</annotation>"
        text(tmp_path / f"Annotations/train/p{i}.xml", body)
    names, masks = read(tmp_path)
    assert names == ("background", "cat", "dog")
    np.testing.assert_array_equal(masks["p0"], truth())


def voc_xml(name, *objects):
    head = f"<annotation><folder>VOC</folder><filename>{name}</filename>"
    size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>3</depth></size>"
    return f"{head}{size}{''.join(objects)}</annotation>"


def voc_object(name, box, polygon=True):
    left, top, right, bottom = box
    # Pascal VOC counts pixels from 1 on.
    sides = zip(("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right, bottom), strict=True)
    bounds = "".join(f"<{key}>{value}</{key}>" for key, value in sides)
    points = "".join(
        f"<x{n}>{x + 1}</x{n}><y{n}>{y + 1}</y{n}>"
        for n, (x, y) in enumerate(corners((left, top, right - 1, bottom - 1)), start=1)
    )
    drawn = f"<polygon>{points}</polygon>" * polygon
    return f"<object><name>{name}</name><bndbox>{bounds}</bndbox>{drawn}</object>"


def test_pascal_voc_xml_with_polygons(tmp_path):
    for i in range(3):
        photo(tmp_path / f"train/p{i}.png", i)
    both = voc_object("cat", CAT), voc_object("dog", DOG)
    text(tmp_path / "train/p0.xml", voc_xml("p0.png", *both))
    text(tmp_path / "train/p1.xml", voc_xml("p1.png", both[0], voc_object("dog", DOG, False)))
    text(tmp_path / "train/p2.xml", voc_xml("p2.png"))
    importer, _, found = read_folder(tmp_path, {})
    names, masks = read(tmp_path)
    assert importer.name == "voc-xml" and names == ("background", "cat", "dog")
    np.testing.assert_array_equal(masks["p0"], truth())
    np.testing.assert_array_equal(masks["p1"], np.where(truth() == 2, 255, truth()))
    assert "p2" not in masks
    assert any("a box but no polygon" in warning for warning in found.warnings)


def test_cityscapes_layout_with_classes_of_dataset_meta(tmp_path):
    # Datumaro numbers from 1 on if no label is black; 7 would be the road of Cityscapes.
    labels = ["cat", "dog", *"abcde"]
    colors = [[10 * n, 0, 9] for n in range(1, 8)]
    meta = {"labels": labels, "label_map": dict(enumerate(labels)), "segmentation_colors": colors}
    text(tmp_path / "dataset_meta.json", meta)
    for i in range(3):
        photo(tmp_path / f"leftImg8bit/train/p{i}_leftImg8bit.png", i)
        mask(tmp_path / f"gtFine/train/p{i}_gtFine_labelIds.png", truth())
    _, _, found = read_folder(tmp_path, {})
    assert found.classes.names == ("background", *labels)
    with Image.open(found.items[0].mask) as stored:
        np.testing.assert_array_equal(np.asarray(stored), truth())


def test_cityscapes_layout_whose_label_colors_leave_out_the_background(tmp_path):
    text(tmp_path / "label_colors.txt", "128 0 0 cat\n0 128 0 dog\n128 128 0 never\n")
    for i in range(3):
        photo(tmp_path / f"leftImg8bit/train/p{i}_leftImg8bit.png", i)
        mask(tmp_path / f"gtFine/train/p{i}_gtFine_labelIds.png", truth())
    _, _, found = read_folder(tmp_path, {})
    assert found.classes.names == ("background", "cat", "dog", "never")


@pytest.mark.parametrize("colored", [True, False])
def test_camvid_layout_whose_label_colors_leave_out_the_background(tmp_path, colored):
    text(tmp_path / "label_colors.txt", "128 0 0 cat\n0 128 0 dog\n")
    for i in range(3):
        photo(tmp_path / f"train/p{i}.png", i)
        mask(tmp_path / f"trainannot/p{i}.png", COLORS[truth()] if colored else truth())
    found = describe_folder(str(tmp_path))
    assert found["class_names"] == ("background", "cat", "dog")
    assert found["palette"] == tuple(map(tuple, COLORS.tolist()))


def test_ids_that_may_begin_with_the_background_or_with_the_first_class_are_refused(tmp_path):
    mask(tmp_path / "0.png", truth())
    said = Said(names=("cat", "dog", "cow"), palette=((9, 0, 0), (0, 9, 0), (0, 0, 9)))
    doubtful = Said(names=said.names, palette=said.palette, unlisted=True)
    with pytest.raises(DataError, match="0 may be the background or 'cat'"):
        describe_masks([str(tmp_path / "0.png")], doubtful)
    described = describe_masks([str(tmp_path / "0.png")], said)
    assert described["class_names"] == said.names


def voc_folder(root, lines, ids):
    text(root / "labelmap.txt", lines)
    for i in range(3):
        photo(root / f"JPEGImages/p{i}.png", i)
        mask(root / f"SegmentationClass/p{i}.png", ids)


def test_labelmap_without_colors_means_those_of_pascal_voc(tmp_path):
    voc_folder(tmp_path, "background:::\ncat:::\ndog:::\n", COLORS[truth()])
    found = describe_folder(str(tmp_path))
    assert found["palette"] == tuple(map(tuple, COLORS.tolist())) and found["masks"] == "colors"
    text(tmp_path / "labelmap.txt", "background:::\ncat:128,0,0::\n")
    with pytest.raises(DataError, match="some labels have a color, others have none"):
        describe_folder(str(tmp_path))


def test_voc_masks_of_ids_next_to_a_labelmap_of_colors(tmp_path):
    lines = "background:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"
    voc_folder(tmp_path, lines, truth())
    found = describe_folder(str(tmp_path))
    assert found["masks"] == "ids" and found["class_names"] == ("background", "cat", "dog")
