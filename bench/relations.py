"""Time and memory of every relation loss, compared with its naive N×N form.

    python -m bench.relations --json bench/results/relations-cpu.json
    python -m bench.relations --growth
    python -m bench.relations --step

The naive form is timed at the size at which its N×N matrices fit (64 × 64 pixels). `bound` is the
time to read the two maps and write the gradient at this machine's measured copy rate. `temporary`
is the memory of temporaries that the compiled program reports, as a multiple of the two maps.
--growth measures how the time grows with the pixels of an image, in batches with equal numbers of
pixels, so that caches have the same effect on small and large images. --step measures how much each
relation adds to the train step of DeepLabV3+. On a CPU, times are processor time.
"""

import argparse
import functools
import itertools
import pathlib
import platform
import time

import jax
import jax.numpy as jnp
import numpy as np

from bench.common import clock, random_batch, write_record
from ipixmatch_jax.devices.cpu_allocator import keep_freed_memory
from ipixmatch_jax.losses import inter_pixel_loss

SIDES = (64, 128, 321, 513, 801)
CLASSES = (2, 21, 150)
RELATIONS = ("class_map/kl", "class_map/corr", "affinity/mse", "affinity/corr", "affinity/kl")
NAIVE_SIDE = 64
AGAIN = ", again"
# The time of affinity/kl grows with N²: on a CPU, larger maps are pooled first.
STRIDES = {321: 4, 513: 6, 801: 10}


def naive(student, teacher, keep, *, name):
    """An affinity loss by its definition, with N×N matrices: the mean over images."""
    values = []
    for y, z, m in zip(student, teacher, keep, strict=True):
        y, z, m = y.reshape(-1, y.shape[-1]), z.reshape(-1, z.shape[-1]), m.reshape(-1)
        p, q = jax.nn.softmax(z), jax.nn.softmax(y)
        a, b, w = p @ p.T, q @ q.T, m[:, None] * m[None] / jnp.sum(m) ** 2
        if name == "affinity/mse":
            values.append(jnp.sum(w * (a - b) ** 2))
        elif name == "affinity/corr":
            a, b = a - jnp.sum(w * a), b - jnp.sum(w * b)
            norm = jnp.sqrt(jnp.sum(w * a**2) * jnp.sum(w * b**2))
            values.append(1 - jnp.sum(w * a * b) / norm)
        else:
            log_a, log_b = (jax.nn.log_softmax(x + jnp.log(m)[None]) for x in (a, b))
            values.append(m @ jnp.sum(jnp.exp(log_a) * (log_a - log_b), axis=1) / jnp.sum(m))
    return sum(values) / len(values)


def seconds(function, *arguments, budget: float = 1.5) -> float:
    """Seconds of the fastest call, which other work on the machine disturbs least."""
    now = clock(jax.default_backend())
    jax.block_until_ready(function(*arguments))
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < budget and len(times) < 30 or not times:
        begin = now()
        jax.block_until_ready(function(*arguments))
        times.append(now() - begin)
    return min(times)


def copy_rate() -> float:
    """Bytes per second that a large copy on the device reads and writes."""
    x = jnp.zeros((64 << 20) // 4)
    return 2 * x.nbytes / seconds(jax.jit(lambda x: x + 1.0), x)


def maps(batch: int, side: int, classes: int):
    rng = np.random.default_rng(0)
    shape = (batch, side, side, classes)
    teacher = rng.standard_normal(shape, np.float32) * 3
    student = teacher + rng.standard_normal(shape, np.float32)
    keep = rng.random(shape[:3], np.float32)
    return tuple(jax.device_put(x) for x in (student, teacher, keep))


def loss_of(name: str, **options):
    """A relation's `inter_pixel_loss` by name, as a function of student, teacher and keep."""
    relation, distance = name.split("/")
    return functools.partial(inter_pixel_loss, relation=relation, distance=distance, **options)


def measure(name: str, side: int, classes: int, batch: int, rate: float) -> dict:
    options = {}
    if name == "affinity/kl" and jax.default_backend() == "cpu":
        options = {"stride": STRIDES[side]} if side in STRIDES else {}
    loss = loss_of(name, **options)
    arguments = maps(batch, side, classes)
    both = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
    size = 2 * arguments[0].nbytes
    row = {
        "relation": name,
        "side": side,
        "classes": classes,
        "batch": batch,
        "stride": options.get("stride", 1),
        "forward_s": seconds(jax.jit(loss), *arguments),
        "both_s": seconds(both, *arguments),
        "bound_s": 1.5 * size / rate,
        "temporary": both.memory_analysis().temp_size_in_bytes / size,
    }
    if side == NAIVE_SIDE and name.startswith("affinity/"):
        gradient = jax.jit(jax.value_and_grad(functools.partial(naive, name=name)))
        row["naive_s"] = seconds(gradient, *arguments)
    return row


def exponent(pixels: list[int], times: list[float]) -> float:
    """Exponent of N in the time, fitted by a line to log time over log N."""
    return float(np.polyfit(np.log(pixels), np.log(times), 1)[0])


def growth(name: str, classes: int, sides: list[int]) -> dict:
    """Seconds per image, in batches with as many pixels as one image of the largest side."""
    both, times = jax.jit(jax.value_and_grad(loss_of(name))), []
    for side in sides:
        batch = round(max(sides) ** 2 / side**2)
        times.append(seconds(both, *maps(batch, side, classes)) / batch)
    fit = exponent([side**2 for side in sides], times)
    return {"relation": name, "classes": classes, "sides": sides, "seconds": times, "exponent": fit}


def table(rows: list[dict]) -> str:
    lines = [
        "| relation | side | C | stride | forward, ms | and backward, ms | over bound | temporary "
        "/ maps | naive / this |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = f"{row['naive_s'] / row['both_s']:.0f}" if "naive_s" in row else ""
        lines.append(
            f"| {row['relation']} | {row['side']} | {row['classes']} | {row['stride']} "
            f"| {1e3 * row['forward_s']:.2f} | {1e3 * row['both_s']:.2f} "
            f"| {row['both_s'] / row['bound_s']:.1f} | {row['temporary']:.1f} | {ratio} |"
        )
    return "\n".join(lines)


def step_shares(
    side: int, batch: int, backbone: str, rounds: int, relations: list[str]
) -> list[dict]:
    """Times the whole train step of DeepLabV3+, without a relation and with each.

    Rows are relative to the step without a relation: `added` is the difference of whole steps, and
    `alone` the time of the loss and its gradient on maps of the same size. The last row repeats the
    step without a relation, in buffers of its own; its `added` shows the error of such differences.
    """
    from ipixmatch_jax import build
    from ipixmatch_jax.config import default_config
    from ipixmatch_jax.devices.parallel import PARALLEL

    data = random_batch(side, batch, batch, 21)
    now = clock(jax.default_backend())
    parallel = PARALLEL["pmap"](jax.devices()[:1])
    config = default_config()
    config.data.num_classes, config.data.crop_size = 21, (side, side)
    config.model.backbone = backbone
    config.method.confidence = 0.0
    config.optimizer.name = "sgd"
    model, method = build.build_model(config), build.build_method(config)

    steps = {}
    for name in ("none", *relations, "none" + AGAIN):
        relation = name.removesuffix(AGAIN)
        config.relation.name, _, config.relation.distance = relation.partition("/")
        optimizer, step = build.build_train_step(config, model, method)
        state = build.build_state(config, model, optimizer, parallel)
        run = functools.partial(
            parallel.distribute(step, donate=False), state, parallel.put_batch(data)
        )
        steps[name] = (run, [])
        jax.block_until_ready(run())
    # In turns, so that other work on the machine slows all of them.
    for _ in range(rounds):
        for run, times in steps.values():
            begin = now()
            jax.block_until_ready(run())
            times.append(now() - begin)
    bare, rows = min(steps["none"][1]), []
    for name, (_, times) in steps.items():
        row = {"relation": name, "step_s": min(times), "added": min(times) / bare - 1}
        if name in relations:
            loss = jax.jit(jax.value_and_grad(loss_of(name)))
            row["alone"] = seconds(loss, *maps(batch, side, 21)) / bare
        rows.append(row)
    return rows


def main() -> None:
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--relations", nargs="+", choices=RELATIONS, default=list(RELATIONS))
    parser.add_argument("--sides", nargs="+", type=int, default=list(SIDES))
    parser.add_argument("--classes", nargs="+", type=int, default=list(CLASSES))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--growth", action="store_true", help="measure how time grows with N")
    parser.add_argument("--step", action="store_true", help="measure the share of a train step")
    parser.add_argument("--step-backbone", default="resnet50")
    parser.add_argument("--step-rounds", type=int, default=5)
    parser.add_argument("--step-side", type=int, default=321)
    parser.add_argument("--step-batch", type=int, default=2)
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    options = parser.parse_args()
    device = jax.devices()[0]
    record = {
        "device": device.device_kind if device.platform != "cpu" else platform.machine() + " CPU",
        "jax": jax.__version__,
    }
    print(f"{record['device']}, jax {record['jax']}", flush=True)
    # affinity/kl grows with N², and its share of a step depends on its stride.
    linear = [name for name in options.relations if name != "affinity/kl"]
    if options.step:
        sizes = (options.step_side, options.step_batch, options.step_backbone)
        record["step"] = step_shares(*sizes, options.step_rounds, linear)
        record["step_of"] = "DeepLabV3+ {2}, crop {0}, {1} + {1} images".format(*sizes)
        for row in record["step"]:
            alone = f"  alone {100 * row['alone']:.2f} %" if "alone" in row else ""
            added = f"{100 * row['added']:+6.2f} %"
            print(f"{row['relation']:15} {row['step_s']:8.3f} s  {added}{alone}", flush=True)
    elif options.growth:
        record["growth"] = []
        for name, classes in itertools.product(linear, options.classes):
            found = growth(name, classes, options.sides)
            record["growth"].append(found)
            print(f"time ~ N^{found['exponent']:.2f}  {name}, C={classes}", flush=True)
    else:
        rate = copy_rate()
        rows = []
        for name, classes in itertools.product(options.relations, options.classes):
            for side in options.sides:
                rows.append(measure(name, side, classes, options.batch, rate))
                print(table(rows[-1:]).split("\n")[-1], flush=True)
        print(f"\ncopy rate {rate / 1e9:.1f} GB/s\n\n{table(rows)}\n")
        record |= {"copy_bytes_per_s": rate, "rows": rows}
    if options.json:
        write_record(options.json, record)


if __name__ == "__main__":
    main()
