"""Batches: an endless random-access grain graph for training, whole images for evaluation."""

import functools
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grain
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from ipixmatch_jax.data.files.file_records import channels_of, record_files
from ipixmatch_jax.data.geometry import Geometry, draw_window, make_geometry, through, weak_view
from ipixmatch_jax.data.own_transform import apply_transform, check_repeatable
from ipixmatch_jax.data.records import IGNORE, Dataset, Source, UnlabeledSource, record_rng
from ipixmatch_jax.data.worker_processes import (
    ended_worker,
    init_worker,
    start_quiet_tracker,
)
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.screen import warn

Batch = dict[str, np.ndarray]

# Each stream has its own number, so that all three draw independently from one seed.
_STREAMS = {"labeled": 0, "unlabeled": 1, "mix": 2}
# Zipped graphs need one common finite length; no run takes this many steps.
_MAX_STEPS = 2**40
# No record has this position or one shortly before: their random numbers are those of the shuffle.
_SHUFFLE = 2**64 - 1
# Added to the number of a stream: random numbers of the records that stand in for broken ones.
_REPLACEMENTS = 8
_TRIES = 100


@dataclass(frozen=True)
class _Load:
    """Read a record, crop it, and give it the key that its device-side views will use."""

    source: UnlabeledSource
    geometry: Geometry
    seed: int
    stream: int
    skip: bool = False
    transform: str = ""

    def __call__(self, position: int, index: int) -> Batch:
        if not self.skip:
            return self._view(position, int(index))
        try:
            return {**self._view(position, int(index)), "skipped": np.int64(-1)}
        except DataError as error:
            return {**self._instead(position, error), "skipped": np.int64(index)}

    def _view(self, position: int, index: int) -> Batch:
        rng = record_rng(self.seed, self.stream, position)
        key = rng.integers(0, 2**32, size=2, dtype=np.uint32)
        # A file that is shrunk below half its size need not be decoded whole.
        if self.geometry.scale_range[0] < 0.5 and hasattr(self.source, "read"):
            window = draw_window(self.source.size(index), rng, self.geometry)
            record = self.source.read(index, window.scaled)
            view = through(window, record, self.geometry.crop_size)
        else:
            record = self.source[index]
            view = weak_view(record, rng, self.geometry)
        if self.transform:
            view = apply_transform(self.transform, view, rng, self.source.ids[index])
        view["key"] = key
        view["index"] = np.int64(index)
        return view

    def _instead(self, position: int, error: DataError) -> Batch:
        """The view of the first readable record, in an order that depends on the position only."""
        rng = record_rng(self.seed, self.stream + _REPLACEMENTS, position)
        for index in rng.integers(0, len(self.source), size=_TRIES):
            try:
                return self._view(position, int(index))
            except DataError:
                continue
        raise DataError(
            f"{error}\nand {_TRIES} other records drawn in its place cannot be read either; "
            "data.on_error=skip is meant for single files; --mode inspect lists all of them"
        )


@dataclass(frozen=True)
class _Order:
    """Every record of a part once per epoch, in a new order each epoch.

    Grain's own shuffle iterates a cipher until it meets a number below the size; for parts with
    few records that takes longer than decoding.
    """

    start: int
    size: int
    seed: int

    def __call__(self, position: int, _: int) -> int:
        epoch, place = divmod(position, self.size)
        return self.start + int(_permutation(self.seed, epoch, self.size)[place])


# At the end of an epoch threads use two permutations, in three streams of a few parts each.
@functools.lru_cache(maxsize=16)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return record_rng(seed, epoch, _SHUFFLE).permutation(size)


def _stream(
    name: str, source: UnlabeledSource, geometry: Geometry, *, seed: int, local_batch: int,
    process_index: int, process_count: int, start_step: int, skip: bool, order: str,
    transform: str = "", pools: tuple[tuple[int, float], ...] = (),
) -> grain.MapDataset:  # fmt: skip
    number = _STREAMS[name]
    parts, start = [], 0
    for pool, (size, _) in enumerate(pools or ((len(source), 1.0),)):
        shuffle_seed = int(record_rng(seed, _STREAMS[order], _SHUFFLE - pool).integers(2**63))
        shuffled = _Order(start, size, shuffle_seed)
        parts.append(grain.MapDataset.range(size).repeat().map_with_index(shuffled))
        start += size
    indices = parts[0]
    if len(parts) > 1:
        indices = grain.MapDataset.mix(parts, [weight for _, weight in pools])
    load = _Load(source, geometry, seed, number, skip, transform)
    if transform:
        check_repeatable(transform, lambda position: load(position, position % len(source)))
    records = indices.map_with_index(load)
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
    mix_same: bool = False,
    process_index: int = 0,
    process_count: int = 1,
) -> "TrainBatches":
    """Endless training batches; step k does not depend on topology, threads or start step.

    The global batch of a step is the concatenation of the batches of all processes, in order.
    `mix` is the unlabeled source in another order: the CutMix partners. Call `close()` when done.

    Args:
        dataset: the source of the records.
        config_data: `config.data`: `crop_size`, `scale_range`, `flip`, `vertical_flip`,
            `quarter_turns`, `rotation`, `transform`, `on_error`, `threads`, `workers`.
        batch_size: labeled images per step, over all processes.
        unlabeled_batch_size: unlabeled images per step, over all processes; 0 leaves out the
            `unlabeled` and `mix` streams.
        seed: seed of shuffling, crops and record keys.
        start_step: the step of the first batch.
        mix_same: `mix` holds the images of `unlabeled` in the same order, with different crops.
        process_index: index of this process.
        process_count: number of processes that share a batch.

    Returns:
        An iterator with `close()` over dicts `labeled`, `unlabeled`, `mix`, each a dict of `image`
        uint8 [B,h,w,C], `valid` bool [B,h,w], `key` uint32 [B,2] and `index` int64 [B] (position
        in the source); `labeled` also holds `mask` uint8 [B,h,w].

    Raises:
        ConfigError: the batch size is not divisible by the number of processes, quarter turns of a
            crop that is not square, or a transform that breaks its contract.
        DataError: unlabeled records are needed and there are none; or, while iterating, a bad file.
    """
    geometry = make_geometry(config_data)
    wanted = {"labeled": (dataset.labeled, _share(batch_size, process_count, "batch_size"))}
    if unlabeled_batch_size:
        share = _share(unlabeled_batch_size, process_count, "unlabeled_batch_size")
        source = _some_unlabeled(dataset, unlabeled_batch_size)
        wanted |= {"unlabeled": (source, share), "mix": (source, share)}
    skip = config_data.on_error == "skip"
    streams = [
        _stream(
            name, source, geometry, seed=seed, local_batch=share, process_index=process_index,
            process_count=process_count, start_step=start_step, skip=skip,
            pools=() if name == "labeled" else dataset.unlabeled_pools,
            order="unlabeled" if name == "mix" and mix_same else name,
            transform=config_data.transform,
        )
        for name, (source, share) in wanted.items()
    ]  # fmt: skip
    batches = grain.experimental.ZipMapDataset(streams).map(_Named(tuple(wanted)))
    iterator = _iterate(batches, int(config_data.threads), int(config_data.workers))
    return TrainBatches(iterator, {name: source for name, (source, _) in wanted.items()})


def _some_unlabeled(dataset: Dataset, wanted: int) -> UnlabeledSource:
    if not len(dataset.unlabeled):
        raise DataError(
            f"unlabeled_batch_size={wanted}, but the data set has no unlabeled images; set "
            "data.unlabeled, or method.name=supervised"
        )
    return dataset.unlabeled


class TrainBatches:
    """Training batches and the list of unreadable records; see `train_batches`.

    Attributes:
        skipped: with `data.on_error='skip'`, number of replacements per unreadable file.
        skips: total number of replacements.
    """

    def __init__(self, batches: Iterator[dict[str, Batch]], sources: dict[str, UnlabeledSource]):
        self._batches = batches
        self._sources = sources
        self.skipped: dict[str, int] = {}
        self.skips = 0

    def __iter__(self) -> "TrainBatches":
        return self

    def __next__(self) -> dict[str, Batch]:
        try:
            batch = next(self._batches)
        except RuntimeError as error:
            raise ended_worker(error) or error from None
        for name, part in batch.items():
            for index in part.pop("skipped", ()):
                if index >= 0:
                    self._count(name, int(index))
        return batch

    def _count(self, stream: str, index: int) -> None:
        file = record_files(self._sources[stream], index)[0]
        if file not in self.skipped:
            warn(f"skipped {file}: image or mask cannot be used; see --mode inspect")
        self.skipped[file] = self.skipped.get(file, 0) + 1
        self.skips += 1

    def close(self) -> None:
        """Stops threads and worker processes."""
        self._batches.close()


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
        # Grain reads an absl flag, which only absl's app.run would have parsed.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        start_quiet_tracker()
        processes = grain.MultiprocessingOptions(num_workers=workers)
        dataset = dataset.mp_prefetch(processes, worker_init_fn=init_worker)
    return iter(dataset)


def size_groups(source: UnlabeledSource) -> dict[tuple[int, int], list[int]]:
    """Image size (H, W) → positions of the records of that size, both in order of appearance."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index in range(len(source)):
        groups.setdefault(tuple(source.size(index)), []).append(index)
    return groups


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    groups: Mapping[tuple[int, int], list[int]] | None = None,
) -> Iterator[Batch]:
    """All records once, whole and at native size, in batches of one shape.

    Shapes come in the order of `groups`, records of one shape in the order of the source. The
    last batch of a shape is filled with padding rows, so that all processes see the same number
    of batches and the same shapes.

    Args:
        source: labeled records.
        batch_size: images per batch, over all processes.
        process_index: index of this process.
        process_count: number of processes that share a batch.
        threads: number of threads that decode ahead.
        groups: shape (H, W) → positions of the records that fit; by default `size_groups(source)`.
            A smaller image of a group is padded at the bottom and on the right, by zeros, with
            mask 255 and valid False.

    Returns:
        A generator of dicts: `image` uint8 [b,H,W,3], `mask` uint8 [b,H,W], `valid` bool [b,H,W],
        `index` int64 [b], `size` int64 [b,2], the size of each image; padding rows have image 0,
        mask 255, valid False, index -1 and size (1, 1).

    Raises:
        ConfigError: the batch size is not divisible by the number of processes.
        DataError: while iterating, a bad file.
    """
    share = _share(batch_size, process_count, "batch_size")
    return _eval_batches(source, groups, batch_size, share, process_index, threads)


def _eval_batches(
    source: Source,
    groups: Mapping[tuple[int, int], list[int]] | None,
    batch_size: int,
    share: int,
    process_index: int,
    threads: int,
) -> Iterator[Batch]:
    plan = []
    for size, indices in (groups or size_groups(source)).items():
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
        "image": np.zeros((share, *size, channels_of(source)), np.uint8),
        "mask": np.full((share, *size), IGNORE, np.uint8),
        "valid": np.zeros((share, *size), bool),
        "index": np.full(share, -1, np.int64),
        "size": np.ones((share, 2), np.int64),
    }
    for row, index in enumerate(indices):
        record = source[index]
        height, width = record["mask"].shape
        batch["image"][row, :height, :width] = record["image"]
        batch["mask"][row, :height, :width] = record["mask"]
        batch["valid"][row, :height, :width] = True
        batch["index"][row], batch["size"][row] = index, (height, width)
    return batch
