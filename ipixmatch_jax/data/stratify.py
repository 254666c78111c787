"""Random draws of records, stratified by class."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ipixmatch_jax.errors import DataError

_THREADS = 4


def class_presence(source: Any, num_classes: int, problems: list[str]) -> np.ndarray:
    """The classes in each record of a labeled source: bool [len(source), C].

    Args:
        source: labeled records.
        num_classes: C.
        problems: unreadable masks are described here; their rows are False.
    """

    def held(index: int) -> np.ndarray:
        mask = source.mask(index) if hasattr(source, "mask") else source[index]["mask"]
        return np.bincount(mask.ravel(), minlength=256)[:num_classes] > 0

    def held_or_error(index: int) -> np.ndarray | DataError:
        try:
            return held(index)
        except DataError as error:
            return error

    presence = np.zeros((len(source), num_classes), bool)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="presence") as executor:
        for index, row in enumerate(executor.map(held_or_error, range(len(source)))):
            if isinstance(row, DataError):
                problems.append(str(row))
            else:
                presence[index] = row
    return presence


def draw(count: int, total: int, seed: int, presence: np.ndarray | None = None) -> np.ndarray:
    """`count` of `total` positions, sorted: a pure function of its arguments.

    With `presence` bool [total, C] the draw is stratified: the rarest class that has not reached
    its share of images chooses the next image (iterative stratification of
    Sechidis, Tsoumakas, Vlahavas 2011, for one part).

    Raises:
        DataError: `count` is larger than `total`.
    """
    if not 1 <= count <= total:
        raise DataError(f"{count} of {total} images cannot be drawn; expected 1 to {total}")
    order = np.random.Generator(np.random.Philox(key=seed)).permutation(total)
    if presence is None:
        return np.sort(order[:count])
    presence = presence[order]
    # At least one image of every class, if there are enough images.
    wanted = np.maximum(presence.sum(0) * (count / total), presence.any(0).astype(float))
    left, chosen = np.ones(total, bool), []
    for _ in range(count):
        remaining = presence[left].sum(0)
        open_classes = np.flatnonzero((wanted > 0) & (remaining > 0))
        candidates = np.flatnonzero(left)
        if len(open_classes):
            rarest = open_classes[np.argmin(remaining[open_classes])]
            candidates = candidates[presence[candidates, rarest]]
        # Among the images with the rarest class, take the one that fills most open needs and
        # overshoots least; ties go to the first in the seeded order.
        gain = presence[candidates] @ np.where(wanted > 0, np.minimum(wanted, 1.0), -0.5)
        pick = candidates[int(np.argmax(gain))]
        chosen.append(pick)
        left[pick] = False
        wanted = wanted - presence[pick]
    return np.sort(order[chosen])


def hold_out(
    keys: Sequence[str], share: float, seed: int, presence: np.ndarray | None = None
) -> np.ndarray:
    """Positions of the images held out for validation, sorted.

    Every key has a fixed random number u in [0, 1), a hash of the seed and the key. An image is
    held out if u < share. In small sets, where no image is: the one with the smallest u. A class
    that no held-out image shows holds out the image with the smallest u among those that show it,
    if u < 1.5 * share.

    So adding images never moves a training image into validation: an image is held out by its own
    u, or as the smallest of a set that can only grow. (Removing the image that was the smallest
    can.) At least one image remains for training.

    Args:
        keys: one per image: its id, or the name of the group of images that stay together.
        share: expected share of held-out images, in (0, 1).
        seed: seed of the hash.
        presence: bool [len(keys), C], the classes of each image; None ignores classes.

    Raises:
        DataError: fewer than two different keys, or a share outside (0, 1).
    """
    if not 0 < share < 1 or len(set(keys)) < 2:
        raise DataError(
            f"a hold-out of {share} of {len(keys)} images in {len(set(keys))} groups leaves no "
            "validation or no training image; expected a share in (0, 1) and two groups"
        )
    numbers = np.array([_unit(seed, key) for key in keys])
    held = numbers < share
    if not held.any():
        held = numbers == numbers.min()
    if presence is not None:
        wanted = held.copy()
        for shown in presence.T:
            if shown.any() and not (shown & held).any():
                smallest = numbers[shown].min()
                wanted |= (numbers == smallest) & (smallest < 1.5 * share)
        held = wanted
    if held.all():
        held = numbers < numbers.max()
    return np.flatnonzero(held)


def _unit(seed: int, key: str) -> float:
    content = f"{seed}:{key}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") / 2**64
