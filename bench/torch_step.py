"""Train steps of FixMatch and UniMatch in PyTorch with its fastest settings, for train_step.py."""

import copy
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch

from bench.common import timed
from bench.models import Case, torch_model
from ipixmatch_jax.views import Views
from tests.references import torch_methods

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# On a GPU, channels last is faster; on a CPU it depends on the model.
LAYOUTS = ("channels_last",) if DEVICE == "cuda" else ("channels_last", "contiguous_format")


def step_times(
    case: Case,
    method: str,
    dtype: str,
    data: dict,
    *,
    how: str,
    layout: str,
    confidence: float,
    steps: int,
) -> dict[str, Any]:
    """Median times and peak memory of a step.

    Args:
        case: the model and the size of the images.
        method: `fixmatch` or `unimatch`.
        dtype: `float32` or `bfloat16`.
        data: `random_batch`; its views are computed before the step.
        how: `eager` or `compile`.
        layout: one of LAYOUTS.
        confidence: confidence threshold of pseudo-labels.
        steps: number of measured steps.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    form = {"memory_format": getattr(torch, layout)}
    student = torch_model(case).to(DEVICE, **form)
    teacher = copy.deepcopy(student)
    v = _views(data, student, form)
    if how == "compile":
        student, teacher = (torch.compile(model) for model in (student, teacher))
    optimizer = torch.optim.SGD(student.parameters(), 1e-3, momentum=0.9, weight_decay=1e-4)
    statement = getattr(torch_methods, method)
    if method == "fixmatch":
        statement = functools.partial(statement, joint=False)

    def step():
        with torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == "bfloat16"):
            *_, loss = statement(student, teacher, v, confidence)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            old, new = (list(model.parameters()) for model in (teacher, student))
            torch._foreach_lerp_(old, new, 0.004)
        return float(loss)

    took = timed(step, steps)
    memory = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None
    return {**took, "memory": memory}


def _views(data: dict, network, form: dict) -> dict[str, Any]:
    """All views as tensors on the device."""
    views = Views(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    keys, size = data["unlabeled"]["key"], data["unlabeled"]["image"].shape[1:3]

    def image(x):
        x = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)
        return x.to(DEVICE, **form)

    v = {
        "labeled": image(views.weak(data["labeled"]["image"])),
        "weak": image(views.weak(data["unlabeled"]["image"])),
        "weak_mix": image(views.weak(data["mix"]["image"])),
        "mask": torch.from_numpy(data["labeled"]["mask"].astype(np.int64)).to(DEVICE),
    }
    for j in (0, 1):
        v[f"strong_{j}"] = image(views.weak(data["unlabeled"]["image"]))
        v[f"strong_mix_{j}"] = image(views.weak(data["mix"]["image"]))
        v[f"box_{j}"] = torch.from_numpy(np.array(views.box(keys, *size, view=j))).to(DEVICE)
    for name, key in (("valid", "unlabeled"), ("valid_mix", "mix")):
        v[name] = torch.from_numpy(data[key]["valid"]).to(DEVICE)
    if hasattr(network.backbone, "widths"):
        both = jnp.concatenate([data["labeled"]["key"], keys])
        kept = [views.channels(both, c, 0.5, view=i) for i, c in enumerate(network.backbone.widths)]
        v["kept"] = [torch.from_numpy(np.array(x)).to(DEVICE) for x in kept]
    return v
