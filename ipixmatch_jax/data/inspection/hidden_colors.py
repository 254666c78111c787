"""Photos with colors below transparent pixels, which viewers do not show and networks see."""

from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.files.decoding import open_picture, opened
from ipixmatch_jax.data.files.images import RGB
from ipixmatch_jax.data.inspection.findings import WARNING, Facts, Finding
from ipixmatch_jax.errors import DataError

# Less than this share of a photo, such as a soft border, changes nothing.
LEAST_HIDDEN = 0.01


def hidden_share(path: str) -> float:
    """Share of a photo's pixels that are transparent, if their colors differ; 0 otherwise.

    One color below all of them is a background like any other.
    """
    try:
        with opened(path, path) as (stream, kind):
            if kind in ("NPY", "MAT", "TIFF"):  # a fourth band of a TIFF is seldom transparency
                return 0.0
            picture = open_picture(stream, kind, path, RGB.max_pixels)
            if not picture.has_transparency_data:
                return 0.0
            array = np.asarray(picture.convert("RGBA"))
    except (DataError, OSError):  # reading the record says so
        return 0.0
    below = array[array[..., 3] == 0][:, :3]
    alike = len(below) == 0 or bool((below == below[0]).all())
    return 0.0 if alike else len(below) / (array.shape[0] * array.shape[1])


def hidden_in_words(file: str, share: float) -> str:
    """What such photos have, what it means and the way out; `file` is one of them."""
    return (
        f"have transparent pixels with colors below them, such as {file} ({share:.0%} of it); "
        "viewers hide these colors, the network sees them; expected photos without transparency; "
        "save them on a background of one color if the objects were cut out"
    )


def hidden_colors(facts: Mapping[str, Sequence[Facts]]) -> list[Finding]:
    """A warning for each split with photos that are cut out, but keep what was cut away."""
    found = []
    for split, records in facts.items():
        cut_out = [one for one in records if one.hidden >= LEAST_HIDDEN]
        if cut_out:
            first = cut_out[0]
            found.append(
                Finding(
                    WARNING, "hidden-colors", split, first.files[0],
                    f"{split}: {len(cut_out)} of {len(records)} images "
                    + hidden_in_words(first.files[0], first.hidden),
                    first.index,
                )
            )  # fmt: skip
    return found
