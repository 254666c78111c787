"""Time of each convolution of a model's train step on a CPU, compared with PyTorch.

    taskset -c 0 python -m bench.convolutions --json bench/results/convolutions-resnet50-cpu.json

Every distinct convolution of DeepLabV3+ runs alone, forward and then with both gradients, as
computed by `models/conv_backends.py` and by PyTorch in the faster of its two layouts. Both sides
take turns, and the fastest of a few rounds counts. The result is processor time, multiplied by the
number of such convolutions in the model. Needs the extra `parity`.
"""

import argparse
import collections
import functools
import math
import os
import pathlib
import platform
import time
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch

from bench.common import write_record
from bench.models import CLASSES, in_turns
from bench.torch_step import LAYOUTS
from ipixmatch_jax.devices.cpu_allocator import keep_freed_memory
from ipixmatch_jax.models import create_model
from ipixmatch_jax.models.conv_backends import conv_general_dilated, explicit_pads

RECORDED = "ipixmatch_jax.models.layers.conv_general_dilated"
SIDES = ("this", "torch")


class Convolution(NamedTuple):
    """Sizes and options of a convolution."""

    image: tuple[int, int]
    kernel: tuple[int, ...]  # height, width, channels in (of a group) and out
    strides: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int

    def __call__(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv_general_dilated(
            x, kernel, self.strides, self.pads, rhs_dilation=self.dilation,
            feature_group_count=self.groups,
        )  # fmt: skip

    @property
    def kind(self) -> str:
        name = ("depthwise " if self.groups > 1 else "") + "{}x{}".format(*self.kernel)
        for option, factor in (("stride", self.strides[0]), ("dilation", self.dilation[0])):
            name += f", {option} {factor}" if factor > 1 else ""
        return name


def convolutions(model, side: int) -> collections.Counter[Convolution]:
    """Counts the distinct convolutions of the model, without computing anything."""
    found: collections.Counter[Convolution] = collections.Counter()

    def record(x, kernel, strides, padding, rhs_dilation, feature_group_count, **options):
        pads = explicit_pads(x.shape, kernel.shape, strides, rhs_dilation, padding)
        found[
            Convolution(
                x.shape[1:3], kernel.shape, tuple(strides), pads, tuple(rhs_dilation),
                feature_group_count,
            )
        ] += 1  # fmt: skip
        options |= {"rhs_dilation": rhs_dilation, "feature_group_count": feature_group_count}
        return conv_general_dilated(x, kernel, strides, padding, **options)

    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    with mock.patch(RECORDED, record):
        jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    return found


def ours(one: Convolution, x: np.ndarray, kernel: np.ndarray) -> dict[str, Callable[[], object]]:
    forward = jax.jit(lambda x, kernel: one(x, kernel))
    dy = jax.device_put(np.ones(jax.eval_shape(forward, x, kernel).shape, np.float32))
    backward = jax.jit(lambda x, kernel, dy: jax.vjp(one, x, kernel)[1](dy))
    x, kernel = jax.device_put((x, kernel))
    return {
        "forward": lambda: jax.block_until_ready(forward(x, kernel)),
        "backward": lambda: jax.block_until_ready(backward(x, kernel, dy)),
    }


def theirs(
    one: Convolution, x: np.ndarray, kernel: np.ndarray, layout: torch.memory_format
) -> dict[str, Callable[[], object]]:
    (top, bottom), (left, right) = one.pads
    x = torch.from_numpy(x).permute(0, 3, 1, 2)
    if (top, left) != (bottom, right):  # padded beforehand, as in PyTorch's models
        x = torch.nn.functional.pad(x, (left, right, top, bottom))
        top = left = 0
    x = x.contiguous(memory_format=layout).requires_grad_()
    kernel = torch.from_numpy(kernel).permute(3, 2, 0, 1)
    kernel = kernel.contiguous(memory_format=layout).requires_grad_()

    def apply():
        options = (None, one.strides, (top, left), one.dilation, one.groups)
        return torch.nn.functional.conv2d(x, kernel, *options)

    def forward():
        with torch.no_grad():
            apply()

    y = apply()
    dy = torch.ones_like(y)
    backward = functools.partial(torch.autograd.grad, y, (x, kernel), dy, retain_graph=True)
    return {"forward": forward, "backward": backward}


def measure(one: Convolution, count: int, batch: int, rounds: int) -> dict:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *one.image, one.kernel[2] * one.groups), np.float32)
    kernel = rng.standard_normal(one.kernel, np.float32)
    sides = {"this": ours(one, x, kernel)}
    sides |= {layout: theirs(one, x, kernel, getattr(torch, layout)) for layout in LAYOUTS}
    row = {"kind": one.kind, "count": count, **one._asdict()}
    for which in ("forward", "backward"):
        functions = {side: runs[which] for side, runs in sides.items()}
        took = in_turns(functions, rounds, now=time.process_time)
        took["torch"] = min(took.pop(layout) for layout in LAYOUTS)
        row |= {f"{which}_{side}_s": count * seconds for side, seconds in took.items()}
    return row


def table(rows: list[dict]) -> str:
    """Sums by kind of convolution; the kind that loses most compared with PyTorch comes first."""
    columns = [f"{which}_{side}_s" for which in ("forward", "backward") for side in SIDES]
    kinds: dict[str, list[float]] = {}
    for row in rows:
        cells = kinds.setdefault(row["kind"], [0.0] * 5)
        for i, value in enumerate([row["count"], *(row[c] for c in columns)]):
            cells[i] += value
    kinds["all"] = [math.fsum(cells) for cells in zip(*kinds.values(), strict=True)]
    lines = [
        "| convolutions | number | forward, s | PyTorch | both gradients, s | PyTorch | lost, s |",
        "|---|---|---|---|---|---|---|",
    ]
    lost = {k: c[1] - c[2] + c[3] - c[4] for k, c in kinds.items()}
    for kind in sorted(kinds, key=lambda k: (k == "all", -lost[k])):
        count, *seconds = kinds[kind]
        cells = [f"{count:.0f}", *(f"{s:.3f}" for s in seconds), f"{lost[kind]:+.3f}"]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="resnet50", help="encoder of DeepLabV3+")
    parser.add_argument("--side", type=int, default=321, help="side of the crop in pixels")
    parser.add_argument("--batch", type=int, default=2, help="number of images")
    parser.add_argument("--rounds", type=int, default=3, help="measured calls of each function")
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    stem = {"stem": "deep"} if options.backbone in ("resnet50", "resnet101") else {}
    model = create_model(
        "deeplabv3plus", num_classes=CLASSES, backbone=options.backbone, output_stride=16, **stem
    )
    rows = []
    for one, count in convolutions(model, options.side).items():
        rows.append(measure(one, count, options.batch, options.rounds))
        print(rows[-1], flush=True)
    side = options.side
    title = f"DeepLabV3+ {options.backbone}, {options.batch} images of {side} x {side}"
    print(f"\n{title}, float32, CPU seconds\n\n{table(rows)}")
    if options.json:
        record = {
            "device": f"{platform.machine()} CPU",
            "threads": torch.get_num_threads(),
            "jax": jax.__version__,
            "torch": torch.__version__,
            "of": title,
            "rows": rows,
        }
        write_record(options.json, record)


if __name__ == "__main__":
    main()
