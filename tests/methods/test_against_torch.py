"""Three training steps of a method equal those of its PyTorch version, from the same weights."""

import copy
import functools

import jax
import numpy as np
import pytest

from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.objective import Objective, Threshold
from ipixmatch_jax.engine.optimizer import make_optimizer
from ipixmatch_jax.engine.state import create_state
from ipixmatch_jax.engine.step import make_train_step
from ipixmatch_jax.methods import MethodOutput, make_method
from ipixmatch_jax.models import create_model
from ipixmatch_jax.models.torch_bridge import from_torch
from ipixmatch_jax.views import Views
from tests.references.miniature import CLASSES, random_batch
from tests.references.torch_views import tensors

CONFIDENCE, RATE, MULTIPLIER, DECAY, TOTAL = 0.35, 0.01, 10.0, 1e-4, 10
VIEWS = Views(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), cutmix_probability=1.0)
JOINT = {"norm_groups": "joint", "running_statistics": "all"}
METHODS = [
    pytest.param("fixmatch", {}, marks=pytest.mark.slow),
    pytest.param("fixmatch", JOINT, marks=pytest.mark.slow),
    ("unimatch", {}),
    ("unimatch_v2", {}),
]


class ByTerm(Objective):
    """Also gives the loss of every term, without its weight."""

    def __call__(self, output, labeled, step, divisors=None, balance=()):
        loss, metrics = super().__call__(output, labeled, step, divisors, balance)
        for i, term in enumerate(output.terms):
            alone = MethodOutput(output.labeled_logits, (term.replace(weight=1.0),), None)
            metrics[f"term_{i}"] = super().__call__(alone, labeled, step)[1]["loss_pseudo"]
        return loss, metrics


@functools.cache
def networks():
    """A small U-Net in PyTorch, and ours; float64, as batch norm of a small batch needs."""
    torch_unet, torch_deeplab = (
        pytest.importorskip(f"tests.references.{name}") for name in ("torch_unet", "torch_deeplab")
    )
    sizes = dict(width=4, depth=1, stem_stride=2)
    model = create_model("unet", num_classes=CLASSES, dtype="float64", axis_name="data", **sizes)
    return torch_deeplab.randomised(torch_unet.TorchUNet(CLASSES, **sizes), seed=3), model


def torch_steps(name, options, network, batches):
    """Losses of each step, and the student after the last one."""
    import torch

    from tests.references import torch_methods

    student, teacher = copy.deepcopy(network), copy.deepcopy(network)
    encoder = [p for n, p in student.named_parameters() if n.startswith("encoder.")]
    head = [p for n, p in student.named_parameters() if not n.startswith("encoder.")]
    groups = [{"params": encoder, "lr": RATE}, {"params": head, "lr": RATE * MULTIPLIER}]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=DECAY)
    base, losses = [group["lr"] for group in optimizer.param_groups], []
    for k, batch in enumerate(batches):
        v = tensors(batch, VIEWS, network.backbone.widths, "f8")
        kept = v["kept_of_both"] if name == "unimatch" else v["kept_of_one"]
        v["kept"] = [x.double() for x in kept]
        extra = (options.get("norm_groups") == "joint",) if name == "fixmatch" else ()
        step = getattr(torch_methods, name)
        supervised, terms, total = step(student, teacher, v, CONFIDENCE, *extra)
        losses.append([float(x.detach()) for x in (supervised, *terms, total)])
        for group, rate in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = rate * (1 - k / TOTAL) ** 0.9
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        decay = min(1 - 1 / (k + 1), 0.996)
        with torch.no_grad():
            pairs = zip(teacher.state_dict().values(), student.state_dict().values(), strict=True)
            for old, new in pairs:
                if old.dtype.is_floating_point:
                    old.mul_(decay).add_(new, alpha=1 - decay)
    return losses, student


@pytest.mark.parametrize("name, options", METHODS, ids=lambda x: x if isinstance(x, str) else "")
def test_three_steps_equal_pytorch(name, options):
    network, model = networks()
    batches = [random_batch(seed, batch=4, size=33) for seed in range(3)]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        # In here too, because random numbers of views have as many bits.
        expected, student = torch_steps(name, options, network, batches)
        method = make_method(name, options)
        objective = ByTerm(threshold=Threshold(CONFIDENCE))
        rule, schedule = make_optimizer(
            dict(
                name="sgd",
                learning_rate=RATE,
                head_multiplier=MULTIPLIER,
                weight_decay=DECAY,
                decay_norm_and_bias=True,
                momentum=0.9,
                power=0.9,
                warmup_steps=0,
            ),
            TOTAL,
        )
        abstract = jax.eval_shape(
            lambda k, x: model.init(k, x, train=False), jax.random.key(0), np.zeros((1, 33, 33, 3))
        )
        state = create_state(from_torch(arrays(network), as_float64(abstract)), rule)

        step = make_train_step(
            model, method, VIEWS, objective, rule, schedule, teacher_decay=0.996, total_steps=TOTAL
        )
        spread = PARALLEL["pmap"](jax.devices()[:1])
        step = spread.distribute(step)
        for k, batch in enumerate(batches):
            batch = spread.put_batch(batch)
            state, metrics = step(state, batch)
            terms = sorted(metric for metric in metrics if metric.startswith("term_"))
            found = [metrics[metric] for metric in ("loss_supervised", *terms, "loss")]
            # Pixels within rounding of the threshold may fall on either side.
            np.testing.assert_allclose(found, expected[k], rtol=1e-4)
        found = {"params": state.params, "batch_stats": state.batch_stats}
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max()),
            found,
            from_torch(arrays(student), found),
        )


def arrays(network):
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


def as_float64(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, np.float64), tree)
