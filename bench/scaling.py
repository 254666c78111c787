"""Communication between devices in a train step, and the time of a step on 1, 2, 4 and 8 devices.

    python -m bench.scaling --json bench/results/scaling-cpu.json
    python -m bench.scaling --model deeplabv3plus --crop 321 --no-times

The collectives and their bytes are read from the compiled step. The devices are virtual devices of
this machine's CPU and share its cores. With the same global batch, `overhead` is the additional
time of a step compared with one device, which is the cost of distributing it here. --predict prints
the table of the model in docs/scaling.md.
"""

import argparse
import collections
import math
import os
import pathlib
import platform
import re
import statistics
import time

from bench.common import write_record

DEVICES = (1, 2, 4, 8)
COLLECTIVES = (
    "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
)
_LINE = re.compile(rf"= (\(.*?\)|\S+) ({COLLECTIVES})(?:-start)?\(")
_SHAPE = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}


def collectives(text: str) -> dict[str, dict[str, int]]:
    """Name → `count`, `arrays` and `bytes` of the collectives of a compiled program's text."""
    found: dict = collections.defaultdict(lambda: {"count": 0, "arrays": 0, "bytes": 0})
    for shapes, name in _LINE.findall(text):
        entry = found[name]
        entry["count"] += 1
        for dtype, dimensions in _SHAPE.findall(shapes):
            entry["arrays"] += 1
            entry["bytes"] += _BYTES[dtype] * math.prod(int(d) for d in dimensions.split(",") if d)
    return dict(found)


def config_of(options: argparse.Namespace, parallel: str):
    from ipixmatch_jax.config import default_config, validate

    config = default_config()
    config.data.name, config.data.labeled, config.data.num_classes = "digits", "10", 11
    config.data.crop_size = (options.crop, options.crop)
    config.model.name = options.model
    if options.model == "unet":
        config.model.width, config.model.depth = options.width, 2
    config.batch_size = config.unlabeled_batch_size = options.batch
    config.parallel = parallel
    validate(config)
    return config


def measure(options: argparse.Namespace, parallel_name: str, count: int) -> dict:
    """Collectives and median time of a step on `count` devices, with the same global batch."""
    import jax

    from bench.common import random_batch
    from ipixmatch_jax import build
    from ipixmatch_jax.devices.parallel import PARALLEL

    config = config_of(options, parallel_name)
    parallel = PARALLEL[parallel_name](jax.devices()[:count])
    model, method = build.build_model(config), build.build_method(config)
    optimizer, device_step = build.build_train_step(config, model, method)
    step = parallel.distribute_train(device_step)
    state = build.build_state(config, model, optimizer, parallel)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    data = random_batch(
        options.crop, config.batch_size, config.unlabeled_batch_size, config.data.num_classes
    )
    batch = parallel.put_batch(data)
    compiled = step.lower(state, batch).compile()
    row = {
        "parallel": parallel_name,
        "devices": count,
        "parameters": parameters,
        "collectives": collectives(compiled.as_text()) if count > 1 else {},
    }
    if options.times:
        times = []
        for _ in range(options.rounds + 1):
            begin = time.perf_counter()
            state, _ = jax.block_until_ready(step(state, batch))
            times.append(time.perf_counter() - begin)
        row["seconds"] = statistics.median(times[1:])
    return row


def table(rows: list[dict]) -> str:
    """The rows as markdown."""
    lines = [
        "| parallel | devices | collectives in a step | arrays | bytes | of the parameters "
        "| time of a step | overhead |",
        "|---|---|---|---|---|---|---|---|",
    ]
    alone = {row["parallel"]: row.get("seconds") for row in rows if row["devices"] == 1}
    for row in rows:
        found = row["collectives"]
        names = ", ".join(f"{entry['count']} {name}" for name, entry in found.items()) or "none"
        arrays = sum(entry["arrays"] for entry in found.values())
        size = sum(entry["bytes"] for entry in found.values())
        seconds, base = row.get("seconds"), alone.get(row["parallel"])
        took = f"{1000 * seconds:.0f} ms" if seconds else "–"
        more = f"{100 * (seconds / base - 1):+.0f} %" if seconds and base else "–"
        share = f"{size / (4 * row['parameters']):.2f} x"
        lines.append(
            f"| {row['parallel']} | {row['devices']} | {names} | {arrays} | {size:,} | {share} "
            f"| {took} | {more} |"
        )
    return "\n".join(lines)


def efficiency(
    devices: int,
    *,
    seconds: float,
    parameters: float,
    waits: int,
    bandwidth: float,
    wait_seconds: float,
    hidden: float = 0.5,
) -> float:
    """Share of its time in which a device computes, with a fixed number of images per device.

    Args:
        devices: number of devices.
        seconds: time of a step on one device.
        parameters: number of parameters; their gradients are float32.
        waits: number of small all-reduces that the step waits for: synchronized batch norm.
        bandwidth: bytes per second of a device, one way.
        wait_seconds: time of one small all-reduce over all devices.
        hidden: share of the step's time that can hide the all-reduce of the gradients.
    """
    ring = 2 * (devices - 1) / devices * 4 * parameters / bandwidth
    return seconds / (seconds + max(0.0, ring - hidden * seconds) + waits * wait_seconds)


def prediction() -> str:
    """The table of docs/scaling.md: DeepLabV3+ on ResNet-50, by machine and step time."""
    network = {"parameters": 40e6, "waits": 434}
    lines = ["| machine | devices | step 50 ms | 100 ms | 300 ms |", "|---|---|---|---|---|"]
    for count in (8, 64, 256):
        tpu = {"bandwidth": 100e9, "wait_seconds": 2e-6 * math.sqrt(count)}
        lines.append(_predicted("TPU v5e", count, network | tpu))
    for count in (8, 64):
        gpu = {"bandwidth": 300e9, "wait_seconds": 20e-6}
        if count > 8:
            gpu = {"bandwidth": 50e9, "wait_seconds": 40e-6}
        lines.append(_predicted("8-GPU hosts", count, network | gpu))
    return "\n".join(lines)


def _predicted(machine: str, count: int, facts: dict) -> str:
    shares = [efficiency(count, seconds=step, **facts) for step in (0.05, 0.1, 0.3)]
    return f"| {machine} | {count} | " + " | ".join(f"{100 * s:.0f} %" for s in shares) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="unet")
    parser.add_argument("--width", type=int, default=8, help="width of the unet")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="labeled images, and unlabeled ones")
    parser.add_argument("--devices", type=int, nargs="+", default=list(DEVICES))
    parser.add_argument("--parallel", nargs="+", default=["pmap", "shard_map", "zero1"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-times", dest="times", action="store_false", help="run no step")
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    parser.add_argument("--predict", action="store_true", help="only print the model's table")
    options = parser.parse_args()
    if options.predict:
        return print(prediction())

    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(max(options.devices)))
    rows = []
    for name in options.parallel:
        for count in options.devices:
            rows.append(measure(options, name, count))
            print(f"{name} on {count}", flush=True)
    print(table(rows))
    if options.json:
        about = {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"}
        keys = ("model", "width", "crop", "batch")
        about |= {key: getattr(options, key) for key in keys}
        write_record(options.json, {**about, "rows": rows})


if __name__ == "__main__":
    main()
