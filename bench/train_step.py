"""The whole train step of a method, with and without a relation, beside the same step in PyTorch.

    python bench/train_step.py --json bench/results/train-step-h100.json        # a GPU
    taskset -c 0,1 python bench/train_step.py --cases resnet50-321 --batch 2 --torch eager

Both sides have the same weights, batch and shapes, float32 master weights, SGD with momentum and an
EMA teacher. Ours makes its weak and strong views and boxes inside the step; PyTorch gets finished
float views on the device, as its data loaders make them on the host. It runs in its best setting:
channels last (on a CPU the faster of both layouts), TF32 for `float32` on a GPU as ours, autocast
for `bfloat16`, and with `--torch compile` compiled. Times are medians of steps in one go: `step_s`
of what went by and `cpu_s` of what all cores worked, by which the ratio goes on a CPU. Memory is
the peak of the device (on a CPU the compiled program's own count). MFU divides the program's
floating-point operations, as XLA counts them, by time and the device's published peak of dense
bfloat16 or TF32 operations.

It needs jax, flax, optax and numpy, and torch for the comparison.
"""

import argparse
import copy
import functools
import itertools
import json
import pathlib
import statistics
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import random_batch
from models import Case, abstract, torch_model

from ipixmatch_jax.engine.host_memory import keep_freed_memory
from ipixmatch_jax.engine.objective import DATA_AXIS, Objective, Threshold
from ipixmatch_jax.engine.optimizer import make_optimizer
from ipixmatch_jax.engine.parallel import PARALLEL
from ipixmatch_jax.engine.relations import WeightedRelation
from ipixmatch_jax.engine.step import make_train_step
from ipixmatch_jax.methods import make_method
from ipixmatch_jax.models import create_model
from ipixmatch_jax.models.torch_bridge import from_torch
from ipixmatch_jax.views import Views

TESTS = pathlib.Path(__file__).parents[1] / "tests"
sys.path += [str(TESTS / "methods"), str(TESTS / "models")]

CLASSES, CONFIDENCE, WARMUP = 21, 0.5, 2
LAYOUTS = ("channels_last", "contiguous_format")
_RESNET = {"stem": "deep", "output_stride": 16}
CASES = {
    "resnet50-321": Case("deeplabv3plus", {"backbone": "resnet50", **_RESNET}, 321),
    "resnet101-321": Case("deeplabv3plus", {"backbone": "resnet101", **_RESNET}, 321),
    "resnet50-801": Case("deeplabv3plus", {"backbone": "resnet50", **_RESNET}, 801),
    "resnet101-801": Case("deeplabv3plus", {"backbone": "resnet101", **_RESNET}, 801),
    "dinov2_small-518": Case("dpt", {"backbone": "dinov2_small"}, 518),
    "dinov2_base-518": Case("dpt", {"backbone": "dinov2_base"}, 518),
    # For a machine without an accelerator.
    "resnet18-129": Case("deeplabv3plus", {"backbone": "resnet18"}, 129),
    "demo-64": Case("unet", {"width": 16, "stem_stride": 2}, 64),
}
# Dense operations a second by the vendor's data sheet: (bfloat16, TF32 or float32).
PEAKS = {"H100": (989e12, 495e12), "H200": (989e12, 495e12), "A100": (312e12, 156e12)}
OPTIMIZER = dict(
    name="sgd",
    learning_rate=1e-3,
    head_multiplier=10.0,
    weight_decay=1e-4,
    decay_norm_and_bias=True,
    momentum=0.9,
    power=0.9,
    warmup_steps=0,
)


def ours(case: Case, method: str, relation: str, dtype: str, data, weights, steps: int) -> dict:
    model = create_model(
        case.model, num_classes=CLASSES, dtype=dtype, axis_name=DATA_AXIS, **case.options
    )
    rule, schedule = make_optimizer(OPTIMIZER, 1000)
    relations = () if relation == "none" else (WeightedRelation(*relation.split("/"), weight=0.1),)
    step = make_train_step(
        model,
        make_method(method, {"confidence": CONFIDENCE}),
        Views(mean=model.input_mean, std=model.input_std),
        Objective(threshold=Threshold(CONFIDENCE), relations=relations),
        rule,
        schedule,
        total_steps=1000,
    )
    spread = PARALLEL["shard_map"](jax.devices()[:1])
    state = spread.first_state(from_torch(weights, abstract(model, case)), rule)
    batch = spread.put_batch(data)
    begin = time.perf_counter()
    compiled = spread.spread_train(step).lower(state, batch).compile()
    compile_s = time.perf_counter() - begin

    def take():
        nonlocal state
        state, metrics = compiled(state, batch)
        float(metrics["loss"])  # waits for the step

    took = timed(take, steps)
    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    memory = stats.get("peak_bytes_in_use") or compiled.memory_analysis().temp_size_in_bytes
    flops = (compiled.cost_analysis() or {}).get("flops", 0.0)
    peak = next((p for name, p in PEAKS.items() if name in device.device_kind), None)
    mfu = flops / took["step_s"] / peak[dtype != "bfloat16"] if peak else None
    return {**took, "compile_s": compile_s, "memory": memory, "mfu": mfu}


def timed(take, steps: int) -> dict[str, float]:
    """Medians of the seconds of a step: that went by, and that this process worked."""
    clocks = {"step_s": time.perf_counter, "cpu_s": time.process_time}
    times: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(WARMUP + steps):
        begin = {name: now() for name, now in clocks.items()}
        take()
        for name, now in clocks.items():
            times[name].append(now() - begin[name])
    return {name: statistics.median(found[WARMUP:]) for name, found in times.items()}


def theirs(
    case: Case, network, method: str, dtype: str, data, how: str, layout: str, steps: int
) -> dict:
    import torch
    import torch_methods

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    form = {"memory_format": getattr(torch, layout)}
    student = copy.deepcopy(network).to(device, **form)
    teacher = copy.deepcopy(student)
    v = torch_views(data, case, student, device, form)
    if how == "compile":
        student, teacher = (torch.compile(model) for model in (student, teacher))
    optimizer = torch.optim.SGD(student.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4)
    statement = getattr(torch_methods, method)
    if method == "fixmatch":
        statement = functools.partial(statement, joint=False)

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            *_, loss = statement(student, teacher, v, CONFIDENCE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            old, new = (list(model.parameters()) for model in (teacher, student))
            torch._foreach_lerp_(old, new, 0.004)
        return float(loss)

    took = timed(step, steps)
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else None
    return {**took, "memory": memory}


def torch_views(data, case: Case, network, device: str, form: dict) -> dict[str, Any]:
    """Finished views as tensors on the device."""
    import torch

    views = Views(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    keys, size = data["unlabeled"]["key"], data["unlabeled"]["image"].shape[1:3]

    def image(x):
        x = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)
        return x.to(device, **form)

    v = {
        "labeled": image(views.weak(data["labeled"]["image"])),
        "weak": image(views.weak(data["unlabeled"]["image"])),
        "weak_mix": image(views.weak(data["mix"]["image"])),
        "mask": torch.from_numpy(data["labeled"]["mask"].astype(np.int64)).to(device),
    }
    for j in (0, 1):
        v[f"strong_{j}"] = image(views.weak(data["unlabeled"]["image"]))
        v[f"strong_mix_{j}"] = image(views.weak(data["mix"]["image"]))
        v[f"box_{j}"] = torch.from_numpy(np.array(views.box(keys, *size, view=j))).to(device)
    for name, key in (("valid", "unlabeled"), ("valid_mix", "mix")):
        v[name] = torch.from_numpy(data[key]["valid"]).to(device)
    if hasattr(network.backbone, "widths"):
        both = jnp.concatenate([data["labeled"]["key"], keys])
        kept = [views.channels(both, c, 0.5, view=i) for i, c in enumerate(network.backbone.widths)]
        v["kept"] = [torch.from_numpy(np.array(x)).to(device) for x in kept]
    return v


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES)[:-2])
    parser.add_argument("--methods", nargs="+", default=["fixmatch", "unimatch"])
    parser.add_argument("--relations", nargs="+", default=["none", "class_map/kl"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument(
        "--batch", type=int, default=8, help="labeled, and as many unlabeled, images"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--torch", nargs="*", choices=("eager", "compile"), default=["eager"])
    parser.add_argument(
        "--allocator",
        choices=("kept", "default"),
        default="kept",
        help="on a CPU: freed memory stays with the process, as in training, or goes back",
    )
    parser.add_argument("--json", type=pathlib.Path, help="write the numbers to this file too")
    options = parser.parse_args()
    if options.allocator == "kept":
        keep_freed_memory()
    if jax.default_backend() == "gpu":
        jax.config.update("jax_default_matmul_precision", "tensorfloat32")
    record: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "batch": options.batch,
        "rows": [],
    }
    if options.torch:
        import torch

        record["torch"] = torch.__version__
    print(f"{record['device']}, jax {record['jax']}, torch {record.get('torch')}", flush=True)
    for name in options.cases:
        case = CASES[name]
        data = random_batch(case.side, options.batch, options.batch, CLASSES)
        network = torch_model(case)
        weights = {k: value.detach().numpy() for k, value in network.state_dict().items()}
        for method in options.methods:
            # The statement of UniMatch in PyTorch is for feature maps with two levels.
            if method == "unimatch" and case.model == "dpt":
                continue
            for dtype in options.dtypes:
                measure(record["rows"], options, name, case, network, weights, method, dtype, data)
                if options.json:
                    options.json.write_text(json.dumps(record, indent=1) + "\n")


def measure(rows, options, name, case, network, weights, method, dtype, data) -> None:
    label = {"case": name, "method": method, "dtype": dtype}
    best, basis = None, "cpu_s" if jax.default_backend() == "cpu" else "step_s"
    layouts = LAYOUTS if jax.default_backend() == "cpu" else LAYOUTS[:1]
    for how, layout in itertools.product(options.torch, layouts):
        row = theirs(case, network, method, dtype, data, how, layout, options.steps)
        best = min(best or row[basis], row[basis])
        rows.append({**label, "who": f"torch {how} {layout}", **row})
        print(rows[-1], flush=True)
    for relation in options.relations:
        row = ours(case, method, relation, dtype, data, weights, options.steps)
        images = 2 * options.batch / row["step_s"]
        ratio = best / row[basis] if best else None
        rows.append({**label, "who": "this", "relation": relation, **row})
        rows[-1] |= {"images_per_s": images, "torch_over_this": ratio}
        print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
