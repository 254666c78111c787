"""Where records come from, who is labeled, and how they become batches: host side, no jax."""

from ipixmatch_jax.data.catalog import (
    DATASETS,
    SOURCE_OPTIONS,
    data_defaults,
    data_keys,
    load_dataset,
)
from ipixmatch_jax.data.datasets.class_order import moved_classes, other_classes, renamed_classes
from ipixmatch_jax.data.datasets.mask_keys import pixels_of
from ipixmatch_jax.data.device_prefetch import DeviceFeed
from ipixmatch_jax.data.files.images import (
    IMAGE_SUFFIXES,
    Pixels,
    displayable,
    read_image,
    resize_image,
)
from ipixmatch_jax.data.geometry import make_geometry
from ipixmatch_jax.data.inspection.report import Report, inspect_dataset, summarize
from ipixmatch_jax.data.inspection.training_needs import check_training_needs, training_needs
from ipixmatch_jax.data.own_transform import find_transform
from ipixmatch_jax.data.picked import content_hashes, keep_splits
from ipixmatch_jax.data.pipeline import TrainBatches, eval_batches, size_groups, train_batches
from ipixmatch_jax.data.protocols import comparable, identify
from ipixmatch_jax.data.read_ahead import check_readable
from ipixmatch_jax.data.records import (
    IGNORE,
    Dataset,
    Record,
    Source,
    UnlabeledRecord,
    UnlabeledSource,
)
from ipixmatch_jax.data.statistics import (
    check_statistics,
    is_eight_bit,
    with_class_weights,
    with_statistics,
)

__all__ = [
    "DATASETS",
    "IGNORE",
    "IMAGE_SUFFIXES",
    "SOURCE_OPTIONS",
    "Dataset",
    "DeviceFeed",
    "Pixels",
    "Record",
    "Report",
    "Source",
    "TrainBatches",
    "UnlabeledRecord",
    "UnlabeledSource",
    "check_readable",
    "check_statistics",
    "check_training_needs",
    "comparable",
    "content_hashes",
    "data_defaults",
    "data_keys",
    "displayable",
    "eval_batches",
    "inspect_dataset",
    "find_transform",
    "identify",
    "is_eight_bit",
    "keep_splits",
    "load_dataset",
    "make_geometry",
    "moved_classes",
    "other_classes",
    "pixels_of",
    "read_image",
    "renamed_classes",
    "resize_image",
    "size_groups",
    "summarize",
    "train_batches",
    "training_needs",
    "with_class_weights",
    "with_statistics",
]
