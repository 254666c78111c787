"""ADE20K, the 150 classes of its scene-parsing benchmark: 20210 training, 2000 validation images.

In the masks 0 is "other", which is ignored, and class c is c + 1. Zhou et al., CVPR 2017.
"""

from pathlib import Path

from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets.ade20k_classes import CLASSES
from ipixmatch_jax.data.datasets.benchmarks import Benchmark, build_benchmark, ids_in
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.data.records import IGNORE, Splits

OPTIONS: dict = {}

_FOLDERS = {"train": "training", "val": "validation"}
# 151 and above are no labels: they become 254, which check_mask rejects.
LOOKUP = (IGNORE, *range(150), *(254,) * 104, IGNORE)


def _benchmark(root: Path, data: ConfigDict) -> Benchmark:
    def places(record_id: str) -> list[str]:
        part = "validation" if record_id.startswith("ADE_val") else "training"
        return [f"{part}/{record_id}"]

    def splits(name: str, problems: list[str]) -> list[str] | None:
        if name not in _FOLDERS:
            return None
        return ids_in(root / "images" / _FOLDERS[name], problems, endings=(".jpg",))

    return Benchmark(
        holds="images and annotations (ADEChallengeData2016)",
        class_names=CLASSES,
        palette=(),
        images=lambda record_id: [f"images/{place}.jpg" for place in places(record_id)],
        masks=lambda record_id: [f"annotations/{place}.png" for place in places(record_id)],
        splits=splits,
        split_names=tuple(_FOLDERS),
        reader=Masks(len(CLASSES), lookup=LOOKUP),
    )


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """The splits of ADE20K; see `build_benchmark`. `seed` is unused."""
    return build_benchmark(_benchmark, data, problems)
