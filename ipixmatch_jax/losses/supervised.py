"""Losses of labeled images, by name: cross-entropy, OHEM, focal and Dice."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ipixmatch_jax.losses.checks import check_logits, check_map
from ipixmatch_jax.losses.order_statistics import kth_smallest
from ipixmatch_jax.registry import Registry

# A loss or a rate as numerator and denominator: sums over pixels or images, so that devices add up.
Ratio = tuple[jax.Array, jax.Array]

SUPERVISED_LOSSES: Registry[Callable[..., Ratio]] = Registry("supervised loss")


def pixel_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """-log p of each pixel's label: logits [B,H,W,C] float32, labels [B,H,W] int -> [B,H,W]."""
    # One-hot, because the backward pass of the integer form is a scatter.
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)
    return optax.losses.softmax_cross_entropy(logits, one_hot)


def supervised_loss(
    name: str,
    logits: jax.Array,
    mask: jax.Array,
    *,
    class_weights: Sequence[float] = (),
    axis_name: str | None = None,
    ignore: int = 255,
    **options: float,
) -> Ratio:
    """A loss of labeled images as a sum and its divisor; add both up over devices before dividing.

    Pixels of the ignore id add nothing to value, count or gradient, whatever their logits. A class
    id outside 0..C−1 that is not the ignore id makes the sum NaN: bad masks never train silently.

    Args:
        name: a name in `SUPERVISED_LOSSES`.
        logits: [B,H,W,C], any float dtype; computed in float32.
        mask: [B,H,W] integer class ids.
        class_weights: one number per class; empty means 1 for every class.
        axis_name: the mapped axis over which a loss takes the pixels of all devices together
            (OHEM's k-th smallest probability, Dice's sums); None: each device uses its own.
        ignore: the id of pixels that are not counted.
        **options: of the loss, by the keyword arguments of its function.

    Returns:
        (total, count), float32 scalars.

    Raises:
        ConfigError: unknown name.
        ValueError: shapes that do not fit together.
    """
    check_logits("logits", logits)
    check_map("mask", mask, logits)
    classes = logits.shape[-1]
    if class_weights and len(class_weights) != classes:
        raise ValueError(f"{len(class_weights)} class_weights for {classes} classes")
    mask = mask.astype(jnp.int32)
    counted = mask != ignore
    clean = jnp.where(counted[..., None], logits.astype(jnp.float32), 0.0)
    label = jnp.where(counted, mask, 0)
    weight = counted.astype(jnp.float32)
    if class_weights:
        one_hot = jax.nn.one_hot(label, classes, dtype=jnp.float32)
        # A matrix product would be rounded to fewer bits on an accelerator.
        of_class = jnp.array(class_weights, jnp.float32)[None, None, None]
        weight = weight * jnp.sum(one_hot * of_class, axis=-1)
    total, count = SUPERVISED_LOSSES[name](clean, label, weight, axis_name, **options)
    known = jnp.all(~counted | ((mask >= 0) & (mask < classes)))
    return jnp.where(known, total, jnp.nan), count


def cross_entropy(logits: jax.Array, mask: jax.Array, *, ignore: int = 255) -> Ratio:
    """Sum of the cross-entropy over counted pixels, and how many pixels were counted.

    `supervised_loss('cross_entropy', …)`, which explains the arguments. The loss of a batch is
    `total / count`; they are returned separately so that a caller can sum each over all devices
    first: then one device with batch 8 trains like eight devices with batch 1.

    Example:
        >>> total, count = cross_entropy(jnp.zeros((1, 1, 3, 4)), jnp.array([[[0, 3, 255]]]))
        >>> print(f'{total / count:.4f} over {count:.0f} pixels')
        1.3863 over 2 pixels
    """
    return supervised_loss("cross_entropy", logits, mask, ignore=ignore)


def supervised_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that a loss has.

    Raises:
        ConfigError: unknown loss.
    """
    parameters = inspect.signature(SUPERVISED_LOSSES[name]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return {key: value for key, value in options.items() if key in known}


@SUPERVISED_LOSSES.register("cross_entropy")
def _cross_entropy(logits, label, weight, axis_name) -> Ratio:
    """Mean of −log p over pixels, by their classes' weights, as PyTorch's weighted mean."""
    return jnp.sum(weight * pixel_cross_entropy(logits, label)), jnp.sum(weight)


@SUPERVISED_LOSSES.register("ohem")
def _ohem(logits, label, weight, axis_name, *, threshold=0.7, min_pixels=200_000) -> Ratio:
    """Cross-entropy of hard pixels alone: those whose class has at most `threshold` probability.

    If they are fewer than `min_pixels`, the limit is the probability of the `min_pixels`-th
    smallest; with fewer pixels than that altogether, all count (as in UniMatch's code).
    """
    losses = pixel_cross_entropy(logits, label)
    counted = weight > 0
    probability = jax.lax.stop_gradient(jnp.exp(-losses))
    limit = jnp.maximum(kth_smallest(probability, counted, min_pixels, axis_name), threshold)
    hard = jnp.where(probability <= limit, weight, 0.0)
    return jnp.sum(hard * losses), jnp.sum(hard)


@SUPERVISED_LOSSES.register("focal")
def _focal(logits, label, weight, axis_name, *, gamma=2.0) -> Ratio:
    """Mean over pixels of −(1 − p)^γ·log p (Lin et al., arXiv 1708.02002)."""
    losses = pixel_cross_entropy(logits, label)
    # 1 − p without cancellation, and never 0, where the gradient of a power is infinite.
    easy = jnp.maximum(-jnp.expm1(-losses), 1e-12)
    return jnp.sum(weight * easy**gamma * losses), jnp.sum(weight)


@SUPERVISED_LOSSES.register("dice")
def _dice(logits, label, weight, axis_name) -> Ratio:
    """Mean over the classes that occur of 1 − 2·Σ p·y / (Σ p + Σ y) (arXiv 1606.04797)."""
    probs = jax.nn.softmax(logits, axis=-1) * weight[..., None]
    truth = jax.nn.one_hot(label, logits.shape[-1], dtype=jnp.float32) * weight[..., None]
    sums = [jnp.sum(x, axis=(0, 1, 2)) for x in (probs * truth, probs, truth)]
    devices = 1.0
    if axis_name is not None:
        sums, devices = jax.lax.psum(sums, axis_name), jax.lax.psum(1.0, axis_name)
    both, predicted, true = sums
    losses = 1.0 - 2.0 * both / jnp.maximum(predicted + true, 1e-12)
    present = true > 0
    # Every device has the same sums, and gives its share of them.
    total = jnp.sum(jnp.where(present, losses, 0.0)) / devices
    return total, jnp.sum(present, dtype=jnp.float32) / devices
