"""The data set with the images that `--split` names."""

import dataclasses

from ml_collections import ConfigDict

from ipixmatch_jax.data import Dataset, load_dataset
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.registry import nearest

_SPLITS = ("val", "labeled", "test")


def with_split(config: ConfigDict, split: str) -> Dataset:
    """The data set, with the records of a split as `val`.

    Raises:
        ConfigError, DataError: a name that is no split, or a split without records.
    """
    if split in _SPLITS:
        dataset = load_dataset(config.data, config.seed)
        records = getattr(dataset, split)
        if len(records):
            return dataclasses.replace(dataset, val=records)
    data = config.data.copy_and_resolve_references()
    data.val = split
    try:
        return load_dataset(data, config.seed)
    except (ConfigError, DataError) as error:
        near = "" if split in _SPLITS else nearest(split, _SPLITS)
        raise type(error)(
            f"--split {split}{near}: expected val, labeled, test where data.test or its folder "
            f"names one, or what data.val can be; {error}"
        ) from None
