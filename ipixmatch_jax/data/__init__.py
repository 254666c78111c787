"""Where records come from, who is labeled, and how they become batches: host side, no jax."""

from ipixmatch_jax.data.catalog import DATASETS, SOURCE_OPTIONS, load_dataset
from ipixmatch_jax.data.checks import WARNING, check_dataset, summarize
from ipixmatch_jax.data.images import read_image, resize_image
from ipixmatch_jax.data.pipeline import eval_batches, train_batches
from ipixmatch_jax.data.records import (
    IGNORE,
    Dataset,
    Record,
    Source,
    UnlabeledRecord,
    UnlabeledSource,
)

__all__ = [
    "DATASETS",
    "IGNORE",
    "SOURCE_OPTIONS",
    "Dataset",
    "Record",
    "Source",
    "UnlabeledRecord",
    "UnlabeledSource",
    "WARNING",
    "check_dataset",
    "eval_batches",
    "load_dataset",
    "read_image",
    "resize_image",
    "summarize",
    "train_batches",
]
