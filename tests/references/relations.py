"""Values and gradients of the relation losses, and maps to try them on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.losses import (
    inter_pixel_loss,
)

NAMES = ("class_map/kl", "class_map/corr", "affinity/mse", "affinity/corr", "affinity/kl")
AFFINITIES = NAMES[2:]


@functools.cache
def value_and_grad(name, **options):
    relation, distance = name.split("/")

    def loss(student, teacher, keep, temperature):
        return inter_pixel_loss(
            student,
            teacher,
            keep,
            relation=relation,
            distance=distance,
            temperature=temperature,
            **options,
        )

    return jax.jit(jax.value_and_grad(loss))


def evaluate(name, student, teacher, keep, temperature=1.0, **options):
    compute = value_and_grad(name, **options)
    value, grad = compute(student, teacher, keep, jnp.float32(temperature))
    assert value.dtype == jnp.float32
    assert grad.dtype == student.dtype
    return float(value), np.asarray(grad, np.float64)


def draw(seed, shape, *, scale=1.0, gap=1.0, density=0.7, fractional=True):
    rng = np.random.default_rng(seed)
    teacher = (scale * rng.normal(size=shape)).astype(np.float32)
    student = (teacher + gap * rng.normal(size=shape)).astype(np.float32)
    keep = rng.random(shape[:3]) if fractional else np.ones(shape[:3])
    keep = np.where(rng.random(shape[:3]) < density, keep, 0.0).astype(np.float32)
    return student, teacher, keep
