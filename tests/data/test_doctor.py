"""The data doctor: damage of many kinds planted in a clean data set, each named with its file."""

import json
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data import examine, load_dataset
from ipixmatch_jax.data.doctor_page import page
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.inspect_data import inspect_data

CLASSES = 5
PALETTE = ((0, 0, 0), (220, 60, 30), (20, 180, 60), (40, 90, 240), (250, 250, 90))


def scene(seed):
    """Patches of every class, some ignored, and a picture that shows them."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((24, 32), np.uint8)
    for class_id in range(1, CLASSES):
        top, left = rng.integers(0, 16), rng.integers(0, 22)
        mask[top : top + 7, left : left + 9] = class_id
    mask[:2, :4] = np.arange(4) + 1
    mask[-1, -3:] = 255
    shade = np.array(PALETTE, int)[np.where(mask == 255, 0, mask)]
    return (shade // 2 + rng.integers(0, 120, shade.shape)).astype(np.uint8), mask


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("clean")
    names = {"labeled": [f"l{i}" for i in range(6)], "unlabeled": [f"u{i}" for i in range(6)],
             "val": [f"v{i}" for i in range(5)]}  # fmt: skip
    seed = 0
    for split, ids in names.items():
        part = root / ("val" if split == "val" else "train")
        (root / f"{split}.txt").write_text("\n".join(ids) + "\n")
        for kind in ("images", "masks"):
            (part / kind).mkdir(parents=True, exist_ok=True)
        for name in ids:
            image, mask = scene(seed)
            seed += 1
            Image.fromarray(image).save(part / f"images/{name}.png")
            if split != "unlabeled":
                Image.fromarray(mask).save(part / f"masks/{name}.png")
    return root


@pytest.fixture
def root(clean, tmp_path):
    shutil.copytree(clean, tmp_path / "data")
    return tmp_path / "data"


def config_of(root, make_config, **changes):
    return make_config(root=str(root), num_classes=CLASSES, palette=PALETTE, **changes)


def test_no_false_alarm(clean, make_config):
    report = examine(config_of(clean, make_config), 0)
    assert report.findings == [] and "nothing wrong was found" in report.text()
    labeled = report.splits["labeled"]
    masks = np.stack([scene(seed)[1] for seed in range(6)])
    np.testing.assert_array_equal(labeled.pixels, np.bincount(masks.ravel(), minlength=256))
    assert labeled.images_with[3] == 6 and labeled.sizes == {(24, 32): 6}


def change(path, function):
    """Rewrites a mask or image through a function of its array."""

    def damage(root):
        array = np.asarray(Image.open(root / path)).copy()
        Image.fromarray(np.asarray(function(array), np.uint8)).save(root / path)

    return damage


def change_all_labeled(function):
    def damage(root):
        for number in range(6):
            change(f"train/masks/l{number}.png", function)(root)

    return damage


def write(path, content):
    return lambda root: (root / path).write_bytes(content)


def cut(path):
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:90])


def remove(path):
    return lambda root: (root / path).unlink()


def add_line(split, line):
    def damage(root):
        with open(root / f"{split}.txt", "a") as file:
            file.write(f"{line}\n")

    return damage


def copy(source, target):
    return lambda root: shutil.copy(root / source, root / target)


def both(*damages):
    def damage(root):
        for one in damages:
            one(root)

    return damage


def as_jpeg(path):
    def damage(root):
        array = np.asarray(Image.open(root / path))
        Image.fromarray(array).save(root / path, "JPEG")

    return damage


def colored(mask):
    return np.array(PALETTE, np.uint8)[np.where(mask == 255, 0, mask)]


def grey_of_colors(mask):
    return np.asarray(Image.fromarray(colored(mask)).convert("L"))


def city_label_ids(mask):
    return np.where(mask == 255, 255, np.array([7, 8, 11, 24, 33])[np.minimum(mask, 4)])


MASK, IMAGE = "train/masks/l1.png", "train/images/l1.png"
# Name: (damage, severity, kind, file that is named, what the message says).
DAMAGES = {
    "value too large": (change(MASK, lambda m: np.where(m == 4, 9, m)), "error", "mask-values",
                        MASK, "mask value 9 in"),
    "binary in one mask": (change(MASK, lambda m: np.where(m > 0, 255, 0)), "warning",
                           "binary-mask", MASK, "likely foreground written as 255"),
    "binary in all masks": (change_all_labeled(lambda m: np.where(m > 0, 255, 0)), "error",
                            "binary-mask", "train/masks/l0.png", "write foreground as 1"),
    "brightness": (change(MASK, lambda m: np.where(m > 0, 128, 0)), "error", "mask-values", MASK,
                   "a binary mask with foreground written as a brightness"),
    "off by one": (change_all_labeled(lambda m: np.where(m == 255, m, m + 1)), "error",
                   "mask-values", "train/masks/l0.png", "off by one"),
    "colours": (change(MASK, colored), "error", "mask-format", MASK, "pixel format 'RGB'"),
    "grey of colours": (change(MASK, grey_of_colors), "error", "mask-values", MASK,
                        "grey values of the palette"),
    "jpeg mask": (as_jpeg(MASK), "error", "mask-format", MASK, "a JPEG"),
    "other size": (change(MASK, lambda m: m[:-1]), "error", "size-mismatch", MASK,
                   "mask is 32x23"),
    "turned": (change(MASK, lambda m: m.T), "error", "size-mismatch", MASK, "turned by 90"),
    "cut image": (cut(IMAGE), "error", "unreadable", IMAGE, "cannot be read"),
    "cut mask": (cut(MASK), "error", "unreadable", MASK, "cannot be read"),
    "empty image": (write(IMAGE, b""), "error", "unreadable", IMAGE, "cannot be read"),
    "text as unlabeled image": (write("train/images/u2.png", b"<html>not found</html>"), "error",
                                "unreadable", "train/images/u2.png", "cannot be read"),
    "image is gone": (remove("train/images/u3.png"), "error", "list", "train/images",
                      "no image for id 'u3'"),
    "mask is gone": (remove(MASK), "error", "list", "train/masks", "no mask for id 'l1'"),
    "id twice": (add_line("labeled", "l2"), "error", "list", "labeled.txt", "line 7 and in line 3"),
    "empty list": (write("val.txt", b"\n"), "error", "list", "val.txt", "holds no id"),
    "two files of an id": (copy(IMAGE, "train/images/l1.jpg"), "error", "list", "train/images",
                           "2 images for id 'l1'"),
    "equal pictures": (change("train/images/l4.png", lambda m: scene(2)[0]), "warning",
                       "duplicate", "train/images/l4.png", "the same picture as"),
    "labeled id in val": (both(copy("train/images/l0.png", "val/images/l0.png"),
                               copy("train/masks/l0.png", "val/masks/l0.png"),
                               add_line("val", "l0")), "error", "list", "val/images/l0.png",
                          "in the labeled and in the val split: l0"),
    "labeled picture in val": (both(copy("train/images/l0.png", "val/images/v2.png")), "error",
                               "overlap", "val/images/v2.png",
                               "measured on what it was trained on"),
    "val picture in unlabeled": (change("train/images/u1.png", lambda m: scene(13)[0]), "warning",
                                 "overlap", "train/images/u1.png", "in training"),
    "labeled id in unlabeled": (add_line("unlabeled", "l3"), "warning", "overlap",
                                "train/images/l3.png", "trained on twice"),
    "class without a pixel": (change_all_labeled(lambda m: np.where(m == 3, 0, m)), "warning",
                              "absent-class", "train/masks/l0.png", "class class 3 (3)"),
    "all ignored": (change(MASK, lambda m: m * 0 + 255), "warning", "all-ignored", MASK,
                    "all pixels are 255"),
    "mask of another image": (copy("train/masks/l2.png", MASK), "warning", "same-mask",
                              "train/masks/l2.png", "the same mask as"),
    "blank image": (change(IMAGE, lambda m: m * 0), "warning", "blank", IMAGE, "all pixels"),
    "mask in place of the image": (copy(MASK, IMAGE), "error", "image-is-mask", IMAGE,
                                   "is the mask"),
    "16-bit image": (lambda root: Image.fromarray(
        np.full((24, 32), 4000, np.uint16)).save(root / IMAGE), "error", "unreadable", IMAGE,
        "uint16 pixels"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_with_its_file(root, make_config, name):
    damage, severity, kind, file, message = DAMAGES[name]
    damage(root)
    config = config_of(root, make_config)
    report = examine(config, 0)
    matching = [f for f in report.findings if f.kind == kind and message in f.message]
    assert matching, report.text()
    finding = matching[0]
    assert finding.severity == severity
    assert finding.file == str(root / file), finding
    assert str(root / file) in finding.message or kind == "list"
    # Nothing else is found but what follows from the damage.
    consequences = {kind, "absent-class"} | ({"same-mask"} if "picture in val" in name else set())
    assert {f.kind for f in report.findings} <= consequences, report.text()
    assert "<img" in page(report)
    if severity == "warning":
        load_dataset(config, 0)
        return
    # A run ends with one message, or reads no broken file before it starts.
    try:
        dataset = load_dataset(config, 0)
    except DataError as error:
        assert message in str(error) or kind in ("image-is-mask", "overlap")
    else:
        assert name in ("text as unlabeled image", "mask in place of the image")
        assert len(dataset.labeled) == 6


def test_reason_of_cityscapes_label_ids(root, make_config):
    change(MASK, city_label_ids)(root)
    config = config_of(root, make_config)
    config.num_classes, config.palette, config.class_names = 19, (), ()
    report = examine(config, 0)
    assert any("likely Cityscapes labelIds in place of trainIds" in f.message
               for f in report.errors)  # fmt: skip


def test_missing_root_and_lists_are_findings(tmp_path, make_config, clean):
    report = examine(config_of(tmp_path / "nowhere", make_config), 0)
    assert len(report.errors) == 1 and "data.root" in report.errors[0].message
    assert "<h1>" in page(report)
    report = examine(
        config_of(clean, make_config, labeled="a.txt", unlabeled="b.txt", val="c.txt"), 0
    )
    assert [f.file for f in report.errors] == [str(clean / name) for name in
                                               ("a.txt", "c.txt", "b.txt")]  # fmt: skip


def whole(data):
    return ConfigDict({"data": data, "seed": 0})


def test_files_that_inspect_writes(root, make_config, tmp_path, capsys):
    config = config_of(root, make_config, class_names=("ground", "<a>", "b", "c", "d"))
    inspect_data(whole(config), tmp_path / "out")
    content = json.loads((tmp_path / "out/data.json").read_text())
    assert content["usable"] and content["findings"] == []
    assert content["splits"]["labeled"]["sizes"] == {"24x32": 6}
    assert content["splits"]["val"]["classes"]["(ignore)"]["images"] == 5
    text = (tmp_path / "out/data.html").read_text()
    assert "&lt;a&gt;" in text and "<a>" not in text and text.count("<img") == 5 * 2 + 6 * 2 + 6
    assert "http" not in text and "src='data:image/jpeg;base64," in text
    assert "ground" in capsys.readouterr().out
    DAMAGES["cut mask"][0](root)
    with pytest.raises(DataError, match=r"1 problem\(s\), listed above; first: .*l1\.png"):
        inspect_data(whole(config), tmp_path / "out")
    assert not json.loads((tmp_path / "out/data.json").read_text())["usable"]
    assert "1 error:" in capsys.readouterr().out
