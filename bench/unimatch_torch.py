"""UniMatch's published training loop in PyTorch, on the digit scenes of configs/demo.py.

    python -m bench.unimatch_torch --seeds 0 1 --json bench/results/demo-unimatch-torch-cpu.json

The control of the UniMatch rows of `bench.demo`: if the published loop fell behind supervised
training for another reason than ours does, the fault would be ours. Losses, passes and the order of
everything are those of unimatch.py (github.com/LiheYoung/UniMatch, V1): one pass of the student
for labeled and weak images with dropped features beside them, one pass for both strong views. The
network is the U-Net of the demo, and batches, views, optimizer and ramp are those of `bench.demo`.

`separate` gives every kind of image a pass of its own, and only labeled images feed the running
statistics; the losses are the same. Finished runs are in the JSON file, and are not trained again.
"""

import argparse
import json
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bench.common import mean_text, write_record
from bench.forks import difference_cells
from ipixmatch_jax.build import build_model, build_views
from ipixmatch_jax.config_files import demo
from ipixmatch_jax.data import Dataset, load_dataset, train_batches
from tests.references import torch_methods
from tests.references.torch_unet import TorchUNet
from tests.references.torch_views import tensors

ARMS = ("supervised", "unimatch", "separate")


def train(arm: str, seed: int, steps: int, fork: int) -> float:
    """mIoU of the student in percent on the validation scenes, after the last step."""
    config = demo.get_config()
    config.seed = seed
    dataset = load_dataset(config.data, seed)
    batches = train_batches(
        dataset, config.data, batch_size=config.batch_size,
        unlabeled_batch_size=config.unlabeled_batch_size, seed=seed,
    )  # fmt: skip
    views = build_views(config, build_model(config))
    torch.manual_seed(seed)
    student = TorchUNet(
        config.data.num_classes, width=config.model.width, stem_stride=config.model.stem_stride
    )
    for module in student.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    rule = config.optimizer
    optimizer = torch.optim.AdamW(
        student.parameters(), rule.learning_rate, weight_decay=rule.weight_decay
    )
    for step in range(steps):
        v = tensors(next(batches), views, student.backbone.widths, np.float32)
        v["kept"] = v["kept_of_both"]
        ramp = min(max(step - fork, 0) / (fork * 3 // 4), 1.0)
        loss = loss_of(arm, student, v, config.method.confidence, ramp)
        for group in optimizer.param_groups:
            group["lr"] = rule.learning_rate * (1 - step / steps) ** rule.power
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    batches.close()
    return evaluate(student, dataset, views, config.data.num_classes)


def loss_of(
    arm: str, student: TorchUNet, v: Mapping[str, Any], confidence: float, ramp: float
) -> torch.Tensor:
    """The loss of a step; `ramp` is the factor of the unlabeled losses."""
    if arm == "supervised":
        student.train()
        return torch_methods.supervised_loss(student(v["labeled"]), v["mask"])
    method = separate if arm == "separate" else torch_methods.unimatch
    supervised, terms, _ = method(student, None, v, confidence)
    unlabeled = 0.25 * terms[0] + 0.25 * terms[1] + 0.5 * terms[2]
    return (supervised + ramp * unlabeled) / 2


def separate(student: TorchUNet, _: None, v: Mapping[str, Any], confidence: float):
    """UniMatch's losses with a pass for each kind of image."""
    size = v["labeled"].shape[2:]
    with torch.no_grad():
        student.eval()
        own, partner = student(v["weak"]), student(v["weak_mix"])
    student.train()
    labeled = student(v["labeled"])
    norms = [m for m in student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.0
    kept = [x[len(v["labeled"]) :] for x in v["kept"]]
    features = student.backbone(v["weak"])
    dropped = [f * 2 * k[:, :, None, None] for f, k in zip(features, kept, strict=True)]
    perturbed, terms = student.decode(dropped, size), []
    for j in (0, 1):
        box = v[f"box_{j}"]
        seen = student(torch_methods.mixed(box, v[f"strong_mix_{j}"], v[f"strong_{j}"]))
        labels = torch_methods.mixed(box, partner, own)
        valid = torch_methods.mixed(box, v["valid_mix"], v["valid"])
        terms.append(torch_methods.pseudo_loss(seen, labels, valid, confidence))
    for norm in norms:
        norm.momentum = 0.1
    terms.append(torch_methods.pseudo_loss(perturbed, own, v["valid"], confidence))
    return torch_methods.supervised_loss(labeled, v["mask"]), terms, None


def evaluate(student: TorchUNet, dataset: Dataset, views: Any, classes: int) -> float:
    """mIoU in percent over the validation scenes, of classes that are there or predicted."""
    counts = torch.zeros(classes * classes, dtype=torch.int64)
    student.eval()
    for index in range(len(dataset.val)):
        record = dataset.val[index]
        image = torch.tensor(np.asarray(views.weak(record["image"][None]))).permute(0, 3, 1, 2)
        mask = torch.tensor(record["mask"].astype(np.int64))
        with torch.inference_mode():
            predicted = student(image)[0].argmax(0)
        known = mask != 255
        counts += torch.bincount(mask[known] * classes + predicted[known], minlength=classes**2)
    table = counts.reshape(classes, classes).double()
    union = table.sum(0) + table.sum(1) - table.diag()
    return 100 * float((table.diag() / union)[union > 0].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=750)
    parser.add_argument(
        "--fork", type=int, default=200, help="step at which unlabeled losses begin"
    )
    parser.add_argument("--json", type=pathlib.Path, required=True, help="file of all results")
    options = parser.parse_args()
    setting = {"steps": options.steps, "fork": options.fork}
    record = json.loads(options.json.read_text()) if options.json.exists() else {**setting}
    if {key: record[key] for key in setting} != setting:
        raise SystemExit(f"{options.json} holds runs of other steps; choose another file")
    record |= {"machine": f"{platform.system()} {platform.machine()}", "torch": torch.__version__}
    found = record.setdefault("results", {})
    for seed in options.seeds:
        for arm in options.arms:
            if str(seed) not in found.setdefault(arm, {}):
                found[arm][str(seed)] = train(arm, seed, options.steps, options.fork)
                write_record(options.json, record)
                print(f"{arm}, seed {seed}: {found[arm][str(seed)]:.2f}", flush=True)
    print(
        "\n| arm | seeds | student | minus supervised | seeds for 1 point |\n|---|---|---|---|---|"
    )
    values = {arm: {int(seed): x for seed, x in of.items()} for arm, of in found.items()}
    for arm, of_seed in values.items():
        cells = difference_cells(arm, "supervised", values)
        print(f"| {arm} | {len(of_seed)} | {mean_text(of_seed.values(), 1)} | {cells} |")


if __name__ == "__main__":
    main()
