"""COCO 2017 with 81 classes: background and the 80 things; 118287 training, 5000 val images.

Masks are PNG files of class ids 0..80 in `masks/`, or the pixel maps of COCO-Stuff in
`stuffthingmaps/`, converted as they are read. The first are made once from the annotations by

    python -m ipixmatch_jax.data.coco_masks ROOT

Lin et al., ECCV 2014; Caesar et al., CVPR 2018.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets.benchmarks import Benchmark, build_benchmark, ids_in
from ipixmatch_jax.data.files.images import File
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.data.importers.coco_names import COCO_NAMES
from ipixmatch_jax.data.records import Splits
from ipixmatch_jax.keys import Table

OPTIONS: Table = {}

PARTS = ("train2017", "val2017")
CLASSES = ("background", *COCO_NAMES)
# Category ids are 1..90 with these left out.
_UNUSED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
CATEGORY_IDS = tuple(number for number in range(1, 91) if number not in _UNUSED)


def stuff_lookup() -> tuple[int, ...]:
    """The class id of each value of a COCO-Stuff pixel map: category id - 1, stuff is background.

    255, what nobody labeled, is background too, as in the 81-class protocol.
    """
    table = np.zeros(256, int)
    table[[number - 1 for number in CATEGORY_IDS]] = np.arange(1, len(CLASSES))
    return tuple(table.tolist())


@dataclass(frozen=True)
class _CocoMasks(Masks):
    def read(self, file: File, name: str) -> np.ndarray:
        if "stuffthingmaps" in Path(name).parts:
            return Masks(self.num_classes, lookup=stuff_lookup()).read(file, name)
        return super().read(file, name)


def _benchmark(root: Path, data: ConfigDict) -> Benchmark:
    def places(pattern: str, record_id: str) -> list[str]:
        return [pattern.format(part=part, id=record_id) for part in PARTS]

    def splits(name: str, problems: list[str]) -> list[str] | None:
        if name not in ("train", "val"):
            return None
        return ids_in(root / f"{name}2017", problems, endings=(".jpg",))

    return Benchmark(
        holds="train2017, val2017, and masks or stuffthingmaps",
        class_names=CLASSES,
        palette=(),
        images=lambda record_id: places("{part}/{id}.jpg", record_id),
        masks=lambda record_id: [
            f"masks/{record_id}.png",
            *places("masks/{part}/{id}.png", record_id),
            *places("stuffthingmaps/{part}/{id}.png", record_id),
        ],
        splits=splits,
        split_names=("train", "val"),
        reader=_CocoMasks(len(CLASSES)),
    )


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """The splits of COCO; see `build_benchmark`. `seed` is unused."""
    return build_benchmark(_benchmark, data, problems)
