import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods import METHODS, Network, make_method
from ipixmatch_jax.views import Views

B, H, W = 4, 12, 10


class Painter(nn.Module):
    """Two classes; the logits of a pixel are its own normalized red and green."""

    @nn.compact
    def __call__(self, images, train=False):
        return self.decode(self.encode(images, train), images.shape[1:3], train)

    def encode(self, images, train=False):
        seen = self.variable("batch_stats", "seen", lambda: jnp.zeros(()))
        if train and not self.is_initializing():
            seen.value = seen.value + images.mean()
        return (images,)

    def decode(self, features, size, train=False):
        self.sow("intermediates", "decoder", features[0])
        return features[0][..., :2]


def network(seen: float = 0.0) -> Network:
    return Network(Painter(), {}, {"seen": jnp.asarray(seen)})


def views(probability: float) -> Views:
    return Views(
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        jitter_probability=0.0,
        gray_probability=0.0,
        blur_probability=0.0,
        cutmix_probability=probability,
    )


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)

    def records(low, high):
        return {
            "image": rng.integers(low, high, (B, H, W, 3), dtype=np.uint8),
            "valid": rng.random((B, H, W)) < 0.5,
            "key": rng.integers(0, 2**32, (B, 2), dtype=np.uint32),
        }

    # Unlabeled images are dark and their partners bright, so that a pixel tells where it is from.
    return jax.tree.map(
        jnp.asarray,
        {"labeled": records(0, 256), "unlabeled": records(0, 100), "mix": records(150, 256)},
    )


@pytest.mark.slow
def test_cutmix_moves_image_soft_map_and_valid_map_by_one_box(batch):
    (term,) = make_method("fixmatch", {})(network(), network(), views(1.0), batch).terms
    box = views(1.0).box(batch["unlabeled"]["key"], H, W)
    assert 0 < box.mean() < 1
    mixed = jnp.where(box[..., None], batch["mix"]["image"], batch["unlabeled"]["image"])
    expected = np.asarray(mixed[..., :2], np.float32) / np.float32(255)
    # Painter shows what it sees: the student the mixed strong view, the teacher's map is mixed.
    np.testing.assert_allclose(term.student_logits, expected, rtol=1e-6)
    np.testing.assert_allclose(term.teacher_logits, expected, rtol=1e-6)
    valid = jnp.where(box, batch["mix"]["valid"], batch["unlabeled"]["valid"])
    np.testing.assert_array_equal(term.valid, valid)


def test_features_that_are_asked_for_are_mixed_by_the_same_box(batch):
    class Halved(Painter):
        """Shows every second pixel as its feature map."""

        def decode(self, features, size, train=False):
            self.sow("intermediates", "half", features[0][:, ::2, ::2])
            return features[0][..., :2]

    plain = network()
    maps = ("half",)
    student = Network(Halved(), {}, plain.batch_stats, maps)
    (term,) = make_method("fixmatch", {})(student, student, views(1.0), batch).terms
    height, width = (np.round(np.linspace(0, n - 1, -(-n // 2))).astype(int) for n in (H, W))
    box = views(1.0).box(batch["unlabeled"]["key"], H, W)[:, height][:, :, width]
    inside, outside = (
        np.asarray(batch[name]["image"], np.float32)[:, ::2, ::2] / np.float32(255)
        for name in ("mix", "unlabeled")
    )
    expected = np.where(box[..., None], inside, outside)
    np.testing.assert_allclose(term.teacher_features["half"], expected, rtol=1e-6)
    mixed = term.student_features["half"]
    assert mixed.shape == expected.shape
    np.testing.assert_allclose(mixed[..., :2], term.student_logits[:, ::2, ::2], rtol=1e-6)


def test_without_a_box_the_partner_is_not_seen(batch):
    (term,) = make_method("fixmatch", {})(network(), network(), views(0.0), batch).terms
    expected = np.asarray(batch["unlabeled"]["image"][..., :2], np.float32) / np.float32(255)
    np.testing.assert_allclose(term.teacher_logits, expected, rtol=1e-6)
    np.testing.assert_array_equal(term.valid, batch["unlabeled"]["valid"])


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, ["labeled"]),
        ({"running_statistics": "all"}, ["labeled", "strong"]),
        ({"norm_groups": "joint"}, ["joint"]),
    ],
)
def test_which_passes_feed_the_running_statistics(batch, options, passes):
    output = make_method("fixmatch", options)(network(), network(7.0), views(0.0), batch)
    labeled, strong = (
        np.asarray(batch[name]["image"], np.float64) / 255 for name in ("labeled", "unlabeled")
    )
    means = {
        "labeled": labeled.mean(),
        "strong": strong.mean(),
        "joint": np.concatenate([labeled, strong]).mean(),
    }
    expected = sum(means[name] for name in passes)
    np.testing.assert_allclose(output.batch_stats["seen"], expected, rtol=1e-5)


def test_the_labeler_is_a_choice(batch):
    class Offset(Painter):
        @nn.compact
        def __call__(self, images, train=False):
            bias = self.param("bias", nn.initializers.zeros, ())
            return images[..., :2] + bias

    student = Network(Offset(), {"bias": jnp.asarray(1.0)}, {})
    teacher = Network(Offset(), {"bias": jnp.asarray(5.0)}, {})
    by = {
        labeler: make_method("fixmatch", {"labeler": labeler})(student, teacher, views(0.0), batch)
        for labeler in ("student", "teacher")
    }
    difference = by["teacher"].terms[0].teacher_logits - by["student"].terms[0].teacher_logits
    np.testing.assert_allclose(difference, 4.0, rtol=1e-5)


def test_supervised_has_no_terms_and_reads_labeled_images_only(batch):
    method = make_method("supervised", {"confidence": 0.9})
    output = method(network(), network(), views(1.0), {"labeled": batch["labeled"]})
    assert output.terms == () and not METHODS["supervised"].uses_unlabeled
    np.testing.assert_allclose(
        output.labeled_logits, np.asarray(batch["labeled"]["image"])[..., :2] / 255.0, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"labeler": "nobody"},
            "method.labeler is 'nobody'; expected one of teacher, student, peer",
        ),
        ({"norm_groups": "shared"}, "expected one of separate, joint"),
        ({"label_norm": "batch"}, "expected one of eval, train, ema"),
        ({"mix": "other"}, "expected one of stream, flip, same"),
        ({"options": {"labler": "student"}}, "did you mean 'labeler'"),
    ],
)
def test_bad_choices_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        make_method("fixmatch", options)


def test_options_outside_their_limits_are_named():
    with pytest.raises(ConfigError, match="method.options.drop is -1; expected a number from 0"):
        make_method("u2pl", {"options": {"drop": -1}})


def test_unknown_method_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'fixmatch'"):
        make_method("fixmach", {})
