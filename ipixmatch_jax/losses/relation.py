"""Inter-pixel relation losses: the student matches how the teacher's pixels relate to each other.

A relation is a function `(student_logits, teacher_logits, keep, *, temperature) -> values`, entered
in `RELATIONS` under 'relation/distance'. `relation_loss` calls it with logits [B,H,W,C] and keep
[B,H,W], all float32: no gradient on teacher and keep, and zero logits where keep is 0. It returns
one value an image, [B] float32, and need not care about images with too few pixels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import class_map
from ipixmatch_jax.losses.checks import check_map, check_pair
from ipixmatch_jax.registry import Registry

RELATIONS: Registry[Callable[..., jax.Array]] = Registry("relation")
RELATIONS.register("class_map/kl")(class_map.kl)
RELATIONS.register("class_map/corr")(class_map.corr)


def relation_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    keep: jax.Array,
    *,
    relation: str,
    distance: str,
    temperature: float = 1.0,
    min_pixels: int = 2,
) -> tuple[jax.Array, jax.Array]:
    """Sum of a relation's values over images with enough pixels, and how many images those are.

    Pixels of weight 0 change nothing, neither value nor gradient, whatever their logits.

    Args:
        student_logits: [B,H,W,C], any float dtype; computed in float32.
        teacher_logits: [B,H,W,C]; no gradient flows to it.
        keep: [B,H,W] weights in [0, 1] (or bool), usually the confident, valid pixels.
        relation: what is compared, for example 'class_map'.
        distance: how, for example 'kl' or 'corr'.
        temperature: of the relation's softmax, above 0; distances without one ignore it.
        min_pixels: an image counts when at least so many of its pixels (and one) have keep > 0.

    Returns:
        (total, count), float32 scalars.

    Raises:
        ConfigError: unknown relation or distance, temperature not above 0.
        ValueError: shapes that do not fit together, fewer than two classes.
    """
    compare = RELATIONS[f"{relation}/{distance}"]
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ConfigError(f"relation.temperature is {temperature}; expected a number above 0")
    check_pair(student_logits, teacher_logits)
    check_map("keep", keep, student_logits)
    teacher_logits, keep = jax.lax.stop_gradient((teacher_logits, keep.astype(jnp.float32)))
    kept = keep > 0
    student_logits, teacher_logits = (
        jnp.where(kept[..., None], logits.astype(jnp.float32), 0.0)
        for logits in (student_logits, teacher_logits)
    )
    keep = jnp.where(kept, keep, 0.0)
    values = compare(student_logits, teacher_logits, keep, temperature=temperature)
    enough = jnp.sum(kept, axis=(1, 2)) >= max(min_pixels, 1)
    return jnp.sum(jnp.where(enough, values, 0.0)), jnp.sum(enough, dtype=jnp.float32)


def inter_pixel_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    keep: jax.Array,
    *,
    relation: str = "class_map",
    distance: str = "kl",
    temperature: float = 1.0,
    min_pixels: int = 2,
) -> jax.Array:
    r"""Inter-pixel relation loss of a batch: the mean over images that have enough pixels.

    With P, Q the teacher's and student's class probabilities of one image, Z, Y their logits, m the
    weights `keep` and T the temperature:

    .. math::
        \text{class\_map/kl} &= T^2 \, \tfrac1C \sum_c \mathrm{KL}(p_c \,\|\, q_c), \quad
            p_c = \mathrm{softmax}_i(Z_{ic}/T + \log m_i), \;
            q_c = \mathrm{softmax}_i(Y_{ic}/T + \log m_i) \\
        \text{class\_map/corr} &= \tfrac1C \sum_c (1 - \rho_c), \quad
            \rho_c \text{ the } m\text{-weighted Pearson correlation of } P_{\cdot c}, Q_{\cdot c}

    A batch without a single image that has enough pixels gives 0, with zero gradient. Add the loss,
    times a weight, to any teacher-student loss; to average over several devices, sum the two
    numbers of `relation_loss` over them instead.

    Args:
        student_logits: [B,H,W,C], any float dtype; computed in float32.
        teacher_logits: [B,H,W,C]; no gradient flows to it.
        keep: [B,H,W] weights in [0, 1] (or bool), usually the confident, valid pixels.
        relation: what is compared.
        distance: how it is compared.
        temperature: T, above 0.
        min_pixels: an image counts when at least so many of its pixels (and one) have keep > 0.

    Returns:
        float32 scalar, at least 0.

    Raises:
        ConfigError: unknown relation or distance, temperature not above 0.
        ValueError: shapes that do not fit together, fewer than two classes.

    Reference:
        Wu, Li, Xiao. IPixMatch: Boost Semi-supervised Semantic Segmentation with Inter-Pixel
        Relation. arXiv 2404.18891.

    Example:
        >>> student = jnp.array([[[[2.0, 0.0], [0.0, 2.0]]]])  # [B=1, H=1, W=2, C=2]
        >>> keep = jnp.ones((1, 1, 2))
        >>> print(f'{inter_pixel_loss(student, 3 * student, keep):.4f}')
        0.1146
        >>> print(f'{inter_pixel_loss(student, -student, keep, distance="corr"):.4f}')
        2.0000
    """
    total, count = relation_loss(
        student_logits,
        teacher_logits,
        keep,
        relation=relation,
        distance=distance,
        temperature=temperature,
        min_pixels=min_pixels,
    )
    return total / jnp.maximum(count, 1.0)
