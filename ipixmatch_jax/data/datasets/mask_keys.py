"""How `config.data` says that the pixels of images and masks are read."""

from ml_collections import ConfigDict

from ipixmatch_jax.data.files.images import Pixels
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.errors import ConfigError


def pixels_of(data: ConfigDict) -> Pixels:
    """Channels and value range of `config.data`."""
    pairs = tuple(tuple(float(value) for value in pair) for pair in data.value_range)
    nodata = tuple(float(value) for value in data.nodata)
    return Pixels(int(data.channels), pairs, nodata, int(data.max_pixels))


def masks_of(data: ConfigDict) -> Masks:
    """How `config.data` says that masks are read.

    Raises:
        ConfigError: colored masks without a palette, or mask values that do not fit.
    """
    palette = tuple(tuple(int(c) for c in color) for color in data.palette)
    classes, values = int(data.num_classes), tuple(int(value) for value in data.mask_values)
    if values and len(values) != classes:
        raise ConfigError(
            f"data.mask_values has {len(values)} values; expected data.num_classes={classes}, one "
            "per class"
        )
    if len(set(values)) < len(values):
        raise ConfigError(
            f"data.mask_values={values} holds a value twice; expected another value for each class"
        )
    ignored = tuple(map(int, data.ignore_values))
    both = sorted({*values} & {*ignored})
    if both:
        raise ConfigError(
            f"data.mask_values={values} and data.ignore_values={ignored} both hold {both[0]}; "
            "expected the value of a class, or ignore; remove it from one of them"
        )
    if data.masks not in ("colors", "nearest"):
        return Masks(
            classes,
            palette=palette,
            style=data.masks,
            values=values,
            ignored=ignored,
            max_pixels=data.max_pixels,
        )
    if not palette:
        raise ConfigError(
            f"data.masks={data.masks!r} and data.palette is empty; expected the color of every "
            "class in data.palette"
        )
    table = {color: index for index, color in enumerate(palette)}
    table |= {tuple(int(c) for c in color): 255 for color in data.ignore_colors}
    return Masks(
        classes,
        colors=tuple(table.items()),
        style=data.masks,
        max_pixels=data.max_pixels,
        cache=str(data.folder.cache),
    )
