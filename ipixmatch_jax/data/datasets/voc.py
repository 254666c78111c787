"""Pascal VOC 2012 with the masks of SBD: 21 classes, 10582 images in `train_aug`.

Everingham et al. 2010; Hariharan et al. 2011, "Semantic contours from inverse detectors".
"""

from pathlib import Path

from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets.benchmarks import Benchmark, build_benchmark, first_words
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.data.records import Splits, spread_palette
from ipixmatch_jax.keys import Key, Table

OPTIONS: Table = {
    # Empty where SegmentationClassAug holds SBD's masks as PNG.
    "sbd": Key(
        "",
        "benchmark_RELEASE/dataset of SBD, whose .mat masks are read where VOC has none",
    ),
}

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa",
    "train", "tv monitor",
)  # fmt: skip
_LISTS = "ImageSets/Segmentation"


def _benchmark(root: Path, data: ConfigDict) -> Benchmark:
    sbd = data.voc.sbd.rstrip("/")

    def images(record_id: str) -> list[str]:
        return [f"JPEGImages/{record_id}.jpg"]

    def masks(record_id: str) -> list[str]:
        # VOC's own masks are finer than those of SBD, and of higher quality.
        found = [
            f"{kind}/{record_id}.png" for kind in ("SegmentationClass", "SegmentationClassAug")
        ]
        return [*found, f"{sbd}/cls/{record_id}.mat"] if sbd else found

    def official(name: str, problems: list[str]) -> list[str]:
        return first_words(root / _LISTS / f"{name}.txt", "data.labeled", problems)

    def splits(name: str, problems: list[str]) -> list[str] | None:
        if name in ("train", "val", "trainval"):
            return official(name, problems)
        if name != "train_aug":
            return None
        if (root / _LISTS / "train_aug.txt").is_file() or not sbd:
            return official("train_aug", problems)
        # All that SBD or VOC labels, less VOC's validation images: 10582.
        val = set(official("val", problems))
        parts = [first_words(root / sbd / f"{part}.txt", "data.voc.sbd", problems)
                 for part in ("train", "val")]  # fmt: skip
        return sorted({*parts[0], *parts[1], *official("train", problems)} - val)

    return Benchmark(
        holds="JPEGImages, SegmentationClass and ImageSets (VOCdevkit/VOC2012)",
        class_names=CLASSES,
        palette=tuple(map(tuple, spread_palette(len(CLASSES)).tolist())),
        images=images,
        masks=masks,
        splits=splits,
        split_names=("train_aug", "train", "val", "trainval"),
        reader=Masks(len(CLASSES)),
    )


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """The splits of VOC; see `build_benchmark`. `seed` is unused: lists say who is labeled."""
    return build_benchmark(_benchmark, data, problems)
