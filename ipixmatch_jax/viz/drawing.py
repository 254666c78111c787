"""Draws class maps: in color, over the photo, with a legend, and as error maps."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ipixmatch_jax.data import IGNORE, displayable

_LEAST_LEGEND_WIDTH = 180
_WRONG = (220, 40, 40)
_GAP = 4


def colored(mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """A class map in the colors of its classes, uint8 [H, W, 3]; ignored pixels are white."""
    colors = np.full((256, 3), 255, np.uint8)
    colors[: len(palette)] = palette
    return colors[mask]


def indexed(mask: np.ndarray, palette: np.ndarray) -> Image.Image:
    """A class map as a palette image: pixel values are class ids, viewers show the colors."""
    image = Image.fromarray(mask, "P")
    image.putpalette(np.ascontiguousarray(palette, np.uint8).tobytes())
    return image


def grayscale(confidence: np.ndarray) -> Image.Image:
    """Values [H, W] in [0, 1] as gray levels 0 to 255."""
    return Image.fromarray((255 * confidence).round().astype(np.uint8))


def side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images uint8 [H, ·, 3] of equal height next to each other, with white gaps between."""
    gap = np.full((images[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([part for one in images for part in (one, gap)][:-1], axis=1)


def overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The image blended with the colors of its class map, uint8 [H, W, 3]."""
    mixed = 0.45 * displayable(image).astype(np.float32) + 0.55 * colored(mask, palette)
    return mixed.round().astype(np.uint8)


def error_map(image: np.ndarray, predicted: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image in pale colors with wrong pixels in red, uint8 [H, W, 3].

    Ignored pixels never count as wrong.
    """
    wrong = (predicted != mask) & (mask != IGNORE)
    pale = displayable(image) // 3 + 120
    return np.where(wrong[..., None], np.uint8(_WRONG), pale)


def captioned(image: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """An image uint8 [H, W, 3] of equal columns, with the caption of each column above it."""
    width = image.shape[1] / len(captions)
    size = int(np.clip(width / 14, 12, 40))
    font = ImageFont.load_default(size)
    top = round(1.6 * size)
    canvas = Image.new("RGB", (image.shape[1], image.shape[0] + top), "white")
    canvas.paste(Image.fromarray(image), (0, top))
    draw = ImageDraw.Draw(canvas)
    for number, caption in enumerate(captions):
        draw.text(((number + 0.5) * width, top / 2), caption, "#222", font, anchor="mm")
    return np.asarray(canvas)


def with_legend(
    image: np.ndarray,
    mask: np.ndarray,
    class_names: Sequence[str],
    palette: np.ndarray,
    other: np.ndarray | None = None,
) -> np.ndarray:
    """An image uint8 [H, W, 3] with a legend below: the classes of its map and their shares.

    An image that is narrower than the legend gets a white margin on the right. Classes that only
    the map `other` holds are listed too.
    """
    counts = np.bincount(mask.reshape(-1), minlength=256)[: len(class_names)]
    shown = set(np.unique(mask if other is None else np.stack([mask, other])).tolist())
    present = [int(i) for i in np.argsort(-counts, kind="stable") if i in shown]
    size = int(np.clip(image.shape[1] / 45, 12, 48))
    font = ImageFont.load_default(size)
    texts = [f"{class_names[i]}  {100 * counts[i] / mask.size:.1f} %" for i in present]
    entries = [round(2 * size + font.getlength(text)) for text in texts]
    width = max(image.shape[1], _LEAST_LEGEND_WIDTH, *(e + size for e in entries), 0)
    places, row, at = [], 0, size // 2
    for entry in entries:
        if at + entry > width and at > size // 2:
            row, at = row + 1, size // 2
        places.append((row, at))
        at += entry + size // 2
    line = round(1.6 * size)
    canvas = Image.new("RGB", (width, image.shape[0] + (row + 1) * line + size // 2), "white")
    canvas.paste(Image.fromarray(image))
    draw = ImageDraw.Draw(canvas)
    for (row, at), text, index in zip(places, texts, present, strict=True):
        top = image.shape[0] + row * line + size // 2
        box = (at, top, at + size, top + size)
        draw.rectangle(box, fill=tuple(map(int, palette[index])), outline=(130, 130, 130))
        draw.text((at + round(1.5 * size), top + size // 2), text, "#222", font, anchor="lm")
    return np.asarray(canvas)
