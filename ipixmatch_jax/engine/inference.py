"""Logits of images of any size: whole, in windows or resized; for evaluation and predictions."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.keys import Key, Table, defaults_of
from ipixmatch_jax.methods import Network
from ipixmatch_jax.models.layers import resize_bilinear

Size = tuple[int, int]

MODES = ("whole", "sliding", "resize")
BORDERS = ("shift", "clip")
ABSENT = ("skip", "zero")
_CHOICES = {"mode": MODES, "border": BORDERS, "absent": ABSENT}


EVAL_KEYS: Table = {
    "mode": Key("whole", "whole images, sliding windows, or images resized", choices=MODES),
    "window": Key(
        (0, 0), "mode sliding: (height, width) of a window; (0, 0): data.crop_size",
        length=2, least=0, most=65536,
    ),
    "border": Key(
        "shift", "mode sliding: windows at the border are moved back inside, or clipped",
        choices=BORDERS,
    ),
    "size": Key(
        (0, 0), "mode resize: (height, width); (0, 0): the nearest size that the model takes",
        length=2, least=0, most=65536,
    ),
    "scales": Key((1.0,), "scales to average over", above=0, most=100, shortest=1),
    "flip": Key(False, "average over the mirrored image too"),
    "shapes": Key(
        4, "most programs to compile: images of more sizes share frames, with equal results; 0: "
        "one for each size",
        least=0, most=65536,
    ),
    "absent": Key(
        "skip", "IoU of a class that is neither true nor predicted: left out of the mean, or 0",
        choices=ABSENT,
    ),
}  # fmt: skip


def eval_defaults() -> dict[str, Any]:
    """The keys of `config.eval` with their defaults."""
    return defaults_of(EVAL_KEYS)


@dataclasses.dataclass(frozen=True)
class Inference:
    """How logits of whole images are computed.

    Attributes:
        mode: `whole`, `sliding` or `resize`.
        window: (height, width) of the windows of `sliding`.
        border: for `sliding`: `shift` (UniMatch V2) or `clip` (UniMatch, CorrMatch).
        size: (height, width) for `resize`; (0, 0) is the image's own.
        scales: factors of the image's size, one pass each.
        flip: true to average with the mirrored image at each scale.
        shapes: most frames in which images of many sizes are evaluated; 0: each size alone.
        multiple: height and width of the model's input must be multiples of it. Images of other
            sizes are resized to the nearest multiple, and their logits back.
        frame_multiple: sides of the model's frames are multiples of it; 0: it cannot use frames.
        smallest_side: least height and width of the model's input.
    """

    mode: str = "whole"
    window: Size = (0, 0)
    border: str = "shift"
    size: Size = (0, 0)
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    shapes: int = 4
    multiple: int = 1
    frame_multiple: int = 0
    smallest_side: int = 1

    @property
    def name(self) -> str:
        """A name for files and tables, such as `sliding-801x801-clip-flip`."""
        parts = [self.mode]
        if self.mode == "sliding":
            parts += ["{}x{}".format(*self.window), self.border]
        if self.mode == "resize" and self.size != (0, 0):
            parts.append("{}x{}".format(*self.size))
        if self.scales != (1.0,):
            parts.append("scales" + "_".join(f"{scale:g}" for scale in self.scales))
        parts += ["flip"] * self.flip
        return "-".join(parts)

    def input_size(self, size: Size) -> Size:
        """The size that the model gets for an image or a window of this size."""
        if self.mode == "resize" and self.size != (0, 0):
            size = self.size
        return tuple(max(int(side / self.multiple + 0.5), 1) * self.multiple for side in size)

    def passes(self, size: Size) -> list[tuple[Size, bool]]:
        """(size of the scaled image, mirrored or not) of every pass over an image."""
        scaled = [scaled_size(size, scale) for scale in self.scales]
        return [(one, flip) for one in scaled for flip in self.flips]

    @property
    def flips(self) -> tuple[bool, ...]:
        """Mirrored or not, of the passes at each scale."""
        return (False, True)[: 1 + self.flip]


def scaled_size(size: Size, scale: float) -> Size:
    """The size of an image that is scaled by one of `Inference.scales`."""
    return tuple(max(round(side * scale), 1) for side in size)


def make_inference(
    options: Mapping[str, Any], crop_size: Size, model: nn.Module | None = None
) -> Inference:
    """The inference of `config.eval`.

    Args:
        crop_size: `config.data.crop_size`, the window where none is given.
        model: asked for the sizes that it takes; None: it takes all.

    Raises:
        ConfigError: an invalid value; the message names the key.
    """
    for key, known in _CHOICES.items():
        if options[key] not in known:
            raise ConfigError(f"eval.{key} is {options[key]!r}; expected one of {', '.join(known)}")
    scales = tuple(map(float, options["scales"]))
    if not scales or min(scales) <= 0:
        raise ConfigError(f"eval.scales is {scales}; expected positive numbers, as (0.75, 1.0)")
    if options["shapes"] < 0:
        raise ConfigError(f"eval.shapes is {options['shapes']}; expected a number such as 4, or 0")
    window, size = _size(options, "window"), _size(options, "size")
    mode = options["mode"]
    if mode == "resize" and size != (0, 0) and scales != (1.0,):
        raise ConfigError(
            f"eval.size is {size}, at which all of eval.scales={scales} would be the same; "
            "expected eval.size=(0, 0), or one scale of 1"
        )
    return Inference(
        mode=mode,
        window=tuple(map(int, crop_size)) if window == (0, 0) else window,
        border=options["border"],
        size=size,
        scales=scales,
        flip=bool(options["flip"]),
        shapes=int(options["shapes"]),
        multiple=size_multiple(model),
        frame_multiple=getattr(model, "frame_multiple", 0),
        smallest_side=getattr(model, "smallest_side", 1),
    )


def size_multiple(model: nn.Module | None) -> int:
    """The number that height and width of a model's images must be multiples of."""
    return getattr(model, "size_multiple", 1)


def _size(options: Mapping[str, Any], key: str) -> Size:
    size = tuple(options[key])
    if len(size) != 2 or any(side != int(side) or side < 0 for side in size):
        raise ConfigError(f"eval.{key} is {size}; expected (height, width)")
    if (size[0] == 0) != (size[1] == 0):
        raise ConfigError(f"eval.{key} is {size}; expected two positive numbers, or (0, 0)")
    return tuple(map(int, size))


class Predicts(Protocol):
    """Anything with the `predict` of a `Network`."""

    def predict(self, images: jax.Array) -> Any: ...


def predict_logits(
    network: Network | Predicts, images: jax.Array, inference: Inference
) -> jax.Array:
    """Logits [B,H,W,C] float32 of images [B,H,W,D], normalized floats, at their own size.

    With a single pass they are the network's. Over windows, scales and mirror images the
    probabilities are averaged, and the softmax of the returned logits is that mean. Every
    resize is bilinear with aligned corners.
    """
    size = images.shape[1:3]
    passes = inference.passes(size)
    return mean_of_passes([_one_pass(network, images, inference, *one) for one in passes])


def mean_of_passes(logits: Sequence[jax.Array]) -> jax.Array:
    """Logits whose softmax is the mean of the passes' probabilities; a single pass stays as is."""
    if len(logits) == 1:
        return logits[0]
    return _log(sum(map(jax.nn.softmax, logits)) / len(logits))


def _one_pass(
    network: Predicts, images: jax.Array, inference: Inference, scaled: Size, flip: bool
) -> jax.Array:
    size = images.shape[1:3]
    images = resize_bilinear(images, scaled)
    images = images[:, :, ::-1] if flip else images
    find = _windows if inference.mode == "sliding" else _forward
    logits = find(network, images, inference)
    logits = logits[:, :, ::-1] if flip else logits
    return resize_bilinear(logits, size)


def _forward(network: Predicts, images: jax.Array, inference: Inference) -> jax.Array:
    size = images.shape[1:3]
    images = resize_bilinear(images, inference.input_size(size))
    logits = network.predict(images).logits.astype(jnp.float32)
    return resize_bilinear(logits, size)


def _windows(network: Predicts, images: jax.Array, inference: Inference) -> jax.Array:
    batch, *size, channels = images.shape
    plan = window_plan(size, inference.window, inference.border)
    total = None
    for window, starts in plan.items():
        shape = (batch, *window, channels)
        if total is None:
            crop = jax.ShapeDtypeStruct(shape, images.dtype)
            logits = jax.eval_shape(lambda x: _forward(network, x, inference), crop)
            total = jnp.zeros((batch, *size, logits.shape[-1]), jnp.float32)

        def add(total, start, shape=shape):
            at = (0, *start, 0)
            crop = jax.lax.dynamic_slice(images, at, shape)
            probs = jax.nn.softmax(_forward(network, crop, inference))
            before = jax.lax.dynamic_slice(total, at, probs.shape)
            return jax.lax.dynamic_update_slice(total, before + probs, at), None

        # A loop holds the network once for all windows of a size, however many there are.
        rows, columns = (jnp.asarray(axis, jnp.int32) for axis in zip(*starts, strict=True))
        total, _ = jax.lax.scan(add, total, (rows, columns))
    # The number of windows over a pixel adds a constant to its logits, which softmax ignores.
    return _log(total)


def window_plan(size: Size, window: Size, border: str) -> dict[Size, list[tuple[int, int]]]:
    """The windows of an image: size of a window → (row, column) of the first pixel of each.

    Neighbors are ⌊2/3⌋ of a window apart. At the end of the image they are clipped to what is
    left (`clip`: UniMatch, CorrMatch), or move back until they fit (`shift`: UniMatch V2).
    """
    rows, columns = (_spans(*axis, border) for axis in zip(size, window, strict=True))
    plan: dict[Size, list[tuple[int, int]]] = {}
    for row, height in rows:
        for column, width in columns:
            plan.setdefault((height, width), []).append((row, column))
    return plan


def _spans(length: int, window: int, border: str) -> list[tuple[int, int]]:
    """(start, length) of the windows along one side."""
    step = max(2 * window // 3, 1)
    if border == "clip":
        return [(at, min(window, length - at)) for at in range(0, length, step)]
    window = min(window, length)
    last = length - window
    return [(at, window) for at in (*range(0, last, step), last)]


def _log(probs: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(probs, jnp.finfo(jnp.float32).tiny))
