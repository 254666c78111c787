"""SegFormer against transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models import create_model, feature_names
from ipixmatch_jax.models.encoder_decoder import EncoderDecoder
from ipixmatch_jax.models.layers import Numerics
from ipixmatch_jax.models.mit import MIT, MitShape, MixTransformer
from ipixmatch_jax.models.segformer import Head
from ipixmatch_jax.models.torch_bridge import from_torch, to_torch

TINY = MitShape((4, 6), (1, 2), 10, heads=(1, 2), reductions=(4, 1))
CLASSES = 5


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def tiny(dtype=jnp.float32, **options):
    numerics = Numerics(dtype)
    encoder = MixTransformer(TINY, numerics=numerics, **options)
    return EncoderDecoder(encoder, Head(CLASSES, TINY.decoder, numerics))


def abstract(model, dtype=np.float32, size=(64, 64)):
    images = jnp.zeros((1, *size, len(model.input_mean)), jnp.float32)
    variables = jax.eval_shape(lambda k: model.init(k, images, train=False), jax.random.key(0))
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype), variables)


def config(shape, classes=CLASSES):
    transformers = pytest.importorskip("transformers")
    stages = len(shape.widths)
    return transformers.SegformerConfig(
        num_encoder_blocks=stages,
        patch_sizes=(7, 3, 3, 3)[:stages],
        strides=(4, 2, 2, 2)[:stages],
        mlp_ratios=(4,) * stages,
        hidden_sizes=shape.widths,
        depths=shape.depths,
        num_attention_heads=shape.heads,
        sr_ratios=shape.reductions,
        decoder_hidden_size=shape.decoder,
        num_labels=classes,
        drop_path_rate=0.0,
        classifier_dropout_prob=0.0,
        attn_implementation="eager",
    )


def transformers_model():
    transformers = pytest.importorskip("transformers")
    from tests.references.torch_dpt import randomised

    return randomised(transformers.SegformerForSemanticSegmentation(config(TINY)), seed=3)


def numbers(network):
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def upsampled(network, x):
    """Logits at the size of x [B,H,W,3], as transformers resizes them for its loss."""
    import torch

    logits = network(torch.tensor(x).permute(0, 3, 1, 2)).logits
    return torch.nn.functional.interpolate(logits, x.shape[1:3], mode="bilinear")


def test_training_equals_transformers(float64):
    torch, size = pytest.importorskip("torch"), (37, 51)
    network = transformers_model()
    variables = from_torch(numbers(network), abstract(tiny(), np.float64))
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=(3, *size, 3)), rng.normal(size=(3, *size, CLASSES))
    there = upsampled(network.train(), x)
    (there * torch.tensor(weights).permute(0, 3, 1, 2)).sum().backward()

    def loss(params, x):
        full = {**variables, "params": params}
        logits, new = tiny(jnp.float64).apply(full, x, train=True, mutable=["batch_stats"])
        return jnp.sum(logits * weights), (logits, new)

    gradient = jax.jit(jax.grad(loss, has_aux=True))
    grads, (here, new) = gradient(variables["params"], jnp.asarray(x))
    there = there.detach().permute(0, 2, 3, 1).numpy()
    # The softmax of transformers is in float32.
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-6 * np.abs(there).max())
    state = numbers(network) | {n: p.grad.numpy() for n, p in network.named_parameters()}
    expected = from_torch(state, variables)
    atol = 1e-6 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected["params"]))

    def close(a, b):
        return np.testing.assert_allclose(a, b, rtol=0, atol=atol)

    jax.tree.map(close, grads, expected["params"])

    def close(a, b):
        return np.testing.assert_allclose(a, b, rtol=1e-6)

    jax.tree.map(close, new["batch_stats"], expected["batch_stats"])


def test_evaluation_in_float32_equals_transformers():
    torch = pytest.importorskip("torch")
    network = transformers_model().float().eval()
    variables = from_torch(numbers(network), abstract(tiny()))
    x = np.random.default_rng(2).normal(size=(2, 65, 97, 3)).astype(np.float32)
    with torch.no_grad():
        there = upsampled(network, x).permute(0, 2, 3, 1).numpy()
    with jax.default_matmul_precision("highest"):
        here = jax.jit(tiny().apply)(variables, x)
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-4 * np.abs(there).max())


def nvlabs(variables):
    """The encoder's weights in the names of NVlabs/SegFormer, by its own naming rules."""
    state = {}
    for i, stage in enumerate(sorted(variables["params"]["encoder"])):
        tree = variables["params"]["encoder"][stage]
        places = {"patch": f"patch_embed{i + 1}.proj", "norm": f"norm{i + 1}"}
        places["patch_norm"] = f"patch_embed{i + 1}.norm"
        for j in range(TINY.depths[i]):
            block = f"block{i + 1}.{j}."
            for ours, theirs in (
                ("norm1", "norm1"),
                ("norm2", "norm2"),
                ("attn/q", "attn.q"),
                ("attn/kv", "attn.kv"),
                ("attn/proj", "attn.proj"),
                ("attn/reduce", "attn.sr"),
                ("attn/reduce_norm", "attn.norm"),
                ("mlp/fc1", "mlp.fc1"),
                ("mlp/conv", "mlp.dwconv.dwconv"),
                ("mlp/fc2", "mlp.fc2"),
            ):
                places[f"block_{j:02d}/{ours}"] = block + theirs
        for ours, theirs in places.items():
            leaves = tree
            for part in ours.split("/"):
                leaves = leaves.get(part, {})
            for leaf, value in leaves.items():
                axes = {2: (1, 0), 4: (3, 2, 0, 1)}.get(np.ndim(value))
                name = "bias" if leaf == "bias" else "weight"
                state[f"{theirs}.{name}"] = np.transpose(value, axes) if axes else value
    return state


def test_every_source_of_weights_gives_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.numpy")
    network = transformers_model().float()
    start = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), abstract(tiny()))
    whole = from_torch(numbers(network), start)
    encoder_only = {kind: {**tree, "head": start[kind]["head"]} for kind, tree in whole.items()}
    network.save_pretrained(tmp_path / "whole")
    network.segformer.save_pretrained(tmp_path / "encoder")
    files = {kind: tmp_path / kind / "model.safetensors" for kind in ("whole", "encoder")}
    for state, expected in (
        (safetensors.load_file(files["whole"]), whole),
        (safetensors.load_file(files["encoder"]), encoder_only),
        (numbers(network.segformer), encoder_only),
        (nvlabs(whole) | {"head.weight": np.zeros((1000, 6))}, encoder_only),
        (to_torch(whole, "transformers_segformer_files"), whole),
        (to_torch(whole, "transformers_mit"), whole),
        (to_torch(whole, "ipixmatch_jax"), whole),
    ):
        jax.tree.map(np.testing.assert_array_equal, from_torch(state, start), expected)
    exported = to_torch(whole)
    network.load_state_dict({k: torch.tensor(v) for k, v in exported.items()}, strict=True)
    assert set(to_torch(whole, "transformers_segformer_files")) == {
        name for name in safetensors.load_file(files["whole"]) if "num_batches" not in name
    }


@pytest.mark.parametrize("backbone", MIT.names())
def test_parameters_are_as_many_as_in_transformers(backbone):
    torch, transformers = (pytest.importorskip(name) for name in ("torch", "transformers"))
    model = create_model("segformer", num_classes=19, backbone=backbone)
    variables = abstract(model)
    with torch.device("meta"):
        network = transformers.SegformerForSemanticSegmentation(config(MIT[backbone], 19))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == sum(p.numel() for p in network.parameters())


def test_what_callers_rely_on():
    model = tiny(jnp.bfloat16, remat=True)
    np.testing.assert_allclose(model.input_mean, (0.485, 0.456, 0.406))
    assert feature_names(model) == ("decoder", "encoder")
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda a: jnp.asarray(np.abs(rng.normal(size=a.shape)) * 0.1, a.dtype), abstract(model)
    )
    images = jnp.asarray(rng.normal(size=(2, 33, 47, 3)), jnp.float32)

    @jax.jit
    def run(variables, images):
        features = model.apply(variables, images, method="encode")
        decoded = model.apply(variables, features, (33, 47), method="decode")
        return features, decoded, model.apply(variables, images)

    features, decoded, logits = run(variables, images)
    assert [f.shape[1:3] for f in features] == [(9, 12), (5, 6)]
    assert {f.dtype for f in features} == {jnp.dtype(jnp.bfloat16)}
    assert logits.shape == (2, 33, 47, CLASSES) and logits.dtype == jnp.float32
    np.testing.assert_allclose(decoded, logits, rtol=0.02)


def test_remat_and_group_norm():
    model = create_model("segformer", num_classes=3, norm="group", in_channels=1, remat=True)
    assert set(abstract(model)) == {"params"}
    assert len(model.input_std) == 1


@pytest.mark.parametrize(
    "options, words",
    [
        ({"backbone": "mit_b6"}, "unknown backbone 'mit_b6' .did you mean 'mit_b5'"),
        ({"norm": "layer"}, "norm is 'layer'"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ConfigError, match=words):
        create_model("segformer", num_classes=3, **options)


def test_images_that_are_too_small():
    model = create_model("segformer", num_classes=3)
    abstract(model, size=(29, 29))
    with pytest.raises(ConfigError, match="28x40 pixels are too small.*29x29"):
        abstract(model, size=(28, 40))
