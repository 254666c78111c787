"""Records, the sources that hold them, and the data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

import numpy as np

IGNORE = 255


def is_background(name: str) -> bool:
    """True if a class name says background: `background`, `_background_`, `BG`."""
    return name.strip("_ ").lower() in ("background", "bg")


class UnlabeledRecord(TypedDict):
    """An image without ground truth: `id`, and `image` uint8 [H,W,C], C bands (usually 3)."""

    id: str
    image: np.ndarray


class Record(UnlabeledRecord):
    """A labeled image: `id`, `image` uint8 [H,W,C] and `mask` uint8 [H,W], 255 = ignore."""

    mask: np.ndarray


class UnlabeledSource(Protocol):
    """Random access to unlabeled records; `size` returns (H, W) without decoding pixels."""

    ids: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> UnlabeledRecord: ...

    def size(self, index: int) -> tuple[int, int]: ...


class Source(UnlabeledSource, Protocol):
    """Random access to labeled records."""

    def __getitem__(self, index: int) -> Record: ...


class EmptySource:
    """The source of a split that the config does not name."""

    ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Record:
        raise IndexError(f"record {index} of an empty source")

    def size(self, index: int) -> tuple[int, int]:
        raise IndexError(f"record {index} of an empty source")


NONE = EmptySource()


@dataclass(frozen=True)
class Dataset:
    """The sources of a data set and the meaning of its class ids.

    Attributes:
        labeled: records with masks, to train on.
        unlabeled: records without masks, by type; may hold none (`len` 0).
        val: records with masks, evaluated during training.
        class_names: C names, in the order of the class ids.
        palette: uint8 [C,3] colors.
        unlabeled_pools: (images, share of the stream) of consecutive parts of `unlabeled`; () is
            one plain part, every image once an epoch.
        protocol: name of the published split of labeled images, such as 'voc-fine-92'; '' if
            unknown.
        test: records with masks, evaluated once; often none. Training never reads them.
        notes: how the data was recognized, paired and split, one line each.
        warnings: what was left out, one line each.
        groups: (id, group) of every labeled and held-out image if `val` is a hold-out; images of
            one group show the same scene. () if the validation images were named.
    """

    labeled: Source
    unlabeled: UnlabeledSource
    val: Source
    class_names: tuple[str, ...]
    palette: np.ndarray
    unlabeled_pools: tuple[tuple[int, float], ...] = ()
    protocol: str = ""
    test: Source = NONE
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


@dataclass(frozen=True)
class Splits:
    """The result of a data-set module: its sources, and class names and colors if known."""

    labeled: Source
    unlabeled: UnlabeledSource
    val: Source
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    unlabeled_pools: tuple[tuple[int, float], ...] = ()
    test: Source = NONE
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()


def record_rng(seed: int, stream: int, position: int) -> np.random.Generator:
    """The random numbers of one record: a pure function of seed, stream number and position."""
    word = 2**64 - 1
    # Arrays of a named type: NumPy would round a list with large numbers to floats.
    philox = np.random.Philox(
        key=np.array([seed & word, stream], np.uint64),
        counter=np.array([0, 0, 0, position], np.uint64),
    )
    return np.random.Generator(philox)


def spread_palette(num_classes: int) -> np.ndarray:
    """Distinct colors, uint8 [C,3]: the bits of the class id distributed over red, green and blue.

    Class 0 is black. The scheme is that of the PASCAL VOC development kit.
    """
    ids = np.arange(num_classes)
    palette = np.zeros((num_classes, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return palette
