"""Classes whose masks lie inside those of others: the tumor in the liver, the cup in the disc."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.importers.drawing import union_of_files
from ipixmatch_jax.errors import DataError

# Images that are read, and that must show both classes.
_OPENED, _LEAST = 12, 3
# Share of the inner class that lies inside the outer one, in each image and on average.
_INSIDE, _MOSTLY = 0.95, 0.98
# Masks of two people differ less in their area.
_SMALLER = 0.9


def nested_classes(
    images: Sequence[tuple[str, Mapping[str, Sequence[str]]]],
) -> list[tuple[str, str]]:
    """Pairs (inner, outer) of classes, of which the inner lies inside the outer in all images.

    Args:
        images: (file of the image, class -> files of its masks). A few with several masks are read.
    """
    several = [own for own in images if len(own[1]) > 1]
    picked = np.unique(np.linspace(0, len(several) - 1, min(_OPENED, len(several))).round())
    shares: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for image, parts in (several[int(index)] for index in picked):
        try:
            masks = {name: union_of_files([*files], image) > 0 for name, files in parts.items()}
        except DataError:
            # Drawing the mask says what is wrong with it.
            return []
        areas = {name: float(mask.sum()) for name, mask in masks.items()}
        for inner, outer in itertools.permutations(masks, 2):
            if areas[inner] and areas[outer]:
                inside = float((masks[inner] & masks[outer]).sum()) / areas[inner]
                own = (inside, areas[inner] / areas[outer])
                shares.setdefault((inner, outer), []).append(own)
    return sorted(pair for pair, found in shares.items() if _nested(np.array(found)))


def _nested(found: np.ndarray) -> bool:
    """True for (share inside, relative area) of each image [N,2] that show an inner class."""
    inside, area = found[:, 0], found[:, 1]
    return bool(
        len(found) >= _LEAST
        and inside.min() >= _INSIDE
        and inside.mean() >= _MOSTLY
        and np.median(area) <= _SMALLER
    )
