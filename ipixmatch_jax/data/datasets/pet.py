"""Oxford-IIIT Pet: 3680 training and 3669 test images of cats and dogs, with trimaps.

A trimap holds 1 pet, 2 background, 3 border. With two classes (background, pet) the border is
ignored, with three it is a class. Parkhi et al., CVPR 2012.
"""

from pathlib import Path

from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets.benchmarks import Benchmark, build_benchmark, first_words
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.data.records import IGNORE, Splits
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.keys import Table

OPTIONS: Table = {}

CLASSES = ("background", "pet", "border")
PALETTE = ((0, 0, 0), (230, 120, 60), (250, 250, 180))


def _benchmark(root: Path, data: ConfigDict) -> Benchmark:
    num_classes = int(data.num_classes)
    if num_classes not in (2, 3):
        raise ConfigError(
            f"data.num_classes={num_classes}; expected 2 (background, pet; borders ignored) or 3"
        )
    border = IGNORE if num_classes == 2 else 2

    def splits(name: str, problems: list[str]) -> list[str] | None:
        if name not in ("trainval", "test"):
            return None
        return first_words(root / "annotations" / f"{name}.txt", "data.labeled", problems)

    return Benchmark(
        holds="images and annotations",
        class_names=CLASSES[:num_classes],
        palette=PALETTE[:num_classes],
        images=lambda record_id: [f"images/{record_id}.jpg"],
        masks=lambda record_id: [f"annotations/trimaps/{record_id}.png"],
        splits=splits,
        split_names=("trainval", "test"),
        reader=Masks(num_classes, lookup=(254, 1, 0, border, *(254,) * 251, IGNORE)),
    )


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """The splits of Oxford-IIIT Pet; see `build_benchmark`. `seed` is unused."""
    return build_benchmark(_benchmark, data, problems)
