"""Time, memory and size of every kind of model, compared with the same model in PyTorch.

    taskset -c 0 python -m bench.models --json bench/results/models-cpu.json
    python -m bench.models --counts

Both sides use the same weights, images, dtype (float32) and number of threads. A train step is
forward, cross-entropy, backward and an SGD update, with batch statistics. Both sides take turns,
and the fastest of a few rounds counts, so that a busy machine slows both alike. Memory is the peak
of a separate process that makes two train steps, minus its memory after the imports; its program
comes compiled from a cache, so that the compiler's memory is not included. The PyTorch models are
those of the tests; needs the extra `parity`.
"""

import argparse
import functools
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

from bench.common import write_record
from ipixmatch_jax.models import create_model
from ipixmatch_jax.models.torch_bridge import from_torch

CLASSES = 21
RATE = 1e-3


class Case(NamedTuple):
    model: str
    options: dict[str, Any]
    side: int
    batch: int = 2

    @property
    def label(self) -> str:
        return f"{self.model} {self.options['backbone']}"


_RESNET = {"stem": "deep", "output_stride": 16}
CASES = (
    Case("deeplabv3plus", {"backbone": "resnet18"}, 161),
    Case("deeplabv3plus", {"backbone": "resnet50", **_RESNET}, 161),
    Case("deeplabv3plus", {"backbone": "resnet101", **_RESNET}, 161),
    Case("dpt", {"backbone": "dinov2_small"}, 154),
    Case("segformer", {"backbone": "mit_b0"}, 161),
    Case("segformer", {"backbone": "mit_b2"}, 161),
    Case("upernet", {"backbone": "convnext_tiny"}, 160),
    Case("linear", {"backbone": "dinov3_small"}, 160),
)
# Models that --counts lists, at the usual crop size.
USUAL = (
    *(
        Case("deeplabv3plus", {"backbone": f"resnet{n}", "stem": stem}, 321)
        for n, stem in ((18, "plain"), (34, "plain"), (50, "deep"), (101, "deep"))
    ),
    *(Case("deeplabv3plus", {"backbone": f"efficientnet_lite{n}"}, 321) for n in range(3)),
    *(Case("dpt", {"backbone": f"dinov2_{s}"}, 518) for s in ("small", "base", "large", "giant")),
    *(
        Case("dpt", {"backbone": f"dinov3_{s}"}, 512)
        for s in ("small", "small_plus", "base", "large")
    ),
    *(Case("segformer", {"backbone": f"mit_b{n}"}, 513) for n in range(6)),
    *(
        Case(model, {"backbone": f"convnext_{s}"}, side)
        for model, side in (("deeplabv3plus", 320), ("upernet", 512))
        for s in ("tiny", "small", "base", "large")
    ),
    *(Case(model, {"backbone": "dinov3_small"}, 512) for model in ("linear", "mlp")),
    Case("unet", {}, 64),
)


def abstract(model, case: Case) -> Any:
    images = jax.ShapeDtypeStruct((1, case.side, case.side, 3), jnp.float32)
    init = functools.partial(model.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), images)


def multiply_adds(jaxpr) -> int:
    """Counts the multiplications of all convolutions and matrix products in a traced function."""
    total = 0
    for equation in jaxpr.eqns:
        out = equation.outvars[0].aval.shape
        if equation.primitive.name == "conv_general_dilated":
            total += int(np.prod(out)) * int(np.prod(equation.invars[1].aval.shape[:-1]))
        elif equation.primitive.name == "dot_general":
            left, dimensions = equation.invars[0].aval.shape, equation.params["dimension_numbers"]
            total += int(np.prod(out)) * int(np.prod([left[i] for i in dimensions[0][0]]))
        # Branches are forms of one computation for several platforms; some need no product.
        counts = [multiply_adds(inner) for inner in jaxprs_in_params(equation.params)]
        total += max(counts, default=0) if equation.primitive.name == "cond" else sum(counts)
    return total


def counts() -> str:
    """A table of parameters and multiply-adds per image, without computing anything."""
    lines = ["| model | backbone | parameters | crop | GMACs |", "|---|---|---|---|---|"]
    for case in USUAL:
        model = create_model(case.model, num_classes=CLASSES, **case.options)
        variables = abstract(model, case)
        size = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        image = jax.ShapeDtypeStruct((1, case.side, case.side, 3), jnp.float32)
        traced = jax.make_jaxpr(functools.partial(model.apply, train=False))(variables, image)
        lines.append(
            f"| {case.model} | {case.options.get('backbone', '')} | {size:,} | {case.side} "
            f"| {multiply_adds(traced.jaxpr) / 1e9:.2f} |"
        )
    return "\n".join(lines)


def torch_model(case: Case):
    import torch

    torch.manual_seed(0)
    if case.model == "unet":
        from tests.references.torch_unet import TorchUNet

        return TorchUNet(CLASSES, **case.options)
    backbone = case.options["backbone"]
    if case.model == "segformer":
        from transformers import SegformerForSemanticSegmentation

        from ipixmatch_jax.models.mit import MIT
        from tests.models.test_segformer import config

        return SegformerForSemanticSegmentation(config(MIT[backbone], CLASSES))
    if case.model == "dpt":
        from ipixmatch_jax.models.dpt import DPT_SHAPES
        from ipixmatch_jax.models.vit import DINOV2
        from tests.references.torch_dpt import Network

        return Network(CLASSES, DINOV2[backbone], DPT_SHAPES[backbone])
    if case.model == "upernet":
        from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

        from ipixmatch_jax.models.convnext import CONVNEXT

        shape = CONVNEXT[backbone]
        stages = [f"stage{i + 1}" for i in range(len(shape.widths))]
        sizes = {"hidden_sizes": list(shape.widths), "depths": list(shape.depths)}
        below = ConvNextConfig(**sizes, out_features=stages)
        options = {"num_labels": CLASSES, "use_auxiliary_head": False}
        return UperNetForSemanticSegmentation(UperNetConfig(backbone_config=below, **options))
    if case.model == "linear":
        from transformers import DINOv3ViTBackbone, DINOv3ViTConfig

        from ipixmatch_jax.models.dinov3 import DINOV3
        from tests.models.test_dinov3 import options
        from tests.references.torch_linear import Linear

        shape = DINOV3[backbone]
        config = DINOv3ViTConfig(**options(shape), out_features=[f"stage{shape.depth}"])
        return Linear(DINOv3ViTBackbone(config), shape.width, CLASSES)
    from ipixmatch_jax.models.resnet import VARIANTS
    from tests.references.torch_deeplab import ResNet, TorchDeepLab

    variant = VARIANTS[backbone]
    kind = "basic" if variant.block.__name__ == "BasicBlock" else "bottleneck"
    encoder = ResNet(kind, variant.blocks, case.options.get("stem", "plain"), 16)
    return TorchDeepLab(encoder, CLASSES)


def data(case: Case) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (case.batch, case.side, case.side)
    return rng.standard_normal((*shape, 3), np.float32), rng.integers(0, CLASSES, shape, np.int32)


def torch_state(network: Any, case: Case) -> dict[str, np.ndarray]:
    """A copy of the weights of a PyTorch network, under the names that `from_torch` knows."""
    state = network.names() if case.model == "linear" else network.state_dict()
    return {name: value.numpy().copy() for name, value in state.items()}


def torch_logits(network: Any, case: Case, images: Any) -> Any:
    """Logits [B,C,H,W] of float images [B,3,H,W], both tensors."""
    from torch.nn import functional as F

    out = network(images)
    if case.model == "segformer":
        return F.interpolate(out.logits, images.shape[2:], mode="bilinear")
    return out.logits if case.model == "upernet" else out


def torch_side(case: Case) -> tuple[Callable[[], Any], Callable[[], Any], dict[str, np.ndarray]]:
    """PyTorch's forward pass and train step as functions, and the initial weights."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = torch_model(case)
    state = torch_state(network, case)
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    images, masks = data(case)
    images, masks = torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(masks).long()
    images = images.contiguous()

    def forward():
        network.eval()
        with torch.inference_mode():
            return torch_logits(network, case, images).permute(0, 2, 3, 1).numpy()

    def step():
        network.train()
        optimizer.zero_grad()
        F.cross_entropy(torch_logits(network, case, images), masks).backward()
        optimizer.step()

    return forward, step, state


def jax_side(case: Case, state: dict[str, np.ndarray] | None):
    """Our forward pass and train step as functions; with state None, weights are random."""
    model = create_model(case.model, num_classes=CLASSES, **case.options)
    variables = abstract(model, case)
    if state is None:
        draw = np.random.default_rng(0).standard_normal
        variables = jax.tree.map(lambda a: np.abs(draw(a.shape, np.float32)) / 50, variables)
    else:
        variables = from_torch(state, variables)
    variables = jax.device_put(dict(variables))
    images, masks = (jax.device_put(a) for a in data(case))
    apply = jax.jit(functools.partial(model.apply, train=False))

    @functools.partial(jax.jit, donate_argnums=0)
    def update(variables):
        def loss(params):
            logits, new = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            log_probs = jax.nn.log_softmax(logits)
            chosen = jnp.take_along_axis(log_probs, masks[..., None], axis=-1)
            return -jnp.mean(chosen), new

        grads, new = jax.grad(loss, has_aux=True)(variables["params"])
        params = jax.tree.map(lambda p, g: p - RATE * g, variables["params"], grads)
        return {**variables, **new, "params": params}

    live = {"variables": variables}

    def forward():
        return np.asarray(apply(live["variables"], images))

    def step():
        live["variables"] = jax.block_until_ready(update(live["variables"]))

    return forward, step


def in_turns(
    functions: dict[str, Callable[[], Any]],
    rounds: int,
    now: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The fastest call of each function, in seconds; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for index in range(rounds + 1):
        for name, function in functions.items():
            begin = now()
            function()
            if index:
                times[name].append(now() - begin)
    return {name: min(values) for name, values in times.items()}


def memory(side: str, index: int) -> int:
    """Bytes that two train steps of CASES[index] need in a separate process."""
    command = [sys.executable, "-m", "bench.models", "--memory", side, str(index)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def peak() -> int:
    """The peak resident memory of this process so far, in bytes."""
    # Not getrusage: it includes the memory of the parent at the fork.
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def own_memory(side: str, index: int) -> None:
    """The process of `memory`: prints the peak minus the memory after the imports."""
    if side == "torch":
        import torch
        import transformers  # noqa: F401

        torch.ones(2, 2) @ torch.ones(2, 2)
    else:
        jax.block_until_ready(jnp.ones(2))
    before = peak()
    *_, step = torch_side(CASES[index])[:2] if side == "torch" else jax_side(CASES[index], None)
    for _ in range(2):
        step()
    print(peak() - before)


def measure(index: int, rounds: int) -> dict[str, Any]:
    case = CASES[index]
    torch_forward, torch_step, state = torch_side(case)
    forward, step = jax_side(case, state)
    there, here = torch_forward(), forward()
    difference = float(np.abs(here - there).max() / np.abs(there).max())
    times = in_turns({"torch": torch_forward, "jax": forward}, rounds)
    steps = in_turns({"torch": torch_step, "jax": step}, rounds)
    peaks = {side: memory(side, index) for side in ("torch", "jax")}
    return {
        "model": case.label,
        "side": case.side,
        "batch": case.batch,
        "logits_differ_by": difference,
        "forward_s": times,
        "step_s": steps,
        "step_bytes": peaks,
        "forward_ratio": times["jax"] / times["torch"],
        "step_ratio": steps["jax"] / steps["torch"],
        "memory_ratio": peaks["jax"] / peaks["torch"],
    }


def row(found: dict[str, Any]) -> str:
    forward, step, peak = found["forward_s"], found["step_s"], found["step_bytes"]
    cells = [found["model"], f"{found['batch']} x {found['side']}²"]
    for here, there, ratio, form in (
        (forward["jax"], forward["torch"], found["forward_ratio"], "{:.2f} s"),
        (step["jax"], step["torch"], found["step_ratio"], "{:.2f} s"),
        (peak["jax"] / 2**20, peak["torch"] / 2**20, found["memory_ratio"], "{:.0f} MiB"),
    ):
        cells.append(f"{form.format(here)} / {form.format(there)} = {ratio:.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", action="store_true", help="only print the sizes")
    parser.add_argument("--only", nargs="+", type=int, default=range(len(CASES)), help="cases")
    parser.add_argument("--rounds", type=int, default=3, help="measured calls of each function")
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        own_memory(options.memory[0], int(options.memory[1]))
        return
    if options.counts:
        print(counts())
        return
    with tempfile.TemporaryDirectory() as cache:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
        jax.config.update("jax_compilation_cache_dir", cache)
        print("this / PyTorch = ratio\n\n| model | images | forward | train step | peak memory |")
        print("|---|---|---|---|---|")
        rows = []
        for index in options.only:
            rows.append(measure(index, options.rounds))
            print(row(rows[-1]), flush=True)
    if options.json:
        import torch

        record = {
            "device": f"{platform.machine()} CPU",
            "threads": len(os.sched_getaffinity(0)),
            "load": os.getloadavg()[0],
            "jax": jax.__version__,
            "torch": torch.__version__,
            "rows": rows,
        }
        write_record(options.json, record)


if __name__ == "__main__":
    main()
