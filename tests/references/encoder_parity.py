"""Compares an encoder with a PyTorch network: features, gradients, and weights in both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.models.torch_bridge import from_torch


def abstract(module, dtype=np.float32, size=(64, 64), name="encoder"):
    """Shapes of an encoder's variables, nested like those of a model; of a model with name ''."""
    x = jnp.zeros((1, *size, 3), jnp.float32)
    variables = jax.eval_shape(lambda k: module.init(k, x, train=False), jax.random.key(0))
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, dtype), variables)
    return {kind: {name: tree} for kind, tree in shapes.items()} if name else shapes


def numbers(network, prefix=""):
    return {prefix + name: a.detach().numpy() for name, a in network.state_dict().items()}


def gradients(network, prefix=""):
    """Gradients in place of the parameters; zeros for those that were not used."""
    import torch

    grads = {
        prefix + name: (torch.zeros_like(p) if p.grad is None else p.grad).numpy()
        for name, p in network.named_parameters()
    }
    return numbers(network, prefix) | grads


def channels_last(tensor):
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def compare_encoder(encoder, network, maps_of, size, *, tolerance, prefix=""):
    """Asserts that features and gradients of an encoder in float64 equal those of a network.

    Args:
        encoder: without batch statistics, with numerics in float64; `jax.enable_x64` is on.
        network: PyTorch's, in float64.
        maps_of: images [B,3,H,W] → the network's maps [B,C,h,w] that the encoder returns.
        size: of the images.
        tolerance: of the largest feature, and of the largest gradient.
        prefix: of the network's names where its layout is that of a larger network.
    """
    import torch

    rng = np.random.default_rng(1)
    variables = from_torch(numbers(network, prefix), abstract(encoder, np.float64))
    x = rng.normal(size=(2, *size, 3))
    there = maps_of(torch.tensor(x).permute(0, 3, 1, 2))
    weights = [rng.normal(size=channels_last(a).shape) for a in there]
    loss = sum(
        (a.permute(0, 2, 3, 1) * torch.tensor(w)).sum() for a, w in zip(there, weights, strict=True)
    )
    loss.backward()

    def ours(params, x):
        maps = encoder.apply({"params": params}, x, True)
        return sum(jnp.sum(a * w) for a, w in zip(maps, weights, strict=True)), maps

    gradient = jax.jit(jax.grad(ours, has_aux=True))
    grads, here = gradient(variables["params"]["encoder"], jnp.asarray(x))
    for a, b in zip(here, map(channels_last, there), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())
    expected = from_torch(gradients(network, prefix), variables)["params"]["encoder"]
    atol = tolerance * max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert set(grads) == set(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), grads, expected)


def compare_in_float32(encoder, network, maps_of, size):
    """Asserts that features in float32 equal those of a network within 1e-4 of the largest."""
    import torch

    network = network.float().eval()
    variables = from_torch(numbers(network), abstract(encoder))
    x = np.random.default_rng(2).normal(size=(1, *size, 3)).astype(np.float32)
    with torch.no_grad():
        there = maps_of(network, torch.tensor(x).permute(0, 3, 1, 2))
    with jax.default_matmul_precision("highest"):
        here = jax.jit(lambda p, x: encoder.apply({"params": p}, x, False))(
            variables["params"]["encoder"], x
        )
    for a, b in zip(here, map(channels_last, there), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())


def smallest_first(names, smallest):
    """Names of backbones for `parametrize`: all but the smallest are slow."""
    others = [pytest.param(name, marks=pytest.mark.slow) for name in names if name != smallest]
    return [smallest, *others]


def parameters(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def torch_parameters(make) -> int:
    """Number of parameters of a PyTorch network, without memory for them."""
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters())
