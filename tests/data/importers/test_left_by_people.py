"""Layouts of published data sets and of people's disks: read right, or refused by name."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import load_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.importers import contents, read_folder
from ipixmatch_jax.data.importers.pairing import pair
from ipixmatch_jax.errors import DataError
from tests.references import exports

COLORS = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 200]], np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("IPIXMATCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def fill(root, images, masks, names="abcde", ids=None, seed=0):
    for number, name in enumerate(names):
        exports.photo(root / images.format(name), seed + number)
        exports.mask(root / masks.format(name), exports.truth() if ids is None else ids)


def loaded(root, make_config):
    found = describe_folder(str(root))
    return load_dataset(make_config(**{"labeled": "", "unlabeled": "", "val": "", **found}), 0)


def sizes(dataset):
    """Images of labeled, val, test and unlabeled; every mask is the truth."""
    parts = [dataset.labeled, dataset.val, dataset.test]
    for part in parts:
        for index in range(len(part)):
            np.testing.assert_array_equal(part[index]["mask"], exports.truth())
    return [*map(len, parts), len(dataset.unlabeled)]


@pytest.mark.parametrize("images, masks", [
    ("train_img/{}.jpg", "train_lab/{}.png"),
    ("701_StillsRaw_full/{}.png", "LabeledApproved_full/{}_L.png"),
    ("top/area{}1.tif", "of_participants/area{}1.tif"),
    ("set/photos of the road/{}.jpg", "set/by hand/{}.png"),
])  # fmt: skip
def test_masks_are_told_by_their_content(images, masks, tmp_path, make_config):
    fill(tmp_path, images, masks)
    assert sum(sizes(loaded(tmp_path, make_config))) == 5
    assert "few colors, and names that pair with images" in read_folder(tmp_path, {})[1]


def test_masks_told_by_their_content_keep_splits(tmp_path, make_config):
    for split, seed in (("train2017", 0), ("val2017", 50)):
        images, masks = f"images/{split}/{{}}.jpg", f"stuffthingmaps/{split}/{{}}.png"
        fill(tmp_path, images, masks, seed=seed)
    assert sizes(loaded(tmp_path, make_config)) == [5, 5, 0, 0]


def test_plain_photos_are_no_masks(tmp_path):
    for number in range(10):
        exports.photo(tmp_path / f"{'ab'[number % 2]}/{number // 2}.png", number)
    with pytest.raises(DataError, match="no images with masks recognized"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("images, masks", [
    ("Kvasir-SEG/images/{}.jpg", "Kvasir-SEG/masks/{}.png"),
    ("seg/images/{}.jpg", "seg/labels/{}_train_id.png"),
    ("Lung Segmentation/CXR_png/{}_0.png", "Lung Segmentation/masks/{}_0_mask.png"),
    ("Dataset_BUSI_with_GT/benign/benign ({}).png", "Dataset_BUSI_with_GT/benign/"
     "benign ({})_mask.png"),
    ("frames-with-annotations/creek/{}.jpg", "annotations/creek/{}.png"),
    ("gt/images/{}.jpg", "gt/labels/{}.png"),
])  # fmt: skip
def test_the_name_of_a_data_set_tells_no_role(images, masks, tmp_path, make_config):
    fill(tmp_path, images, masks)
    assert sum(sizes(loaded(tmp_path, make_config))) == 5


def test_scenes_whose_images_have_no_word_for_images(tmp_path, make_config):
    for scene, seed in (("00000", 0), ("00001", 50)):
        fill(tmp_path, f"{scene}/camera_node/{{}}.jpg", f"{scene}/camera_node_label_id/{{}}.png",
             seed=seed)  # fmt: skip
        for name in "abcde":
            colors = COLORS[exports.truth()]
            exports.mask(tmp_path / f"{scene}/camera_node_label_color/{name}.png", colors)
    dataset = loaded(tmp_path, make_config)
    assert sum(sizes(dataset)) == 10 and "00001/a" in {*dataset.labeled.ids, *dataset.val.ids}


@pytest.mark.parametrize("folder", ["labels/colormaps", "color_labels", "labels_coloured"])
def test_colored_copies_of_masks_are_not_used(folder, tmp_path, make_config):
    fill(tmp_path, "images/{}.jpg", "labels/masks/{}.png")
    for name in "abcde":
        exports.mask(tmp_path / folder / f"{name}.png", COLORS[exports.truth()])
    notes = read_folder(tmp_path, {})[2].notes
    assert any(f"masks in color, next to others for the same images, are not used: {folder}" in note
               for note in notes)  # fmt: skip
    assert sum(sizes(loaded(tmp_path, make_config))) == 5


def test_further_files_of_an_image_are_no_unlabeled_images(tmp_path, make_config):
    fill(tmp_path, "Data/{}.jpg", "Data_GroundTruth/{}_segmentation.png")
    for number, name in enumerate("abcde"):
        exports.photo(tmp_path / f"Data/{name}_superpixels.png", 40 + number)
    dataset = loaded(tmp_path, make_config)
    assert sum(sizes(dataset)) == 5
    assert any("5 files are left out: they have the name of an image with a mask and the tail "
               "_superpixels: a_superpixels" in text for text in dataset.warnings)  # fmt: skip


def test_masks_of_several_people_are_not_two_classes(tmp_path, make_config):
    whole = (exports.truth() > 0).astype(np.uint8) * 255
    for person in ("ah", "vk"):
        fill(tmp_path, "stare-images/im{}.png", f"labels-{person}/im{{}}.{person}.png", ids=whole)
    with pytest.raises(DataError, match="masks of several people: set data.folder.format=folders"):
        describe_folder(str(tmp_path))
    chosen = {"folder.format": "folders", "folder.train_masks": "labels-ah"}
    assert describe_folder(str(tmp_path), chosen)["num_classes"] == 2


def test_classes_json_of_supervisely(tmp_path, make_config):
    fill(tmp_path, "Tile 1/images/{}.jpg", "Tile 1/masks/{}.png", ids=COLORS[exports.truth()])
    titles = ["Unlabeled", "Road", "Water"]
    classes = [{"title": title, "shape": "bitmap", "color": f"#{bytes(color).hex()}"}
               for title, color in zip(titles, COLORS.tolist(), strict=True)]  # fmt: skip
    exports.text(tmp_path / "classes.json", {"classes": classes, "tags": []})
    dataset = loaded(tmp_path, make_config)
    assert dataset.class_names == tuple(titles) and sum(sizes(dataset)) == 5


def test_supervisely_annotations_without_the_ending_of_the_image(tmp_path, make_config):
    exports.supervisely(tmp_path)
    before = sizes(loaded(tmp_path, make_config))
    for path in list(tmp_path.rglob("ann/*.json")):
        stem = path.name.removesuffix(".json").rpartition(".")[0]
        path.rename(path.with_name(f"{stem}.json"))
    assert sizes(loaded(tmp_path, make_config)) == before


PLAIN, UPLOADED = "photo{}", "{}abcdef0-photo{}"


@pytest.mark.parametrize("images, masks", [(PLAIN, UPLOADED), (UPLOADED, PLAIN)])
def test_an_upload_prefix_on_one_side(images, masks, tmp_path, make_config):
    for number in range(4):
        exports.photo(tmp_path / f"images/{images.format(*[number] * 2)}.jpg", number)
        exports.mask(tmp_path / f"masks/{masks.format(*[number] * 2)}.png", exports.truth())
    dataset = loaded(tmp_path, make_config)
    assert sum(sizes(dataset)) == 4
    assert any("4 masks paired by names without Label Studio's" in note for note in dataset.notes)


@pytest.mark.parametrize("images, labels", [(PLAIN, UPLOADED), (UPLOADED, PLAIN)])
def test_an_upload_prefix_of_yolo_labels(images, labels, tmp_path, make_config):
    exports.yolo(tmp_path / "yolo")
    photos = sorted((tmp_path / "yolo").rglob("*.jpg"))
    for number, path in enumerate(photos):
        label = next((tmp_path / "yolo").rglob(f"{path.stem}.txt"))
        label.rename(label.with_name(f"{labels.format(*[number] * 2)}.txt"))
        path.rename(path.with_name(f"{images.format(*[number] * 2)}.jpg"))
    dataset = loaded(tmp_path / "yolo", make_config)
    assert len(dataset.labeled) + len(dataset.val) == len(photos)
    assert any(f"{len(photos)} images found by names without Label" in n for n in dataset.notes)


def test_numbers_in_front_of_both_names_are_no_upload_prefix():
    found = pair([("", "20240101-road")], [("", "20240102-road")])
    assert not found.pairs


def test_masks_of_photos_that_roboflow_renamed(tmp_path):
    for number in range(3):
        exports.photo(tmp_path / f"images/p{number}_jpg.rf.{number:032x}.jpg", number)
        exports.mask(tmp_path / f"masks/p{number}.png", exports.truth())
    with pytest.raises(DataError, match="3 masks have the names of photos before Roboflow renamed"):
        describe_folder(str(tmp_path))


def test_splits_by_the_names_of_the_images(tmp_path, make_config):
    for split, seed in (("train", 0), ("testA", 50)):
        fill(tmp_path, f"{split}_{{}}.bmp", f"{split}_{{}}_anno.bmp", seed=seed)
    dataset = loaded(tmp_path, make_config)
    assert len(dataset.labeled) + len(dataset.val) == 5 and len(dataset.test) == 5
    assert any("splits by the names of the images: test (5 images)" in n for n in dataset.notes)
    fill(tmp_path, "other_{}.bmp", "other_{}_anno.bmp", names="x", seed=90)
    assert not len(loaded(tmp_path, make_config).test)


def test_lists_in_folders_further_down(tmp_path, make_config):
    place = "VOCdevkit/VOC2010"
    fill(tmp_path, f"{place}/JPEGImages/{{}}.jpg", f"{place}/SegmentationClassContext/{{}}.png")
    lists = tmp_path / place / "ImageSets/SegmentationContext"
    exports.text(lists / "train.txt", "a\nb\nc\n")
    exports.text(lists / "val.txt", "d\ne\n")
    assert sizes(loaded(tmp_path, make_config)) == [3, 2, 0, 0]


@pytest.mark.parametrize("name, text, reason", [
    ("train.csv", "ImageId,ClassId,EncodedPixels\n0.jpg,1,1 2\n", "a CSV of run lengths"),
    ("seg.nii.gz", "x", "volumes are not read.*save each slice"),
    ("masks.zip", "x", "an archive is not read.*unpack it"),
    ("masks.npz", "x", "archives of NumPy arrays are not read.*save each array as NPY"),
])  # fmt: skip
def test_what_is_not_read_is_named(name, text, reason, tmp_path):
    exports.photo(tmp_path / "train/0.jpg")
    exports.text(tmp_path / name, text)
    with pytest.raises(DataError, match=f"{name}: {reason}"):
        describe_folder(str(tmp_path))


def test_masks_without_any_image(tmp_path):
    exports.mask(tmp_path / "SegmentationClass/a.png", exports.truth())
    with pytest.raises(DataError, match="masks and no image; .* export with 'Save images'"):
        describe_folder(str(tmp_path))


def test_objects_cut_out_of_the_photo(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    alpha = np.zeros((120, 160), np.uint8)
    alpha[20:80, 30:90] = 255
    for name in "ab":
        for folder, picture in (("images", noise), ("masks", np.dstack([noise, alpha]))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / f"{name}.png")
    with pytest.raises(DataError, match="set data.masks=alpha if the opaque pixels"):
        describe_folder(str(tmp_path))
    assert describe_folder(str(tmp_path), {"masks": "alpha"})["num_classes"] == 2


def test_every_json_is_read_once_to_recognize_it(tmp_path, monkeypatch):
    exports.coco(tmp_path)
    exports.text(tmp_path / "notes/other.json", {"info": 1})
    read = []
    head = contents.head

    def counted(path, limit=100_000):
        read.append(path)
        return head(path, limit)

    monkeypatch.setattr(contents, "head", counted)
    importer, _, found = read_folder(tmp_path, {})
    assert importer.name == "coco" and len(found.items) == 4
    assert sorted(path.rpartition("/")[2] for path in read if path.endswith(".json")) == [
        "instances_default.json", "other.json"]  # fmt: skip


def test_smoothed_masks_next_to_photos_of_the_same_name(tmp_path, make_config):
    whole = Image.fromarray((exports.truth() > 0).astype(np.uint8) * 255).resize((320, 240))
    for number in range(4):
        exports.photo(tmp_path / f"Imgs/e{number}.jpg", number)
        photo = Image.open(tmp_path / f"Imgs/e{number}.jpg").resize((320, 240))
        photo.save(tmp_path / f"Imgs/e{number}.jpg")
        exports.mask(tmp_path / f"Imgs/e{number}.png", whole)
    assert len(np.unique(np.asarray(whole))) > 32
    with pytest.raises(DataError, match="smoothed edges.*set data.masks=binary"):
        describe_folder(str(tmp_path))
    assert describe_folder(str(tmp_path), {"masks": "binary"})["num_classes"] == 2
    for number in range(4):
        Image.open(tmp_path / f"Imgs/e{number}.jpg").save(tmp_path / f"Imgs/e{number}.png")
    with pytest.raises(DataError, match="no images with masks recognized"):
        describe_folder(str(tmp_path))


def test_the_split_of_annotations_tells_images_of_equal_names(tmp_path, make_config):
    for split, seed in (("train", 0), ("val", 50)):
        exports.coco(tmp_path / split)
        (tmp_path / f"{split}/annotations/instances_default.json").rename(
            tmp_path / f"{split}.json"
        )
        for number in range(4):
            exports.photo(tmp_path / f"{split}/images/p{number}.jpg", seed + number)
    assert sizes(loaded(tmp_path, make_config)) == [4, 4, 0, 0]


def test_the_first_of_two_people_counts(tmp_path, make_config):
    """CHASE_DB1: Image_01L.jpg, Image_01L_1stHO.png and Image_01L_2ndHO.png."""
    for number in range(4):
        exports.photo(tmp_path / f"Image_{number}L.jpg", number)
        exports.mask(tmp_path / f"Image_{number}L_1stHO.png", exports.truth())
        exports.mask(tmp_path / f"Image_{number}L_2ndHO.png", np.roll(exports.truth(), 1, 1))
    dataset = loaded(tmp_path, make_config)
    assert sum(sizes(dataset)) == 4
    assert any("4 files with the tail _2ndHO are not used" in note for note in dataset.notes)


@pytest.mark.parametrize("name, content, reason", [
    ("a.json", '{"version": "2.0", "item": {"slots": []}, "annotations": []}', "Darwin JSON"),
    ("a.json", '[{"ID": "x", "Labeled Data": "y"}]', "Labelbox"),
    ("a.geojson", '{"type": "FeatureCollection"}', "GeoJSON"),
    ("a.xml", "<Annotations><Region><Vertex/></Region></Annotations>", "ImageScope"),
])  # fmt: skip
def test_exports_of_other_tools_are_named(name, content, reason, tmp_path):
    exports.photo(tmp_path / "images/a.jpg")
    exports.text(tmp_path / f"annotations/{name}", content)
    with pytest.raises(DataError, match=f"{reason}.* is not read; expected images and masks"):
        describe_folder(str(tmp_path))


def test_matlab_files_with_images_inside(tmp_path):
    scipy = pytest.importorskip("scipy.io")
    scipy.savemat(tmp_path / "1.mat", {"image": np.zeros((4, 4)), "mask": np.zeros((4, 4))})
    with pytest.raises(DataError, match="1.mat: MATLAB files without image files .*save each"):
        describe_folder(str(tmp_path))


@pytest.mark.parametrize("train, test, images, masks", [
    ("Tr", "Ts", "images{0}/{1}_0000.png", "labels{0}/{1}.png"),
    ("TR", "TE", "D-{0}/D-{0}-Image/{1}.png", "D-{0}/D-{0}-Mask/{1}.png"),
    ("trn", "tst", "{0}/images/{1}.png", "{0}/masks/{1}.png"),
])  # fmt: skip
def test_short_names_of_splits(train, test, images, masks, tmp_path, make_config):
    for split, names in ((train, "abcdef"), (test, "gh")):
        where = [path.format(split, "{}") for path in (images, masks)]
        fill(tmp_path, *where, names=names, seed=ord(names[0]))
    assert sizes(loaded(tmp_path, make_config))[2:] == [2, 0]


@pytest.mark.parametrize("train, val", [
    ("train", "eval"), ("Train", "Validate"), ("trainset", "valset"), ("train_data", "evaluation"),
])  # fmt: skip
def test_other_names_of_folders_for_validation(train, val, tmp_path, make_config):
    fill(tmp_path, f"{train}/images/{{}}.png", f"{train}/masks/{{}}.png")
    fill(tmp_path, f"{val}/images/{{}}.png", f"{val}/masks/{{}}.png", names="xyz", seed=9)
    assert sizes(loaded(tmp_path, make_config)) == [5, 3, 0, 0]


@pytest.mark.parametrize("first", [1, -1])
def test_numbers_of_masks_that_are_shifted(first, tmp_path):
    for number in range(1, 9):
        exports.photo(tmp_path / f"images/{number}.png", number)
        exports.mask(tmp_path / f"masks/{number + first}.png", exports.truth())
    _, _, found = read_folder(tmp_path, {})
    (problem,) = found.problems
    assert f"the masks have the numbers {1 + first} to {8 + first}" in problem
    assert f"rename the masks by {-first:+d}" in problem
    # An image without a mask, and a mask without an image, are nothing of that kind.
    (tmp_path / f"masks/{8 + first}.png").rename(tmp_path / "masks/20.png")
    assert not read_folder(tmp_path, {})[2].problems


def test_two_folders_of_images_of_the_same_names_are_shown(tmp_path):
    fill(tmp_path, "images/{}.jpg", "masks/{}.png")
    fill(tmp_path, "images_small/{}.jpg", "masks/{}.png")
    _, _, found = read_folder(tmp_path, {})
    assert "(images/a.jpg, images_small/a.jpg); expected one" in found.problems[0]
    assert "set data.folder.train_images to one folder" in found.problems[0]


def test_semantic_masks_next_to_those_of_instances(tmp_path, make_config):
    """Segments.ai: X_label_semantic belongs to X, although X_label exists as well."""
    fill(tmp_path, "{}.jpg", "{}_label_ground-truth_semantic.png")
    for name in "abcde":
        exports.mask(tmp_path / f"{name}_label_ground-truth.png", exports.truth() * 3)
    assert sum(sizes(loaded(tmp_path, make_config))) == 5


def test_masks_next_to_yolo_labels_are_no_photos(tmp_path):
    exports.yolo(tmp_path)
    for path in list((tmp_path / "labels").rglob("*.txt")):
        exports.mask(path.with_suffix(".png"), exports.truth())
    _, _, found = read_folder(tmp_path, {"format": "yolo"})
    labeled = [item for item in found.items if item.mask is not None]
    assert labeled and all("/images/" in item.image for item in labeled)


def test_channels_in_files_of_their_own_are_named(tmp_path):
    for number in range(4):
        for channel in range(2):
            exports.photo(tmp_path / f"imagesTr/case_{number}_{channel:04d}.png", number)
        exports.mask(tmp_path / f"labelsTr/case_{number}.png", exports.truth())
    with pytest.raises(DataError, match="_0000, _0001: every mask .*channels of one image"):
        describe_folder(str(tmp_path))
