"""Range, mean and standard deviation per channel, measured on the labeled images."""

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.catalog import assemble, load_dataset
from ipixmatch_jax.data.files.file_records import channels_of
from ipixmatch_jax.data.files.multiband import extremes, is_widened, to_eight_bits
from ipixmatch_jax.errors import DataError

# Number of labeled images measured, spread over the list, and of pixels taken from each.
_IMAGES = 256
_PIXELS = 20_000
# Images over 8 bits: values outside these quantiles are clipped, so that a few hot pixels do not
# darken all others.
_LOW, _HIGH = 0.001, 0.999
_LEAST_STD = 1e-3
# An extreme value is likely no data if its gap to the others is this many times their range.
_FAR = 2.0
# Bright images of 0 to 255 or more reach this; those of 0 to 1 end at 1.
_LEAST_WHOLE = 100.0


def with_statistics(config: ConfigDict) -> ConfigDict:
    """A copy of a whole config whose `data.mean`, `data.std` and `data.value_range` are filled in.

    With `data.statistics` `model`, or if all three are given, nothing is measured; `auto` measures
    everything except 8-bit images of three channels.

    Raises:
        DataError: a labeled image cannot be read.
    """
    data = config.data
    if data.statistics == "model" or (len(data.mean) and len(data.std)):
        return config
    measured = measure(data, config.seed)
    if not measured:
        return config
    config = config.copy_and_resolve_references()
    with config.unlocked():
        for key, value in measured.items():
            if not len(config.data[key]):
                config.data[key] = value
    return config


def with_class_weights(config: ConfigDict) -> ConfigDict:
    """A copy of a whole config whose `supervised.class_weights` are filled in.

    With `supervised.weighting` 'inverse_frequency' all classes of the labeled masks get the same
    total weight, with mean 1 over their pixels; a class without a pixel gets weight 1.

    Raises:
        DataError: a labeled mask cannot be read.
    """
    if config.supervised.weighting != "inverse_frequency":
        return config
    source = load_dataset(config.data, config.seed).labeled
    classes = config.data.num_classes
    counts = np.zeros(classes, np.int64)
    for index in range(len(source)):
        counts += np.bincount(source[index]["mask"].reshape(-1), minlength=256)[:classes]
    present = counts > 0
    weights = counts.sum() / (present.sum() * np.maximum(counts, 1))
    config = config.copy_and_resolve_references()
    with config.unlocked():
        weights = np.where(present, weights, 1.0)
        config.supervised.class_weights = tuple(float(w) for w in weights.round(6))
    return config


def measure(data: ConfigDict, seed: int) -> dict[str, tuple]:
    """`mean`, `std` and `value_range` of `config.data` from its labeled images.

    Args:
        data: `config.data`; with `statistics='auto'` the result is empty for 8-bit RGB.
        seed: seed of generated data sets.

    Returns:
        `mean` and `std` per channel for values in [0, 1]; `value_range`, (low, high) per channel,
        for images over 8 bits, else ().

    Raises:
        DataError: a labeled image cannot be read, or there is none.
    """
    dataset, problems = assemble(data, seed)
    source = dataset.labeled
    if not len(source):
        raise DataError("\n".join(problems[:5]) or "no labeled image; expected some to measure")
    first = _bands(source, 0)
    if data.statistics == "auto" and first.dtype == np.uint8 and channels_of(source) == 3:
        return {}
    picked = np.linspace(0, len(source) - 1, min(_IMAGES, len(source))).round().astype(int)
    samples = []
    for index in picked:
        pixels = _bands(source, int(index)).reshape(-1, channels_of(source))
        if pixels.dtype.kind == "f":
            pixels = pixels[np.isfinite(pixels).any(-1)]
        # One rule for all images, so that the result is the same in every process.
        samples.append(pixels[:: max(1, len(pixels) // _PIXELS)])
    values = np.concatenate([sample.astype(np.float64) for sample in samples])
    _check_opacity(values, samples)
    value_range: tuple = tuple(tuple(map(float, pair)) for pair in data.value_range)
    if any(sample.dtype != np.uint8 for sample in samples):
        # Images of 8 bits in the same set are read as they are.
        deep = [sample for sample in samples if sample.dtype != np.uint8]
        if not value_range and len(deep) < len(samples) and data.statistics != "measure":
            _check_widened(source, picked, samples)
            value_range = tuple((0.0, 65535.0) for _ in range(channels_of(source)))
        if not value_range:
            _check_scales(source, picked, samples)
        # The user may say that the deep images fill their range as those of 8 bits do.
        value_range = value_range or _range(np.concatenate(deep).astype(np.float64))
        values = np.concatenate(
            [one if one.dtype == np.uint8 else to_eight_bits(one, value_range) for one in samples]
        ).astype(np.float64)
    return {
        "mean": tuple(float(v) for v in (values.mean(0) / 255).round(6)),
        "std": tuple(float(v) for v in np.maximum(values.std(0) / 255, _LEAST_STD).round(6)),
        "value_range": value_range,
    }


def _check_opacity(values: np.ndarray, samples: list[np.ndarray]) -> None:
    """Raises DataError if the fourth band is the opacity of pictures without any."""
    eight_bit = all(sample.dtype == np.uint8 for sample in samples)
    if eight_bit and values.shape[1] == 4 and (values[:, 3] == 255).all():
        raise DataError(
            f"data.channels=4, and the fourth band of all {len(samples)} measured labeled images "
            "is 255, which is the opacity of pictures without transparency; expected images with a "
            "fourth band; set data.channels=3"
        )


def _check_widened(source, picked: np.ndarray, samples: list[np.ndarray]) -> None:
    """Raises DataError if the range of 16-bit images next to images of 8 bits is not certain."""
    for index, sample in zip(picked, samples, strict=True):
        if sample.dtype != np.uint8 and not is_widened(sample):
            low, high = extremes(sample)
            raise DataError(
                f"{source.ids[int(index)]}: {sample.dtype} pixels, {low:g} to {high:g}, and other "
                "labeled images have 8 bits; expected one depth, or the values that become 0 and "
                "255 as in the images of 8 bits; set data.value_range=((0, 65535),) if 65535 is "
                "white, or to that of the sensor, or data.statistics=measure to scale the deep "
                "images by the values that they hold"
            )


def _check_scales(source, picked: np.ndarray, samples: list[np.ndarray]) -> None:
    """Raises DataError if some images hold shares of 0 to 1, and others values of 0 to 255."""
    tops = {
        source.ids[int(index)]: float(np.quantile(finite, _HIGH))
        for index, sample in zip(picked, samples, strict=True)
        if sample.dtype != np.uint8
        and len(finite := sample[np.isfinite(sample)])
        # Negative values are measurements, no brightness.
        and finite.min() >= 0
    }
    shares = [name for name, top in tops.items() if 0.5 < top <= 1]
    others = [name for name, top in tops.items() if top >= _LEAST_WHOLE]
    if len(shares) + len(others) < len(tops) or not shares or not others:
        return
    raise DataError(
        f"{len(shares)} labeled images hold values up to {tops[shares[0]]:.3g}, as {shares[0]}, "
        f"and {len(others)} up to {tops[others[0]]:.4g}, as {others[0]}: the first would be black "
        "in the range of the others; expected one scale in all images; divide the others by their "
        "white, or set data.value_range if all are measured in one unit"
    )


def is_eight_bit(source) -> bool:
    """Whether the first image of a source has 8 bits a channel."""
    return bool(len(source)) and _bands(source, 0).dtype == np.uint8


def _bands(source, index: int) -> np.ndarray:
    return source.bands(index) if hasattr(source, "bands") else source[index]["image"]


def _range(values: np.ndarray) -> tuple[tuple[float, float], ...]:
    """(low, high) of each column of [M,C] values; those that are not finite do not count."""
    pairs = []
    for channel in values.T:
        finite = channel[np.isfinite(channel)]
        if not len(finite):
            raise DataError("a channel of the labeled images holds no finite value; leave it out")
        _check_outlier(finite)
        low, high = (float(v) for v in np.quantile(finite, (_LOW, _HIGH)))
        pairs.append((low, high if high > low else low + 1.0))
    return tuple(pairs)


def _check_outlier(values: np.ndarray) -> None:
    """Raises DataError if one extreme value, far from all others, is as frequent as no-data is."""
    for extreme in (values.min(), values.max()):
        # Sensors saturate at other values, too; these are the usual ones for no data.
        if 0 <= extreme < 1e30 and extreme not in (2**16 - 1, 2**32 - 1):
            continue
        same = values == extreme
        rest = values[~same]
        if not len(rest) or same.mean() < _LOW:
            continue
        gap = min(abs(float(extreme) - float(rest.min())), abs(float(extreme) - float(rest.max())))
        width = float(rest.max()) - float(rest.min())
        if gap > _FAR * max(width, 1e-9):
            raise DataError(
                f"{100 * same.mean():.1f} % of the pixels of the labeled images hold {extreme:g}, "
                f"all others {rest.min():g} to {rest.max():g}; it is likely no data; set "
                f"data.nodata=({extreme:g},), or data.value_range if it is a measurement"
            )


def check_statistics(data: ConfigDict) -> list[str]:
    """Faults in the keys of the statistics, one message each."""
    problems = []
    for key in ("mean", "std"):
        if len(data[key]) not in (0, data.channels):
            problems.append(
                f"data.{key} has {len(data[key])} values; expected data.channels={data.channels}"
            )
    return problems
