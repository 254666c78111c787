"""Batches: an endless random-access grain graph for training, whole images for evaluation."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grain
import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.geometry import Geometry, weak_view
from ipixmatch_jax.data.records import IGNORE, Dataset, Source, UnlabeledSource, record_rng
from ipixmatch_jax.errors import ConfigError, DataError

Batch = dict[str, np.ndarray]

# Each stream has its own number, so that all three draw independently from one seed.
_STREAMS = {"labeled": 0, "unlabeled": 1, "mix": 2}
# Zipped graphs need one common finite length; no run takes this many steps.
_MAX_STEPS = 2**40
# No record has this position: its random numbers are those of the shuffle.
_SHUFFLE = 2**64 - 1


@dataclass(frozen=True)
class _Load:
    """Read a record, crop it, and give it the key that its device-side views will use."""

    source: UnlabeledSource
    geometry: Geometry
    seed: int
    stream: int

    def __call__(self, position: int, index: int) -> Batch:
        rng = record_rng(self.seed, self.stream, position)
        key = rng.integers(0, 2**32, size=2, dtype=np.uint32)
        record = self.source[int(index)]
        view = weak_view(record, rng, self.geometry)
        view["key"] = key
        if "mask" in record:
            view["index"] = np.int64(index)
        return view


def _stream(
    name: str, source: UnlabeledSource, geometry: Geometry, *, seed: int, local_batch: int,
    process_index: int, process_count: int, start_step: int,
) -> grain.MapDataset:  # fmt: skip
    number = _STREAMS[name]
    # Grain shuffles epoch e with seed + e: seeds must lie far apart, or streams repeat each other.
    shuffle_seed = int(record_rng(seed, number, _SHUFFLE).integers(2**32))
    records = (
        grain.MapDataset.range(len(source))
        .shuffle(seed=shuffle_seed)
        .repeat()
        .map_with_index(_Load(source, geometry, seed, number))
    )
    # Sharding after the random crops, in blocks: the global batch is the same, in the same order,
    # for any number of processes.
    shares = records.batch(local_batch, drop_remainder=True)[process_index::process_count]
    return shares[start_step : start_step + _MAX_STEPS]


def _share(batch_size: int, process_count: int, key: str) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise ConfigError(
            f"{key}={batch_size} cannot be shared by {process_count} process(es); expected a "
            f"positive multiple of {process_count}"
        )
    return batch_size // process_count


def train_batches(
    dataset: Dataset,
    config_data: ConfigDict,
    *,
    batch_size: int,
    unlabeled_batch_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[dict[str, Batch]]:
    """Endless training batches; step k is the same whatever the topology, threads or start.

    The global batch of a step is the concatenation of the batches of all processes, in order.
    `mix` is the unlabeled source in another order: the CutMix partners. Call `close()` when done.

    Args:
        dataset: where the records come from.
        config_data: `config.data`: `crop_size`, `scale_range`, `flip`, `threads`, `workers`.
        batch_size: labeled images a step, over all processes.
        unlabeled_batch_size: unlabeled images a step, over all processes; 0 leaves out the
            `unlabeled` and `mix` streams.
        seed: of shuffling, crops and record keys.
        start_step: the step of the first batch.
        process_index: this process.
        process_count: how many processes share a batch.

    Returns:
        An iterator with `close()` over dicts `labeled`, `unlabeled`, `mix`, each a dict of `image`
        uint8 [B,h,w,3], `valid` bool [B,h,w], `key` uint32 [B,2]; `labeled` also holds `mask`
        uint8 [B,h,w] and `index` int64 [B] (position in the source).

    Raises:
        ConfigError: a batch size that the processes cannot share.
        DataError: no unlabeled records where some are wanted; or, while iterating, a bad file.
    """
    geometry = Geometry(
        tuple(map(int, config_data.crop_size)),
        tuple(map(float, config_data.scale_range)),
        float(config_data.flip),
    )
    wanted = {"labeled": (dataset.labeled, _share(batch_size, process_count, "batch_size"))}
    if unlabeled_batch_size:
        share = _share(unlabeled_batch_size, process_count, "unlabeled_batch_size")
        if not len(dataset.unlabeled):
            raise DataError(
                f"unlabeled_batch_size={unlabeled_batch_size}, but the data set has no unlabeled "
                "images; set data.unlabeled, or method.name=supervised"
            )
        wanted |= {"unlabeled": (dataset.unlabeled, share), "mix": (dataset.unlabeled, share)}
    streams = [
        _stream(
            name, source, geometry, seed=seed, local_batch=share, process_index=process_index,
            process_count=process_count, start_step=start_step,
        )
        for name, (source, share) in wanted.items()
    ]  # fmt: skip
    batches = grain.experimental.ZipMapDataset(streams).map(_Named(tuple(wanted)))
    return _iterate(batches, int(config_data.threads), int(config_data.workers))


@dataclass(frozen=True)
class _Named:
    names: tuple[str, ...]

    def __call__(self, parts: tuple[Batch, ...]) -> dict[str, Batch]:
        return dict(zip(self.names, parts, strict=True))


def _iterate(batches: grain.MapDataset, threads: int, workers: int) -> Iterator[dict[str, Batch]]:
    # Elements are whole batches: a deep buffer would only cost memory.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 2)
    dataset = batches.to_iter_dataset(options)
    if workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(dataset)


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
) -> Iterator[Batch]:
    """All records once, whole and at native size, in batches of one size.

    Sizes come in order of first appearance, records of one size in the order of the source. The
    last batch of a size is filled up with padding rows, so that all processes see the same number
    of batches and the same shapes.

    Args:
        source: labeled records.
        batch_size: images a batch, over all processes.
        process_index: this process.
        process_count: how many processes share a batch.
        threads: how many decode ahead.

    Returns:
        A generator of dicts: `image` uint8 [b,H,W,3], `mask` uint8 [b,H,W], `valid` bool [b,H,W],
        `index` int64 [b]; padding rows have image 0, mask 255, valid False and index -1.

    Raises:
        ConfigError: a batch size that the processes cannot share.
        DataError: while iterating, a bad file.
    """
    share = _share(batch_size, process_count, "batch_size")
    return _eval_batches(source, batch_size, share, process_index, threads)


def _eval_batches(
    source: Source, batch_size: int, share: int, process_index: int, threads: int
) -> Iterator[Batch]:
    groups: dict[tuple[int, int], list[int]] = {}
    for index in range(len(source)):
        groups.setdefault(source.size(index), []).append(index)
    plan = []
    for size, indices in groups.items():
        for start in range(0, len(indices), batch_size):
            first = start + process_index * share
            plan.append((size, indices[first : min(first + share, start + batch_size)]))

    executor = ThreadPoolExecutor(threads, thread_name_prefix="eval-decode")
    pending: deque = deque()
    try:
        for size, indices in plan:
            pending.append(executor.submit(_whole_batch, source, size, indices, share))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _whole_batch(source: Source, size: tuple[int, int], indices: list[int], share: int) -> Batch:
    batch = {
        "image": np.zeros((share, *size, 3), np.uint8),
        "mask": np.full((share, *size), IGNORE, np.uint8),
        "valid": np.zeros((share, *size), bool),
        "index": np.full(share, -1, np.int64),
    }
    for row, index in enumerate(indices):
        record = source[index]
        batch["image"][row] = record["image"]
        batch["mask"][row] = record["mask"]
        batch["valid"][row] = True
        batch["index"][row] = index
    return batch
