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
from ipixmatch_jax.data.importers.cityscapes_classes import (
    CLASSES,
    LABEL_IDS,
    PALETTE,
    train_id_lookup,
)
from ipixmatch_jax.data.records import Splits
from ipixmatch_jax.keys import Key, Table

OPTIONS: Table = {
    "masks": Key(
        "auto",
        "which masks to read; auto: labelTrainIds if present, else labelIds",
        choices=("auto", "labelTrainIds", "labelIds"),
    ),
}

__all__ = ["CLASSES", "LABEL_IDS", "OPTIONS", "PALETTE", "build", "train_id_lookup"]


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
