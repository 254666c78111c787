import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.views import Views, augment, normalize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIEWS = Views(MEAN, STD)


def draw(batch=6, size=(10, 12)):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, *size, 3)).astype(np.uint8)
    return images, rng.integers(0, 2**32, (batch, 2), dtype=np.uint32)


@jax.jit
def strong(images, keys, view=0):
    return VIEWS.strong(images, keys, view)


@jax.jit
def box(keys, view=0):
    return VIEWS.box(keys, 10, 12, view)


def plain(**changes):
    nothing = {"jitter_probability": 0.0, "gray_probability": 0.0, "blur_probability": 0.0}
    return Views((0.0,) * 3, (1.0,) * 3, **{**nothing, **changes})


def test_weak_is_the_normalized_image():
    images, _ = draw()
    found = jax.jit(VIEWS.weak)(images)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, (images / 255 - MEAN) / STD, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        normalize(images[0] / np.float32(255), MEAN, STD), found[0], 1e-5, 1e-6
    )


def test_strong_without_any_change_is_weak():
    images, keys = draw()
    found = jax.jit(plain().strong)(images, keys)
    np.testing.assert_allclose(found, images / 255, rtol=1e-6)


def test_strong_images_stay_in_range_and_differ():
    images, keys = draw()
    found = np.asarray(strong(images, keys))
    assert found.shape == images.shape
    assert found.dtype == np.float32
    unit = found * STD + MEAN
    assert unit.min() > -1e-5 and unit.max() < 1 + 1e-5
    changed = np.any(np.abs(unit - images / 255) > 1e-3, axis=(1, 2, 3))
    assert changed.mean() > 0.5


@pytest.mark.parametrize("which", ["strong", "box"])
def test_a_record_is_the_same_wherever_it_stands(which):
    images, keys = draw()
    of = strong if which == "strong" else (lambda images, keys: box(keys))
    together = np.asarray(of(images, keys), np.float32)
    backwards = np.asarray(of(images[::-1], keys[::-1]), np.float32)[::-1]
    np.testing.assert_allclose(backwards, together, atol=1e-5)
    alone = of(images[4:5], keys[4:5])
    np.testing.assert_allclose(alone[0], together[4], atol=1e-5)


def test_views_of_one_record_are_independent_and_repeatable():
    images, keys = draw()
    first, second = strong(images, keys, 0), strong(images, keys, 1)
    np.testing.assert_array_equal(strong(images, keys, 0), first)
    assert np.sum(np.any(first != second, axis=(1, 2, 3))) >= 5
    many = np.random.default_rng(1).integers(0, 2**32, (300, 2), dtype=np.uint32)
    exists = [np.any(box(many, view), axis=(1, 2)) for view in (0, 1)]
    both = np.mean(exists[0] & exists[1])
    assert both == pytest.approx(0.25, abs=0.08)


def test_no_two_uses_of_a_record_share_a_stream():
    _, keys = draw(1)
    streams = [augment._streams(keys, view, use) for view in range(4) for use in (0, 1)]
    assert len({np.asarray(jax.random.key_data(s)).tobytes() for s in streams}) == 8


def test_boxes_follow_the_fields():
    _, keys = draw()
    square = plain(cutmix_probability=1.0, cutmix_area=(0.3, 0.3), cutmix_ratio=(1.0, 1.0))
    areas = np.sum(jax.jit(lambda keys: square.box(keys, 10, 12))(keys), axis=(1, 2))
    np.testing.assert_array_equal(areas, 36)


def test_wrong_kinds_of_input_are_named():
    images, keys = draw()
    with pytest.raises(ValueError, match=r"uint8 \[B,H,W,3\]"):
        VIEWS.weak(images.astype(np.float32))
    with pytest.raises(ValueError, match=r"uint8 \[B,H,W,3\]"):
        VIEWS.strong(images[0], keys)
    with pytest.raises(ValueError, match=r"uint32 \[B,2\]"):
        VIEWS.box(keys.astype(np.int32), 10, 12)
