"""Kinds of damage to a small data set, for the tests of inspection and training."""

import shutil

import numpy as np
from PIL import Image

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


def gray_of_colors(mask):
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
    "colors": (change(MASK, colored), "error", "mask-format", MASK, "pixel format 'RGB'"),
    "gray of colors": (change(MASK, gray_of_colors), "error", "mask-values", MASK,
                        "gray values of the palette"),
    "jpeg mask": (as_jpeg(MASK), "error", "mask-format", MASK, "a JPEG"),
    "other size": (change(MASK, lambda m: m[:-1]), "error", "size-mismatch", MASK,
                   "mask is 32x23"),
    "turned": (change(MASK, lambda m: m.T), "error", "size-mismatch", MASK, "turned by 90"),
    "cut image": (cut(IMAGE), "error", "unreadable", IMAGE, "cannot be read"),
    "cut mask": (cut(MASK), "error", "unreadable", MASK, "cannot be read"),
    "empty image": (write(IMAGE, b""), "error", "unreadable", IMAGE, "cannot be read"),
    "text as unlabeled image": (write("train/images/u2.png", b"<html>not found</html>"), "error",
                                "unreadable", "train/images/u2.png", "a web page"),
    "image is gone": (remove("train/images/u3.png"), "error", "list", "train/images",
                      "no image for id 'u3'"),
    "mask is gone": (remove(MASK), "error", "list", "train/masks", "no mask for id 'l1'"),
    "id twice": (add_line("labeled", "l2"), "error", "list", "labeled.txt", "line 7 and in line 3"),
    "empty list": (write("val.txt", b"\n"), "error", "list", "val.txt", "holds no id"),
    "two files of an id": (copy(IMAGE, "train/images/l1.jpg"), "error", "list", "train/images",
                           "2 images for id 'l1'"),
    "equal pictures": (change("train/images/l4.png", lambda m: scene(2)[0]), "warning",
                       "duplicate", "train/images/l4.png", "the same image as"),
    "labeled id in val": (both(copy("train/images/l0.png", "val/images/l0.png"),
                               copy("train/masks/l0.png", "val/masks/l0.png"),
                               add_line("val", "l0")), "error", "list", "val/images/l0.png",
                          "in the labeled and in the val split: l0"),
    "labeled picture in val": (both(copy("train/images/l0.png", "val/images/v2.png")), "error",
                               "overlap", "val/images/v2.png",
                               "evaluated on a training image"),
    "val picture in unlabeled": (change("train/images/u1.png", lambda m: scene(13)[0]), "warning",
                                 "overlap", "train/images/u1.png", "without its mask"),
    "labeled id in unlabeled": (add_line("unlabeled", "l3"), "warning", "overlap",
                                "train/images/l3.png", "training uses it twice"),
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


def without_3(mask):
    return np.where(mask == 3, 0, mask)


TEST = "test/images/s1.png"
# As DAMAGES, of a data set with a test split.
TEST_DAMAGES = {
    "value too large": (change("test/masks/s2.png", lambda m: np.where(m == 4, 9, m)), "error",
                        "mask-values", "test/masks/s2.png", "mask value 9 in"),
    "other size": (change("test/masks/s2.png", lambda m: m[:-1]), "error", "size-mismatch",
                   "test/masks/s2.png", "mask is 32x23"),
    "mask is gone": (remove("test/masks/s3.png"), "error", "list", "test/masks",
                     "no mask for id 's3'"),
    "labeled id": (both(copy("train/images/l0.png", "test/images/l0.png"),
                        copy("train/masks/l0.png", "test/masks/l0.png"), add_line("test", "l0")),
                   "error", "list", "test/images/l0.png", "in the labeled and in the test split"),
    "labeled picture": (change(TEST, lambda m: scene(0)[0]), "error", "overlap", TEST,
                        "evaluated on a training image"),
    "labeled file": (copy("train/images/l0.png", TEST), "error", "overlap", TEST,
                     "evaluated on a training image"),
    "val picture": (change(TEST, lambda m: scene(13)[0]), "warning", "overlap", TEST,
                    "chosen on a test image"),
    "unlabeled picture": (change("train/images/u1.png", lambda m: scene(101)[0]), "warning",
                          "overlap", "train/images/u1.png", "without its mask"),
    "val id": (both(copy("val/images/v0.png", "test/images/v0.png"),
                    copy("val/masks/v0.png", "test/masks/v0.png"), add_line("test", "v0")),
               "warning", "overlap", "test/images/v0.png", "chosen on a test image"),
    "class without a pixel": (both(*(change(f"test/masks/s{n}.png", without_3) for n in range(5))),
                              "warning", "absent-class", "test/masks/s0.png",
                              "draw other test images"),
}  # fmt: skip
