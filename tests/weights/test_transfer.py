"""Whole checkpoints of other sources, with other classes, as `model.pretrained`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.models.torch_bridge import to_torch
from ipixmatch_jax.weights.pretrained import load_pretrained

pytestmark = pytest.mark.usefixtures("small_backbones")
HERE, THERE = 3, 21
# Our model and its options, the layout of the checkpoint, and the names of its classifier.
DEEPLAB = ("deeplabv3plus", {"backbone": "resnet18", "stem": "deep"}, "unimatch_v1", "classifier")
DPT = ("dpt", {"backbone": "dinov2_small"}, "unimatch_v2", "head.scratch.output_conv.2")
SEGFORMER = (
    "segformer", {"backbone": "mit_b0"}, "transformers_segformer_files", "decode_head.classifier"
)  # fmt: skip
UPERNET = (
    "upernet", {"backbone": "resnet18", "decoder_channels": 8}, None, "decode_head.classifier"
)  # fmt: skip


def variables(name, options, classes, seed):
    model = create_model(name, num_classes=classes, **options)
    return init_variables(model, jax.random.key(seed), jnp.zeros((1, 56, 56, 3)))


def save(path, state, under):
    torch = pytest.importorskip("torch")
    tensors = {f"module.{name}": torch.tensor(value) for name, value in state.items()}
    zeros = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    content = {"model": tensors, "epoch": 3, "previous_best": 0.5}
    if under != "model":
        content |= {under: tensors, "model": zeros}
    torch.save(content if under else tensors, path)
    return str(path)


@pytest.mark.parametrize(
    "case, under",
    [(DEEPLAB, "model"), (DPT, "model_ema"), (DPT, "ema_model"), (SEGFORMER, ""), (UPERNET, "")],
    ids=["unimatch_v1", "unimatch_v2", "ema_model", "segformer", "upernet"],
)
def test_all_but_the_classifier_is_taken(tmp_path, case, under):
    name, options, layout, classifier = case
    there = variables(name, options, THERE, seed=1)
    path = save(tmp_path / "best.pth", to_torch(there, layout), under)
    fresh, said = variables(name, options, HERE, seed=2), []
    filled = load_pretrained(fresh, path, "", say=said.append)
    expected = f"{path}; of other classes there and therefore random: "
    assert len(said) == 1 and said[0].startswith(expected)
    left_out = set(said[0].removeprefix(expected).split(", "))
    assert left_out == {f"{classifier}.{leaf}" for leaf in ("weight", "bias")}
    for (key, leaf), own, other in zip(
        jax.tree_util.tree_leaves_with_path(filled),
        jax.tree.leaves(fresh),
        jax.tree.leaves(there),
        strict=True,
    ):
        here = "classifier" in [entry.key for entry in key]
        np.testing.assert_array_equal(leaf, own if here else other)


def test_the_same_classes_are_taken_without_a_word(tmp_path):
    name, options, layout, _ = UPERNET
    there, said = variables(name, options, HERE, seed=1), []
    path = save(tmp_path / "best.pth", to_torch(there, layout), "")
    filled = load_pretrained(variables(name, options, HERE, seed=2), path, "", say=said.append)
    jax.tree.map(np.testing.assert_array_equal, filled, there)
    assert not said


def test_a_head_of_another_width_is_no_classifier(tmp_path):
    name, options, layout, _ = UPERNET
    there = variables(name, {**options, "decoder_channels": 12}, THERE, seed=1)
    path = save(tmp_path / "best.pth", to_torch(there, layout), "")
    with pytest.raises(CheckpointError, match="misshapen keys|differ in their outputs"):
        load_pretrained(variables(name, options, HERE, seed=2), path, "")
