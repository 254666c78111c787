"""Cityscapes: 19 classes, 2975 training and 500 validation images of 2048 x 1024.

Masks are `labelTrainIds` files, or the `labelIds` files of the download, converted as they are
read. Cordts et al., CVPR 2016.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets.benchmarks import Benchmark, build_benchmark, ids_in
from ipixmatch_jax.data.files.images import File
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.data.records import IGNORE, Splits

OPTIONS = {
    # 'auto' takes labelTrainIds if present, else labelIds; or name one of the two.
    "masks": "auto",
}

# Name, label id of the download, colour; in the order of the train ids.
_CLASSES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
CLASSES = tuple(name for name, _, _ in _CLASSES)
PALETTE = tuple(color for _, _, color in _CLASSES)
LABEL_IDS = tuple(label_id for _, label_id, _ in _CLASSES)
# 34 label ids; those outside the benchmark are ignored; 34 and above are faults.
_KNOWN_LABELS = 34


def train_id_lookup() -> tuple[int, ...]:
    """The train id of each label id; 254, which check_mask rejects, for unknown labels."""
    table = np.full(256, IGNORE - 1)
    table[:_KNOWN_LABELS] = IGNORE
    table[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
    # -1, the licence plate, is 255 in eight bits.
    table[255] = IGNORE
    return tuple(table.tolist())


@dataclass(frozen=True)
class _CityMasks(Masks):
    def read(self, file: File, name: str) -> np.ndarray:
        if name.endswith("_labelIds.png"):
            return Masks(self.num_classes, lookup=train_id_lookup()).read(file, name)
        return super().read(file, name)


_FOLDERS = ("train", "val", "test", "train_extra")


def _benchmark(root: Path, data: ConfigDict) -> Benchmark:
    kinds = {"auto": ("labelTrainIds", "labelIds")}.get(data.cityscapes.masks)
    kinds = kinds or (data.cityscapes.masks,)
    cities: dict[str, list[str]] = {}
    for split in _FOLDERS:
        folder = root / "leftImg8bit" / split
        for place in sorted(folder.iterdir()) if folder.is_dir() else ():
            cities.setdefault(place.name, []).append(split)

    def places(record_id: str) -> list[str]:
        city = record_id.split("_")[0]
        return [f"{split}/{city}/{record_id}" for split in cities.get(city, _FOLDERS[:1])]

    def splits(name: str, problems: list[str]) -> list[str] | None:
        parts = {"train": ("train",), "val": ("val",), "train_extra": ("train_extra",),
                 "train+extra": ("train", "train_extra")}.get(name)  # fmt: skip
        if parts is None:
            return None
        endings = ("_leftImg8bit.png", "_leftImg8bit.jpg")
        return [
            record_id
            for part in parts
            for record_id in ids_in(root / "leftImg8bit" / part, problems, endings=endings)
        ]

    return Benchmark(
        holds="leftImg8bit and gtFine",
        class_names=CLASSES,
        palette=PALETTE,
        images=lambda record_id: [
            f"leftImg8bit/{place}_leftImg8bit.{ending}"
            for place in places(record_id)
            for ending in ("png", "jpg")
        ],
        masks=lambda record_id: [
            f"gtFine/{place}_gtFine_{kind}.png" for kind in kinds for place in places(record_id)
        ],
        splits=splits,
        split_names=("train", "val", "train_extra", "train+extra"),
        reader=_CityMasks(len(CLASSES), palette=PALETTE),
    )


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """The splits of Cityscapes; see `build_benchmark`. `seed` is unused."""
    return build_benchmark(_benchmark, data, problems)
