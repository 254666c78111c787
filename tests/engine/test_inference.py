import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.engine.inference import (
    Inference,
    eval_defaults,
    make_inference,
    predict_logits,
    size_multiple,
    window_plan,
)
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import Twins, create_model
from tests.references.eval_reference import (
    CLASSES,
    Toy,
    as_network,
    resize,
    sliding_clipped,
    sliding_shifted,
    softmax,
    toy_logits,
    toy_variables,
)

VARIABLES = toy_variables()


def images(height, width, count=2):
    return np.random.default_rng(height).normal(0, 1, (count, height, width, 3)).astype(np.float32)


def probs(batch, model=None, **options):
    run = jax.jit(lambda x: predict_logits(as_network(VARIABLES, model), x, Inference(**options)))
    logits = run(batch)
    assert logits.dtype == jnp.float32 and logits.shape == (*batch.shape[:3], CLASSES)
    return softmax(np.asarray(logits, np.float64))


def each(batch, find):
    return np.stack([find(image.astype(np.float64)) for image in batch])


def shares(total):
    return total / total.sum(-1, keepdims=True)


def test_whole_is_the_network_itself():
    batch = images(13, 17)
    expected = each(batch, lambda x: toy_logits(VARIABLES, x))
    actual = predict_logits(as_network(VARIABLES), jnp.asarray(batch), Inference())
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize(("border", "reference"), [
    ("clip", sliding_clipped), ("shift", sliding_shifted)
])  # fmt: skip
@pytest.mark.parametrize("size", [(19, 32), (11, 16)])
def test_sliding_equals_numpy_on_odd_sizes(border, reference, size):
    batch = images(*size)
    expected = shares(each(batch, lambda x: reference(VARIABLES, x, 11)))
    actual = probs(batch, mode="sliding", window=(11, 11), border=border)
    np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_windows_larger_than_the_image_are_the_image():
    batch = images(7, 9)
    expected = softmax(each(batch, lambda x: toy_logits(VARIABLES, x)))
    np.testing.assert_allclose(probs(batch, mode="sliding", window=(20, 20)), expected, atol=2e-5)


def test_the_windows_of_unimatch_on_cityscapes():
    clipped = window_plan((1024, 2048), (801, 801), "clip")
    assert set(clipped) == {(801, 801), (801, 446), (490, 801), (490, 446)}
    assert clipped[801, 801] == [(0, 0), (0, 534), (0, 1068)]
    shifted = window_plan((1024, 2048), (798, 798), "shift")
    columns = (0, 532, 1064, 1250)
    assert shifted == {(798, 798): [(row, column) for row in (0, 226) for column in columns]}


@pytest.mark.parametrize(("options", "inside"), [
    ({"mode": "resize", "size": (14, 21)}, (14, 21)),
    ({"multiple": 7}, (14, 28)),  # 13 x 26: to the nearest
    ({"mode": "resize", "multiple": 7}, (14, 28)),
    ({"mode": "resize", "size": (15, 20), "multiple": 7}, (14, 21)),
])  # fmt: skip
def test_resize_and_back_equals_numpy(options, inside):
    batch = images(13, 26)
    expected = each(batch, lambda x: resize(toy_logits(VARIABLES, resize(x, inside)), (13, 26)))
    model = Toy(size_multiple=options.get("multiple", 1))
    np.testing.assert_allclose(probs(batch, model, **options), softmax(expected), atol=2e-5)


def test_scales_and_mirror_images_are_averaged():
    batch = images(15, 11)
    looks = []
    for size in ((8, 6), (15, 11), (22, 16)):  # round(x / 2), x, round(1.5 x)
        for step in (1, -1):

            def look(x, size=size, step=step):
                logits = toy_logits(VARIABLES, resize(x, size)[:, ::step])
                return softmax(resize(logits[:, ::step], (15, 11)))

            looks.append(each(batch, look))
    actual = probs(batch, scales=(0.5, 1.0, 1.5), flip=True)
    np.testing.assert_allclose(actual, np.mean(looks, 0), atol=2e-5)


def test_a_loop_holds_the_network_once_for_windows_of_a_size():
    def text(width):
        def find(x):
            return predict_logits(as_network(VARIABLES), x, Inference("sliding", (9, 9)))

        return jax.jit(find).lower(jnp.zeros((1, 9, width, 3))).as_text()

    assert text(40).count("stablehlo.convolution") == text(10).count("stablehlo.convolution")


def test_names():
    assert Inference().name == "whole"
    assert Inference("sliding", (801, 801), "clip", flip=True).name == "sliding-801x801-clip-flip"
    assert Inference("resize", size=(518, 518)).name == "resize-518x518"
    assert Inference(scales=(0.5, 1.0)).name == "whole-scales0.5_1"


@pytest.mark.parametrize(("changes", "message"), [
    ({"mode": "slide"}, "eval.mode is 'slide'; expected one of whole, sliding, resize"),
    ({"border": "crop"}, "eval.border is 'crop'"),
    ({"absent": "one"}, "eval.absent is 'one'"),
    ({"scales": ()}, "eval.scales"),
    ({"scales": (0.5, 0)}, "eval.scales"),
    ({"window": (5,)}, r"eval.window is \(5,\)"),
    ({"size": (5, 0)}, r"eval.size is \(5, 0\); expected two positive"),
    ({"mode": "resize", "size": (5, 5), "scales": (0.5,)}, "would be the same"),
])  # fmt: skip
def test_bad_options(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_inference(eval_defaults() | changes, (32, 32))


def test_the_window_is_the_crop_where_none_is_given():
    chosen = make_inference(eval_defaults() | {"mode": "sliding"}, (33, 44))
    assert chosen.window == (33, 44) and chosen.border == "shift"


def test_the_multiple_of_models():
    dpt = create_model("dpt", num_classes=2)
    unet = create_model("unet", num_classes=2)
    multiples = [size_multiple(m) for m in (dpt, unet, Twins(dpt, dpt), Twins(unet, unet))]
    assert multiples == [14, 1, 14, 1]
