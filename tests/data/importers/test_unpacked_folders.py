"""Archives that were unpacked into folders of their own, and exports of several people."""

import numpy as np
from PIL import Image

from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import read_folder
from tests.references.exports import CAT, DOG, SIZE, corners, mask, photo, text, truth

TWICE = "my export (1)/photos panoptic"


def test_the_class_file_of_data_two_folders_down(tmp_path):
    text(tmp_path / "README.md", "from the project")
    text(tmp_path / TWICE / "classes.txt", "background\ncat\ndog\n")
    for i in range(3):
        photo(tmp_path / TWICE / f"train/images/p{i}.png", i)
        mask(tmp_path / TWICE / f"train/masks/p{i}.png", truth())
        photo(tmp_path / TWICE / f"val/images/v{i}.png", 9 + i)
        mask(tmp_path / TWICE / f"val/masks/v{i}.png", truth())
    assert describe_folder(str(tmp_path))["class_names"] == ("background", "cat", "dog")


def test_the_class_file_of_a_part_of_the_data_is_not_that_of_all(tmp_path):
    text(tmp_path / "siteA/old/classes.txt", "background\nx\ny\n")
    for site in ("siteA", "siteB"):
        for i in range(3):
            photo(tmp_path / f"images/{site}/p{i}.png", i)
            mask(tmp_path / f"masks/{site}/p{i}.png", truth())
    assert describe_folder(str(tmp_path))["class_names"] == ()


def test_classes_of_the_cityscapes_layout_two_folders_down(tmp_path):
    base = tmp_path / TWICE
    text(base / "label_colors.txt", "128 0 0 cat\n0 128 0 dog\n")
    for i in range(3):
        photo(base / f"leftImg8bit/train/p{i}_leftImg8bit.png", i)
        mask(base / f"gtFine/train/p{i}_gtFine_labelIds.png", truth())
    _, _, found = read_folder(tmp_path, {})
    assert found.classes.names == ("background", "cat", "dog")


def test_a_folder_above_all_images_may_have_any_name(tmp_path):
    base = tmp_path / TWICE
    pairs = []
    for i in range(3):
        photo(base / f"images/p{i}.png", i)
        flat = [[float(v) for point in corners(box) for v in point] for box in (CAT, DOG)]
        pairs += [{"id": 2 * i + j, "image_id": i, "category_id": j + 1, "segmentation": [flat[j]]}
                  for j in (0, 1)]  # fmt: skip
    listed = [{"id": i, "file_name": f"p{i}.png", "height": SIZE[0], "width": SIZE[1]}
              for i in range(3)]  # fmt: skip
    kinds = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": listed, "annotations": pairs, "categories": kinds}
    text(base / "annotations/coco.json", content)
    _, _, found = read_folder(tmp_path, {})
    assert len(found.items) == 3 and all(item.mask is not None for item in found.items)


def labelme_xml(root, name):
    opaque = np.zeros((*SIZE, 4), np.uint8)
    opaque[truth() > 0] = (255, 0, 0, 153)
    photo(root / f"Images/{name}.png", len(str(root)))
    mask(root / f"Masks/{name}_mask_0.png", opaque)
    head = f"<filename>{name}.png</filename><folder></folder>"
    size = f"<imagesize><nrows>{SIZE[0]}</nrows><ncols>{SIZE[1]}</ncols></imagesize>"
    one = f"<object><name>cat</name><segm><mask>{name}_mask_0.png</mask></segm></object>"
    text(root / f"Annotations/{name}.xml", f"<annotation>{head}{size}{one}</annotation>")


def test_mask_files_of_labelme_xml_are_those_of_the_same_person(tmp_path):
    for person in ("anna", "bert"):
        for i in range(2):
            labelme_xml(tmp_path / person, f"p{i}")
    # Bert's mask is another one.
    with Image.open(tmp_path / "bert/Masks/p0_mask_0.png") as stored:
        flipped = np.asarray(stored)[::-1]
    mask(tmp_path / "bert/Masks/p0_mask_0.png", flipped)
    _, _, found = read_folder(tmp_path, {})
    drawn = {item.image.removeprefix(f"{tmp_path}/"): item.mask.draw() for item in found.items}
    np.testing.assert_array_equal(drawn["anna/Images/p0.png"], truth() > 0)
    np.testing.assert_array_equal(drawn["bert/Images/p0.png"], (truth() > 0)[::-1])


def test_empty_label_files_of_yolo_are_counted(tmp_path):
    for i in range(3):
        photo(tmp_path / f"images/p{i}.png", i)
        text(tmp_path / f"labels/p{i}.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n" if i else "")
    text(tmp_path / "data.yaml", "names: [cat]\n")
    _, _, found = read_folder(tmp_path, {})
    assert any("1 label files are empty, so their images are all background" in note
               for note in found.notes)  # fmt: skip
