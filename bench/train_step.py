"""The whole train step of a method, with and without a relation, compared with PyTorch.

    python -m bench.train_step --json bench/results/train-step-h100.json        # a GPU
    taskset -c 0 python -m bench.train_step --cases resnet50-321 --batch 2 --methods fixmatch

Both sides have the same batch and shapes, float32 master weights, SGD with momentum and an EMA
teacher. Our step makes its weak and strong views and CutMix boxes itself. PyTorch gets ready-made
float views on the device, because its data loaders make them on the host. PyTorch runs with its
fastest settings: channels last (on a CPU the faster of both layouts), TF32 for `float32` on a GPU
like ours, autocast for `bfloat16`, and compiled with `--torch compile`.

Every row is measured in a separate process, which has the whole device. A row that fails, for
example for lack of memory, shows its error. Times are medians over consecutive steps: `step_s` is
wall time, and `cpu_s` processor time of all cores, which the ratio uses on a CPU. Memory is the
peak of the device; on a CPU it is what the compiled program reports. MFU divides the floating-point
operations of the traced program, as XLA counts them, by the time and by the device's published peak
of dense bfloat16 or TF32 operations.

It needs jax, flax, optax and numpy, and torch for the comparison.
"""

import argparse
import itertools
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bench.common import random_batch, timed, write_record
from bench.models import CLASSES, Case
from ipixmatch_jax.devices.cpu_allocator import keep_freed_memory
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.objective import Objective, Threshold
from ipixmatch_jax.engine.optimizer import make_optimizer
from ipixmatch_jax.engine.state import DATA_AXIS
from ipixmatch_jax.engine.step import make_train_step
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.methods import make_method
from ipixmatch_jax.models import create_model, init_variables
from ipixmatch_jax.views import Views

CONFIDENCE = 0.5
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
# Dense operations per second from the vendor's data sheet: (bfloat16, TF32 or float32).
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


class Row(NamedTuple):
    """One measurement: our step with a relation (or `none`), or PyTorch's, eager or compiled."""

    case: str
    method: str
    dtype: str
    who: str
    how: str
    batch: int
    steps: int
    allocator: str


def ours(row: Row) -> dict[str, Any]:
    if row.allocator == "kept":
        keep_freed_memory()
    if jax.default_backend() == "gpu":
        jax.config.update("jax_default_matmul_precision", "tensorfloat32")
    case = CASES[row.case]
    model = create_model(
        case.model, num_classes=CLASSES, dtype=row.dtype, axis_name=DATA_AXIS, **case.options
    )
    named = () if row.how == "none" else (WeightedRelation(*row.how.split("/"), weight=0.1),)
    batch = random_batch(case.side, row.batch, row.batch, CLASSES)
    lower, take_with = step_of(model, row.method, named, batch)
    begin = time.perf_counter()
    lowered = lower()
    compiled = lowered.compile()
    compile_s = time.perf_counter() - begin
    take = take_with(compiled)

    took = timed(take, row.steps)
    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    memory = stats.get("peak_bytes_in_use") or compiled.memory_analysis().temp_size_in_bytes
    # Of the traced program, because libraries that a compiled one calls are not counted.
    flops = (lowered.cost_analysis() or {}).get("flops", 0.0)
    peak = next((p for name, p in PEAKS.items() if name in device.device_kind), None)
    mfu = flops / took["step_s"] / peak[row.dtype != "bfloat16"] if peak else None
    about = {"device": device.device_kind, "jax": jax.__version__}
    return {**about, **took, "compile_s": compile_s, "memory": memory, "mfu": mfu, "flops": flops}


def step_of(
    model: Any, method: str, relations: tuple[WeightedRelation, ...], batch: dict[str, Any]
) -> tuple[Callable[[], Any], Callable[[Any], Callable[[], None]]]:
    """A function that lowers the train step of a batch, and one from the compiled step to a call.

    The call takes one step from the state that the last one left, and waits for it.
    """
    rule, schedule = make_optimizer(OPTIMIZER, 1000)
    step = make_train_step(
        model,
        make_method(method, {"confidence": CONFIDENCE}),
        Views(mean=model.input_mean, std=model.input_std),
        Objective(threshold=Threshold(CONFIDENCE), relations=relations),
        rule,
        schedule,
        total_steps=1000,
    )
    parallel = PARALLEL["shard_map"](jax.devices()[:1])
    side = batch["labeled"]["image"].shape[1]
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    state = parallel.first_state(init_variables(model, jax.random.key(0), images), rule)
    batch = parallel.put_batch(batch)

    def take_with(compiled):
        def take() -> None:
            nonlocal state
            state, metrics = compiled(state, batch)
            float(metrics["loss"])  # waits for the step

        return take

    return lambda: parallel.distribute_train(step).lower(state, batch), take_with


def theirs(row: Row) -> dict[str, Any]:
    import torch

    from bench.torch_step import DEVICE, LAYOUTS, step_times

    case = CASES[row.case]
    data = random_batch(case.side, row.batch, row.batch, CLASSES)
    basis = "cpu_s" if DEVICE == "cpu" else "step_s"
    found = []
    for layout in LAYOUTS:
        named = {"how": row.how, "layout": layout, "confidence": CONFIDENCE, "steps": row.steps}
        found.append({"layout": layout, **step_times(case, row.method, row.dtype, data, **named)})
    others = {f"{one['layout']}_{basis}": one[basis] for one in found}
    return {"torch": torch.__version__, **min(found, key=lambda one: one[basis]), **others}


def in_own_process(row: Row) -> dict[str, Any]:
    """Measures a row in a separate process; returns its results, or its `error`."""
    command = [sys.executable, "-m", "bench.train_step", "--row", json.dumps(row._asdict())]
    # JAX makes the views for PyTorch; on the GPU it would take most of the memory.
    place = {"JAX_PLATFORMS": "cpu"} if row.who == "torch" else {}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **place})
    if done.returncode:
        said = done.stderr.strip().splitlines()
        # JAX ends its output with a remark about its traceback.
        errors = [line for line in said if "Error" in line] or said or [""]
        return {"error": f"exit code {done.returncode}: {errors[-1]}"}
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(options: argparse.Namespace) -> Iterator[Row]:
    ways = [("torch", how) for how in options.torch]
    ways += [("this", relation) for relation in options.relations]
    sizes = (options.batch, options.steps, options.allocator)
    for name, method, dtype in itertools.product(options.cases, options.methods, options.dtypes):
        for who, how in ways:
            # The PyTorch version of UniMatch expects feature maps of two levels.
            if who == "torch" and method == "unimatch" and CASES[name].model == "dpt":
                continue
            yield Row(name, method, dtype, who, how, *sizes)


def table(rows: list[dict[str, Any]], basis: str) -> str:
    """A table of times by `basis`, with PyTorch's fastest time for the same step over ours."""
    lines = [
        f"| case | method | dtype | | {basis} | steps/s | images/s | GB | MFU | torch / this |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        label = [row[key] for key in ("case", "method", "dtype")] + [f"{row['who']} {row['how']}"]
        if "error" in row:
            lines.append(f"| {' | '.join(label)} | {row['error']} | | | | | |")
            continue
        rate, memory, mfu = 1 / row["step_s"], row["memory"], row.get("mfu")
        cells = [f"{row[basis]:.4g}", f"{rate:.3g}", f"{2 * row['batch'] * rate:.3g}"]
        cells += [f"{memory / 1e9:.2f}" if memory else "", f"{mfu:.3f}" if mfu else ""]
        same = [r[basis] for r in rows if r["who"] == "torch" and _same(r, row) and basis in r]
        against = same and row["who"] == "this"
        cells.append(f"{min(same) / row[basis]:.2f}" if against else "")
        lines.append(f"| {' | '.join(label + cells)} |")
    return "\n".join(lines)


def _same(one: dict, other: dict) -> bool:
    return all(one[key] == other[key] for key in ("case", "method", "dtype", "batch"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES)[:-2])
    parser.add_argument("--methods", nargs="+", default=["fixmatch", "unimatch"])
    parser.add_argument("--relations", nargs="+", default=["none", "class_map/kl"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument(
        "--batch", type=int, default=8, help="labeled images, with as many unlabeled ones"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--torch", nargs="*", choices=("eager", "compile"), default=["eager"])
    parser.add_argument(
        "--allocator",
        choices=("kept", "default"),
        default="kept",
        help="on a CPU: keep freed memory in the process, as in training, or return it",
    )
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.row:
        row = Row(**json.loads(options.row))
        print(json.dumps(theirs(row) if row.who == "torch" else ours(row)))
        return
    record: dict[str, Any] = {"rows": []}
    for row in rows_of(options):
        found = {**row._asdict(), **in_own_process(row)}
        for key in ("device", "jax", "torch"):
            record |= {key: found.pop(key)} if key in found else {}
        record["rows"].append(found)
        print(found, flush=True)
        if options.json:
            write_record(options.json, record)
    device, versions = record.get("device"), f"jax {record.get('jax')}, torch {record.get('torch')}"
    basis = "cpu_s" if device == "cpu" else "step_s"
    print(f"\n{device}, {versions}\n\n{table(record['rows'], basis)}")


if __name__ == "__main__":
    main()
