"""Estimate of a train step's memory, compared with the memory of the compiled program.

    python -m bench.memory
    python -m bench.memory --largest
    python -m bench.memory --adaptation

FixMatch with a relation, as many unlabeled as labeled images, one device. With --largest nothing is
compiled: it prints the largest batch for which MORE times the estimate fits. With --adaptation it
compares full fine-tuning of DPT on DINOv2-B with training parts of it.
"""

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp

from ipixmatch_jax import build
from ipixmatch_jax.config import default_config
from ipixmatch_jax.devices.memory_estimate import Memory, estimate
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.models.lora import TARGETS

_RESNET = {"stem": "deep", "output_stride": 16}
CASES = (
    ("unet", {"width": 16, "stem_stride": 2}, 64),
    ("deeplabv3plus", {"backbone": "efficientnet_lite0"}, 161),
    ("deeplabv3plus", {"backbone": "resnet18"}, 161),
    ("deeplabv3plus", {"backbone": "resnet50", **_RESNET}, 161),
    ("dpt", {"backbone": "dinov2_small"}, 140),
)
USUAL = (
    ("deeplabv3plus", {"backbone": "resnet50", **_RESNET}, 321),
    ("deeplabv3plus", {"backbone": "resnet101", **_RESNET}, 321),
    ("deeplabv3plus", {"backbone": "resnet101", **_RESNET}, 801),
    ("dpt", {"backbone": "dinov2_small"}, 518),
    ("dpt", {"backbone": "dinov2_base"}, 518),
)
# DPT on DINOv2-B fine-tuned as a whole or in part: label and keys of the model.
ADAPTED = {"backbone": "dinov2_base"}
ADAPTATIONS = (
    ("everything", {}),
    (
        "the last 4 blocks",
        {"frozen": ("encoder", "!encoder/block_0[89]", "!encoder/block_1[01]", "!encoder/norm")},
    ),
    ("LoRA, rank 8, all targets", {"lora_rank": 8, "lora_targets": TARGETS}),
    ("LoRA, rank 8, query and value", {"lora_rank": 8}),
    ("biases (BitFit)", {"frozen": ("encoder", "!encoder/*/bias")}),
    ("the head alone", {"frozen": ("encoder",)}),
)
DEVICES_GB = (16, 24, 40, 80)
# On a CPU, programs of large models need up to MORE times the estimate of the step. USED is the
# share of the device's memory that may be filled.
MORE, USED = 1.8, 0.9


def parts(name: str, options: dict[str, Any], side: int, batch: int) -> tuple:
    """The train step, and the shapes of its arguments."""
    config = default_config()
    config.data.num_classes, config.data.crop_size = 21, (side, side)
    config.batch_size = config.unlabeled_batch_size = batch
    with config.unlocked():
        config.model.update({"name": name, **options})
    model, method = build.build_model(config), build.build_method(config)
    optimizer, step = build.build_train_step(config, model, method)
    state = build.abstract_state(config, model, optimizer)
    return step, state, build.abstract_batch(config, batch)


def compare(parallel) -> None:
    print("| model | crop | estimate, MB | program, MB | ratio | tracing, s |")
    print("|---|---|---|---|---|---|")
    for name, options, side in CASES:
        step, state, batch = parts(name, options, side, 2)
        begin = time.process_time()
        found = estimate(step, state, batch, parallel)
        tracing = time.process_time() - begin
        actual = _program(parallel, step, state, batch)
        print(
            f"| {name} {options.get('backbone', '')} | {side} | {found.step / 1e6:.0f} "
            f"| {actual / 1e6:.0f} | {actual / found.step:.2f} | {tracing:.1f} |",
            flush=True,
        )


def largest(parallel) -> None:
    heads = " | ".join(f"{size} GB" for size in DEVICES_GB)
    print(
        f"| model | crop | compute | remat | {heads} |\n|---|---|---|---|{'---|' * len(DEVICES_GB)}"
    )
    for name, options, side in USUAL:
        for dtype, remat in (("float32", False), ("bfloat16", True)):
            chosen = {**options, "dtype": jnp.dtype(dtype).name, "remat": remat}
            # For small batches, the memory of the optimizer's update would hide that of images.
            few, many = (estimate(*parts(name, chosen, side, batch), parallel) for batch in (8, 16))
            cells = " | ".join(str(_fits(few, many, 1e9 * size)) for size in DEVICES_GB)
            backbone = options["backbone"]
            print(f"| {name} {backbone} | {side} | {dtype} | {remat} | {cells} |", flush=True)


def adaptation(parallel) -> None:
    heads = ("trained", "parameters that learn", "state, MB", "step, estimate, MB", "program, MB")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for label, keys in ADAPTATIONS:
        step, state, batch = parts("dpt", ADAPTED | keys, 518, 2)
        found = estimate(step, state, batch, parallel)
        learning = sum(leaf.size for leaf in jax.tree.leaves(state.teacher_params)) / 1e6
        print(
            f"| {label} | {learning:.2f} M | {found.state / 1e6:.0f} | {found.step / 1e6:.0f} "
            f"| {_program(parallel, step, state, batch) / 1e6:.0f} |",
            flush=True,
        )


def _program(parallel, step, state, batch) -> int:
    """Bytes that the compiled train step needs besides its arguments and results."""
    program = parallel.distribute_train(step).lower(state, batch).compile()
    return program.memory_analysis().temp_size_in_bytes


def _fits(few: Memory, many: Memory, device: float) -> int:
    """The largest number of labeled images, extrapolated from the estimates for 8 and 16."""
    image = (many.step - few.step) / 8
    room = (USED * device - few.state) / MORE - (few.step - 8 * image)
    return max(0, int(room / image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--largest", action="store_true", help="the table of largest batches")
    parser.add_argument("--adaptation", action="store_true", help="the table of partial training")
    options = parser.parse_args()
    parallel = PARALLEL["shard_map"](jax.devices()[:1])
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    table = largest if options.largest else adaptation if options.adaptation else compare
    table(parallel)


if __name__ == "__main__":
    main()
