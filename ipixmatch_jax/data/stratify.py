"""Random draws of records, stratified by class."""

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
