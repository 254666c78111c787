"""Batches of labeled images that the run did not train on, in the run's own crops."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data import Dataset, train_batches
from ipixmatch_jax.data.picked import PickedSource
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.methods import Method
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.splits import read_splits

# A standard error needs this many groups: one is left out, and the others need another image.
LEAST_GROUPS = 3
# Images of one kind in a batch, at most; more would take longer and say the same.
_MOST_IMAGES = 8
# Batches, at most, in the gradient by the true labels of one group's images.
_MOST_OTHER = 4


@dataclasses.dataclass(frozen=True)
class Group:
    """Consecutive images of the split, and the batches that are made of them.

    Attributes:
        mixed: a batch with all of `labeled`, `unlabeled` and `mix`: labeled images of the run, and
            images of the group, with their masks, in the place of unlabeled ones.
        plain: batches of labeled images, all of the group.
    """

    mixed: dict[str, Any]
    plain: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a measurement, in groups that share no image.

    Groups are consecutive parts of the list, so that neighboring frames of a video stay together.
    """

    config: ConfigDict
    method: Method
    dataset: Dataset
    groups: tuple[tuple[int, ...], ...]

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(map(len, self.groups))

    @property
    def sizes(self) -> tuple[int, int]:
        """Labeled and unlabeled images of a batch."""
        config = self.config
        return (
            min(config.batch_size, _MOST_IMAGES),
            min(config.unlabeled_batch_size, _MOST_IMAGES),
        )

    def __iter__(self) -> Iterator[Group]:
        for number in range(len(self.groups)):
            yield self._group(number)

    def _group(self, number: int) -> Group:
        positions, (labeled, unlabeled) = self.groups[number], self.sizes
        source = PickedSource([self.dataset.val], [(0, index) for index in positions])
        # The pipeline of training reads the masks too, because this source has them.
        as_unlabeled = dataclasses.replace(
            self.dataset, unlabeled=source, unlabeled_pools=(), val=source
        )
        as_labeled = dataclasses.replace(self.dataset, labeled=source)
        mixed = self._batches(as_unlabeled, labeled, unlabeled, 1, number)
        count = min(-(-len(positions) // labeled), _MOST_OTHER)
        return Group(mixed[0], [b["labeled"] for b in self._batches(as_labeled, labeled, 0, count)])

    def _batches(
        self, dataset: Dataset, labeled: int, unlabeled: int, count: int, start: int = 0
    ) -> list[dict[str, Any]]:
        data = self.config.data.copy_and_resolve_references()
        data.workers = 0  # a few batches are not worth the start of processes
        batches = train_batches(
            dataset,
            data,
            batch_size=labeled,
            unlabeled_batch_size=unlabeled,
            seed=self.config.seed,
            start_step=start,
            mix_same=self.method.mix == "same",
        )
        with contextlib.closing(batches):
            found = [next(batches) for _ in range(count)]
        for batch in found:
            for part in batch.values():
                part.pop("index")
        return found


def images_of(
    config: ConfigDict, method: Method, dataset: Dataset, workdir: AnyPath, groups: int
) -> Images:
    """Divides the images of `dataset.val` into groups.

    Images on which the run trained with their labels are left out.

    Args:
        groups: how many there shall be; fewer if there are less than two images for each.

    Raises:
        ConfigError: too few groups are wanted.
        DataError: too few images.
    """
    if groups < LEAST_GROUPS:
        raise ConfigError(
            f"--batches is {groups}; expected at least {LEAST_GROUPS}, because errors are computed "
            "from the differences between batches"
        )
    known = read_splits(workdir)
    trained = set(known.kept["labeled"]["ids"] if known else dataset.labeled.ids)
    places = [i for i, name in enumerate(dataset.val.ids) if str(name) not in trained]
    if len(places) < LEAST_GROUPS:
        left_out = len(dataset.val.ids) - len(places)
        raise DataError(
            f"{len(places)} labeled images that the run did not train on ({left_out} others it "
            f"did); expected at least {LEAST_GROUPS}, better 50: choose others by --split or "
            "data.val"
        )
    number = min(groups, max(LEAST_GROUPS, len(places) // 2))
    parts = np.array_split(places, number)
    return Images(config, method, dataset, tuple(tuple(map(int, part)) for part in parts))
