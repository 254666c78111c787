"""Small data sets that the tests of this room share."""

import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data import data_defaults
from tests.references.damages import scene


def data_config(**changes) -> ConfigDict:
    """A `config.data` with every key and the given changes; sections are merged."""
    config = data_defaults()
    config.labeled, config.unlabeled, config.val = "labeled.txt", "unlabeled.txt", "val.txt"
    config.num_classes, config.crop_size, config.threads = 4, (16, 16), 2
    for key, value in changes.items():
        if isinstance(value, dict):
            config[key] = {**config[key], **value}
        else:
            config[key] = value
    return config


def noise_image(seed: int, height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def class_mask(seed: int, height: int = 20, width: int = 24, classes: int = 4) -> np.ndarray:
    mask = np.random.default_rng(seed).integers(0, classes, (height, width), dtype=np.uint8)
    mask[0, 0] = 255
    return mask


@pytest.fixture
def make_config():
    return data_config


@pytest.fixture
def folder_root(tmp_path):
    """4 labeled images, 6 unlabeled ones (whose masks are unreadable) and 3 for validation."""
    splits = {
        "labeled": [f"l{i}" for i in range(4)],
        "unlabeled": [f"u{i}" for i in range(6)],
        "val": [f"v{i}" for i in range(3)],
    }
    for part in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / part / kind).mkdir(parents=True)
    for split, ids in splits.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(ids) + "\n")
        part = tmp_path / ("val" if split == "val" else "train")
        for number, name in enumerate(ids):
            seed = 10 * len(split) + number
            suffix = "jpg" if number % 2 else "png"
            Image.fromarray(noise_image(seed)).save(part / "images" / f"{name}.{suffix}")
            mask_path = part / "masks" / f"{name}.png"
            if split == "unlabeled":
                mask_path.write_bytes(b"this is no mask")
            else:
                Image.fromarray(class_mask(seed)).save(mask_path)
    return tmp_path


class ArraySource:
    """Records held in memory; labeled if masks are given."""

    def __init__(self, images, masks=None, prefix="r"):
        self.images, self.masks = list(images), masks
        self.ids = tuple(f"{prefix}{i}" for i in range(len(self.images)))

    def __len__(self):
        return len(self.images)

    def size(self, index):
        return self.images[index].shape[:2]

    def __getitem__(self, index):
        record = {"id": self.ids[index], "image": self.images[index]}
        return record if self.masks is None else {**record, "mask": self.masks[index]}


@pytest.fixture
def array_source():
    return ArraySource


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
