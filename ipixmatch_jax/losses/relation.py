"""Inter-pixel relation losses: the student matches how the teacher's pixels relate to each other.

A relation is a function `(student, teacher, keep, *, option, …) -> values`, entered in `RELATIONS`
under 'relation/distance'. `relation_loss` calls it with maps [B,H,W,C] and keep [B,H,W], all
float32: no gradient on teacher and keep, and zeros in both maps where keep is 0. It returns one
value per image, [B] float32; images with too few pixels are left out afterwards. It is given the
options that its signature names: `temperature`, `classes` ([B,C] float32, 1 for classes that
count), `on`, `cosine`, `stride`, and any others that the caller sets.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import affinity, class_map
from ipixmatch_jax.losses.checks import check_map, check_pair
from ipixmatch_jax.registry import Registry, nearest

RELATIONS: Registry[Callable[..., jax.Array]] = Registry("relation")
RELATIONS.register("class_map/kl")(class_map.kl)
RELATIONS.register("class_map/corr")(class_map.corr)
RELATIONS.register("affinity/mse")(affinity.mse)
RELATIONS.register("affinity/corr")(affinity.corr)
RELATIONS.register("affinity/kl")(affinity.kl)

# Defaults of the options; a relation whose signature lacks an option behaves like its default.
RELATION_OPTIONS = {"classes": "all", "on": "probs", "cosine": False, "stride": 1}


def relation_options(relation: str, distance: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a relation's function is called with.

    Raises:
        ConfigError: unknown relation or distance; an option that the relation does not have, a
            value that it cannot have, or two that exclude each other.
    """
    name = f"{relation}/{distance}"
    known = [
        key
        for key, parameter in inspect.signature(RELATIONS[name]).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    chosen = RELATION_OPTIONS | dict(options)
    for key, value in chosen.items():
        if key not in known and key != "temperature" and value != RELATION_OPTIONS.get(key):
            raise ConfigError(
                f"relation {name!r} has no option {key!r}{nearest(key, known)}; "
                f"its options: {', '.join(sorted(known))}"
            )
    temperature = chosen.get("temperature", 1.0)
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ConfigError(f"relation.temperature is {temperature}; expected a number above 0")
    for key, values in {"classes": ("all", "present"), "on": ("probs", "features")}.items():
        if chosen[key] not in values:
            raise ConfigError(
                f"relation.{key} is {chosen[key]!r}; expected {' or '.join(map(repr, values))}"
            )
    if chosen["on"] == "features" and chosen["classes"] == "present":
        raise ConfigError("relation.classes='present' needs relation.on='probs'")
    stride = chosen["stride"]
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        raise ConfigError(f"relation.stride is {stride!r}; expected a whole number of at least 1")
    return {key: value for key, value in chosen.items() if key in known}


def relation_loss(
    student_logits: jax.Array,
    teacher_logits: jax.Array,
    keep: jax.Array,
    *,
    relation: str,
    distance: str,
    temperature: float = 1.0,
    min_pixels: int = 2,
    **options: Any,
) -> tuple[jax.Array, jax.Array]:
    """Sum of a relation's values over images with enough pixels, and how many images those are.

    `inter_pixel_loss` is their quotient and explains the arguments; this form is for a caller who
    sums both over several devices first.

    Returns:
        (total, count), float32 scalars.
    """
    chosen = relation_options(relation, distance, {"temperature": temperature, **options})
    check_pair(student_logits, teacher_logits, least=1 if options.get("on") == "features" else 2)
    check_map("keep", keep, student_logits)
    teacher_logits, keep = jax.lax.stop_gradient((teacher_logits, keep.astype(jnp.float32)))
    kept = keep > 0
    student_logits, teacher_logits = (
        jnp.where(kept[..., None], logits.astype(jnp.float32), 0.0)
        for logits in (student_logits, teacher_logits)
    )
    keep = jnp.where(kept, keep, 0.0)
    if "classes" in chosen:
        chosen["classes"] = _classes(teacher_logits, kept, chosen["classes"])
    values = RELATIONS[f"{relation}/{distance}"](student_logits, teacher_logits, keep, **chosen)
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
    **options: Any,
) -> jax.Array:
    """Inter-pixel relation loss of a batch: the mean over images that have enough pixels.

    With P, Q the teacher's and student's class probabilities of one image, Z, Y their logits, m the
    weights `keep`, n = Σ m, T the temperature, and A = P Pᵀ, B = Q Qᵀ the affinities of all pairs:

        class_map/kl    T² · mean over c of KL(p_c ‖ q_c), p_c = softmax over i of Z_ic/T + log m_i,
                        q_c the same of Y
        class_map/corr  mean over c of 1 − ρ_c, the m-weighted Pearson correlation of P_ic and Q_ic
                        over i
        affinity/mse    sum over i, j of m_i m_j (A_ij − B_ij)², divided by n²
        affinity/corr   1 − ρ, the Pearson correlation of all A_ij and B_ij, weighted by m_i m_j
        affinity/kl     T²/n · sum over i of m_i KL(a_i ‖ b_i), a_i = softmax over j of
                        A_ij/T + log m_j, b_i the same of B

    A batch without a single image that has enough pixels gives 0, with zero gradient. Pixels of
    weight 0 change nothing, neither value nor gradient, whatever their logits. Add the loss, times
    a weight, to any teacher-student loss; to average over several devices, sum the two numbers of
    `relation_loss` over them instead.

    Args:
        student_logits: [B,H,W,C], any float dtype; computed in float32.
        teacher_logits: [B,H,W,C]; no gradient flows to it.
        keep: [B,H,W] weights in [0, 1] (or bool), usually the confident, valid pixels.
        relation: what is compared, `class_map` or `affinity`, or one of your own.
        distance: how it is compared.
        temperature: T, above 0; distances without one ignore it.
        min_pixels: an image counts if at least this many of its pixels, and one, have keep > 0.
        **options: of the relation:

            - `classes='present'` leaves out the classes that the teacher predicts at no kept pixel
              of the image (every relation).
            - `cosine=True` divides each pixel's vector by its length first (`affinity`).
            - `stride=s` pools both maps over windows of s × s pixels first (`affinity`).
            - `on='features'` compares feature vectors, given in place of the logits, C ≥ 1
              (`affinity`).
            - `block` rows of the affinity at once; None chooses from the shapes (`affinity/kl`).

    Returns:
        float32 scalar, at least 0.

    Raises:
        ConfigError: unknown relation, distance or option, or a value that it cannot have.
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
        >>> names = {"relation": "affinity", "distance": "mse"}
        >>> print(f'{inter_pixel_loss(0 * student, student, keep, **names):.4f}')
        0.0841
    """
    total, count = relation_loss(
        student_logits,
        teacher_logits,
        keep,
        relation=relation,
        distance=distance,
        temperature=temperature,
        min_pixels=min_pixels,
        **options,
    )
    return total / jnp.maximum(count, 1.0)


def _classes(teacher_logits: jax.Array, kept: jax.Array, which: str) -> jax.Array:
    """[B,C] float32: 1 for `all` classes, or for those that the teacher predicts at kept pixels."""
    if which == "all":
        return jnp.ones_like(teacher_logits[:, 0, 0])
    predicted = jax.nn.one_hot(jnp.argmax(teacher_logits, axis=-1), teacher_logits.shape[-1])
    return jnp.max(jnp.where(kept[..., None], predicted, 0.0), axis=(1, 2))
