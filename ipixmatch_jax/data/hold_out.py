"""Holds labeled images out for validation, each by a hash of its own id."""

import hashlib
from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.errors import DataError


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
