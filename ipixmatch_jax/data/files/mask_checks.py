"""Explain mask values that are no class id, and masks that do not fit their image."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from ipixmatch_jax.data.records import IGNORE
from ipixmatch_jax.errors import DataError

SHOWN = 8


def histogram_text(counts: Mapping[float, int], shown: int = SHOWN) -> str:
    """The values of a mask and their shares, such as `0: 90.1 %, 128: 9.9 %`."""
    total = max(sum(counts.values()), 1)
    common = sorted(sorted(counts, key=lambda v: -counts[v])[:shown])
    text = ", ".join(f"{v:g}: {percent(counts[v] / total)}" for v in common)
    more = len(counts) - len(common)
    return text + (f" and {more} rarer values" if more > 0 else "")


def percent(share: float) -> str:
    """A share in percent with two digits, such as `9.1 %`; `100 %` only for all."""
    value = 100.0 * share
    return f"{value:.0f} %" if value >= 99.5 or value == 0 else f"{value:.2g} %"


def counts_of(values: np.ndarray) -> dict[float, int]:
    """Pixels of each value."""
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def check_mask(
    mask: np.ndarray,
    num_classes: int,
    name: str,
    palette: Sequence[Sequence[int]] = (),
) -> None:
    """Raise a DataError unless every value of `mask` [H,W] is a class id or 255."""
    counts = np.bincount(mask.ravel(), minlength=256)
    bad = [int(value) for value in np.flatnonzero(counts[:IGNORE]) if value >= num_classes]
    if not bad:
        return
    shown = ", ".join(map(str, bad[:SHOWN])) + (", …" if len(bad) > SHOWN else "")
    share = 100.0 * counts[bad].sum() / mask.size
    held = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    reason = likely_reason(np.flatnonzero(counts), num_classes, palette, name)
    raise DataError(
        f"{name}: mask value {shown} in {share:.1f} % of the pixels; expected class ids "
        f"0..{num_classes - 1} or {IGNORE} for ignore; "
        + (f"likely {reason}" if reason else "")
        + "set data.num_classes to the number of classes in the masks, or data.mask_values to the "
        f"stored value of each class, or renumber the masks; it holds {histogram_text(held)}"
    )


def likely_reason(
    values: np.ndarray, num_classes: int, palette: Sequence[Sequence[int]] = (), name: str = ""
) -> str:
    """A likely reason for these mask values, as the middle of a sentence; '' if none fits.

    Args:
        values: the distinct values of the mask.
        num_classes: class ids should be below it.
        palette: the data set's colors.
        name: the mask file.
    """
    held = {int(value) for value in values} - {IGNORE}
    grays = {_luma(color) for color in palette}
    trained = "trainid" in name.rpartition("/")[2].lower().replace("_", "")
    if num_classes == 19 and trained and max(held) == 19:
        return "void, as some tools write it in train ids: set data.ignore_values=(19,); or "
    if num_classes == 19 and max(held) <= 33 and held & set(range(19, 34)):
        return "Cityscapes labelIds in place of trainIds: use the labelTrainIds files; or "
    if len(palette) and held <= grays and len(held) > 1:
        return "the gray values of the palette's colors: save indices, not converted colors; or "
    if held <= {0, 128, 254, 1, 2} and max(held) >= 128:
        return "a binary mask with foreground written as a brightness: write it as 1; or "
    if 0 not in held and max(held) == num_classes:
        return "off by one: ids start at 1 in place of 0: subtract 1; or "
    if max(held) == num_classes and num_classes > 2:
        return "off by one, or one class more than data.num_classes: "
    return ""


def _luma(color: Sequence[int]) -> int:
    # Pillow's own conversion of colors to gray.
    return Image.new("RGB", (1, 1), tuple(int(c) for c in color)).convert("L").getpixel((0, 0))


def check_same_size(
    image: tuple[int, int],
    mask: tuple[int, int],
    image_name: str,
    mask_name: str,
    *,
    drawn: bool = False,
) -> None:
    """Raise a DataError unless (H, W) of image and mask agree.

    Args:
        image: size of the image.
        mask: size of the mask.
        image_name: the image, in the message.
        mask_name: the mask, in the message.
        drawn: the mask was drawn from annotations, which state its size.
    """
    if image == mask:
        return
    hint = "make the mask from this very image"
    if drawn:
        hint = "use the photo that was annotated, since this one was resized or is another one"
    if image == mask[::-1]:
        hint += " (the two are turned by 90°: the image's EXIF orientation is applied on reading)"
    raise DataError(
        f"{mask_name}: mask is {mask[1]}x{mask[0]} (width x height), its image {image_name} is "
        f"{image[1]}x{image[0]}; expected the same size; {hint}"
    )
