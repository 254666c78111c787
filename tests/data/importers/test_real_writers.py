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


def open_images(root, missing=False):
    rows = ["MaskPath,ImageID,LabelName,BoxID"]
    for i in range(3):
        photo(root / f"images/train/p{i}.jpg", i)
        for number, label in enumerate(("m01cat", "m02dog"), start=1):
            file = f"p{i}_{label}_0a{number}.png"
            rows.append(f"{file},p{i},/{label[0]}/{label[1:]},0a{number}")
            if not missing or number == 1:
                mask(root / f"masks/train/{file}", 255 * (truth() == number))
    text(root / "annotations/train-annotations-object-segmentation.csv", "\n".join(rows))
    text(root / "annotations/class-descriptions.csv", "/m/01cat,Cat\n/m/02dog,Dog\n")


def test_open_images_names_the_class_of_each_mask_in_a_table(tmp_path):
    open_images(tmp_path)
    importer, _, found = read_folder(tmp_path, {})
    names, masks = read(tmp_path)
    assert importer.name == "open-images" and names == ("background", "Cat", "Dog")
    np.testing.assert_array_equal(masks["p0"], truth())
    assert len(found.items) == 3


def test_masks_that_open_images_lists_and_that_are_missing_are_a_problem(tmp_path):
    open_images(tmp_path, missing=True)
    _, _, found = read_folder(tmp_path, {})
    assert any("3 mask files that the tables list do not exist" in p for p in found.problems)


def stack(path):
    pages = [Image.fromarray(truth()) for _ in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def mots(path):
    Image.fromarray(1000 * truth().astype(np.uint16) + (truth() > 0)).save(path)


BARE_XML = "<annotation><filename>p0.png</filename></annotation>"
SEGMENT_ANYTHING = '{"annotations": [{"predicted_iou": 0.9, "stability_score": 0.9}]}'
SCALABEL = '[{"name": "p0.png", "labels": [{"category": "cat", "poly2d": []}]}]'
FIFTYONE = '{"classes": ["cat"], "labels": {"p0": [{"label": 0, "bounding_box": [0, 0, 1, 1]}]}}'
LABEL_STUDIO = "annotation_id,annotator,created_at,id,image,lead_time,tag\n1,1,x,1,p0.png,3,[]\n"
KITTI = "Car 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 69.44 -1.56\n"
BOXES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\np0,x,/m/0,1,0,1,0,1\n"


@pytest.mark.parametrize(
    "name, written, words",
    [
        ("data-00000-of-00001.arrow", "", "Arrow tables .* save each image and mask"),
        ("annotations/train.datum", "", "binary annotations .* coco_instances"),
        ("masks.hdf5", "", "HDF5"),
        ("masks/p0.exr", "", "OpenEXR .* PNG of class ids"),
        ("data.zarr/masks/zarr.json", "{}", "Zarr arrays .* one file per image"),
        ("masks.tif", stack, "a TIFF of 3 pages, a stack of images.* each page as one file"),
        ("train/instances/p0.png", mots, "KITTI MOTS.* number // 1000, the class"),
        ("pylabel.csv", "img_folder,img_filename\nx,y\n", "pylabel.csv, which begins with 'img_f"),
        ("p0.xml", BARE_XML, "without any object"),
        ("p0.json", SEGMENT_ANYTHING, "Segment Anything .* no classes.* give each mask a class"),
        ("labels.json", SCALABEL, "Scalabel"),
        ("labels.json", FIFTYONE, "FiftyOne's labels.json holds boxes.* COCODetectionDataset"),
        ("result.csv", LABEL_STUDIO, "Label Studio's CSV .* export JSON, the full form"),
        ("labels/p0.txt", KITTI, "KITTI's labels hold boxes"),
        ("boxes.csv", BOXES, "a CSV of boxes"),
    ],
)
def test_exports_that_are_not_read_are_named_with_what_to_do(tmp_path, name, written, words):
    for i in range(2):
        photo(tmp_path / f"images/p{i}.png", i)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    if callable(written):
        written(tmp_path / name)
    else:
        text(tmp_path / name, written)
    with pytest.raises(DataError, match=words):
        read_folder(tmp_path, {})


def test_empty_label_files_of_yolo_are_named(tmp_path):
    for i in range(3):
        photo(tmp_path / f"images/p{i}.png", i)
        text(tmp_path / f"labels/p{i}.txt", "")
    text(tmp_path / "classes.txt", "cat\ndog\n")
    with pytest.raises(DataError, match="label files are empty; .* leaves out brush strokes"):
        read_folder(tmp_path, {})


def test_cvat_xml_without_a_shape_is_named(tmp_path):
    photo(tmp_path / "images/p0.png")
    image = f'<image id="0" name="p0.png" width="{SIZE[1]}" height="{SIZE[0]}"/>'
    text(tmp_path / "a.xml", f"<annotations><version>1.1</version>{image}</annotations>")
    with pytest.raises(DataError, match="1 images in CVAT's XML, and no shape with an area"):
        read_folder(tmp_path, {})


def test_names_by_id_of_lightly_with_a_background_of_255(tmp_path):
    text(tmp_path / "class_id_to_name.json", {"0": "cat", "1": "dog", "255": "background"})
    for i in range(3):
        photo(tmp_path / f"images/p{i}.png", i)
        mask(tmp_path / f"SegmentationClass/p{i}.png", np.array([255, 0, 1])[truth()])
    found = describe_folder(str(tmp_path))
    assert found["class_names"] == ("cat", "dog", "background")
    assert found["mask_values"] == (0, 1, 255)
