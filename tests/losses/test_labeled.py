"""OHEM, focal, Dice and class weights against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.losses import SUPERVISED_LOSSES, supervised_loss

rng = np.random.default_rng(1)
B, H, W, C = 4, 5, 6, 3
LOGITS = rng.normal(size=(B, H, W, C)).astype("f4") * 2
MASK = rng.integers(0, C, (B, H, W))
MASK[rng.random(MASK.shape) < 0.2] = 255
COUNTED = MASK != 255
PROBS = np.exp(LOGITS.astype("f8")) / np.exp(LOGITS.astype("f8")).sum(-1, keepdims=True)
TRUE = np.take_along_axis(PROBS, np.where(COUNTED, MASK, 0)[..., None], -1)[..., 0]
WEIGHTS = (0.5, 2.0, 3.5)


def ratio(name, logits=LOGITS, mask=MASK, **options):
    total, count = supervised_loss(name, jnp.asarray(logits), jnp.asarray(mask), **options)
    return float(total / count)


@pytest.mark.parametrize("weights", [(), WEIGHTS])
def test_cross_entropy_and_focal_are_the_stated_means(weights):
    w = np.array(weights or (1.0,) * C)[np.where(COUNTED, MASK, 0)] * COUNTED
    expected = (w * -np.log(TRUE)).sum() / w.sum()
    assert ratio("cross_entropy", class_weights=weights) == pytest.approx(expected, rel=1e-5)
    expected = (w * (1 - TRUE) ** 2.0 * -np.log(TRUE)).sum() / w.sum()
    assert ratio("focal", class_weights=weights, gamma=2.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("min_pixels", [1, 20, 60, 10**6])
def test_ohem_keeps_the_hard_pixels(min_pixels):
    p = TRUE[COUNTED]
    limit = 0.4
    if min_pixels > len(p):
        kept = p <= limit
    else:
        kept = p <= max(limit, np.sort(p)[min_pixels - 1])
    expected = -np.log(p[kept]).mean()
    found = ratio("ohem", threshold=limit, min_pixels=min_pixels)
    assert found == pytest.approx(expected, rel=1e-5)


def test_dice_is_the_stated_mean_over_the_classes_that_occur():
    mask = np.where(MASK == 2, 0, MASK)  # class 2 does not occur
    counted = mask != 255
    losses = []
    for c in (0, 1):
        p, y = PROBS[..., c][counted], (mask == c)[counted]
        losses.append(1 - 2 * (p * y).sum() / (p.sum() + y.sum()))
    assert ratio("dice", mask=mask) == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("name", SUPERVISED_LOSSES.names())
def test_shares_and_gradients_add_up_over_devices(name):
    options = {"min_pixels": 20, "threshold": 0.4} if name == "ohem" else {}

    def together(logits):
        total, count = supervised_loss(name, logits, jnp.asarray(MASK), **options)
        return total / count

    def apart(logits):
        def share(logits, mask):
            total, count = supervised_loss(
                name, logits[None], mask[None], axis_name="data", **options
            )
            return total / jax.lax.psum(count, "data")

        return jax.vmap(share, axis_name="data")(logits, jnp.asarray(MASK)).sum()

    one, eight = (jax.value_and_grad(f)(jnp.asarray(LOGITS)) for f in (together, apart))
    assert one[0] == pytest.approx(float(eight[0]), rel=1e-5)
    np.testing.assert_allclose(one[1], eight[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", SUPERVISED_LOSSES.names())
def test_ignored_pixels_and_sure_ones_keep_gradients_finite(name):
    sure = jnp.asarray(100.0 * jax.nn.one_hot(np.where(COUNTED, MASK, 0), C), jnp.float32)
    wild = jnp.where(jnp.asarray(COUNTED)[..., None], sure, jnp.inf)

    def loss(logits):
        total, count = supervised_loss(name, logits, jnp.asarray(MASK))
        return total / jnp.maximum(count, 1.0)

    value, grad = jax.value_and_grad(loss)(wild)
    assert np.isfinite(value) and np.isfinite(grad).all()
    assert np.all(np.asarray(grad)[~COUNTED] == 0)


@pytest.mark.parametrize("name", SUPERVISED_LOSSES.names())
def test_bad_class_ids_never_train_silently(name):
    mask = MASK.copy()
    mask[0, 0, 0] = C
    assert np.isnan(ratio(name, mask=mask))


def test_class_weights_must_fit():
    with pytest.raises(ValueError, match="2 class_weights for 3 classes"):
        ratio("cross_entropy", class_weights=(1.0, 2.0))
