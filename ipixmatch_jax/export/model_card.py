"""The model card of an exported network: data, protocol, metrics, config and versions."""

import hashlib
import json
import pathlib
from typing import Any

import flax
import jax

import ipixmatch_jax
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.evaluations import later_rows
from ipixmatch_jax.workdir.folder import config_path, evaluation_path, write_whole


def write_card(
    output: AnyPath, workdir: AnyPath, *, network: str, step: int, usage: str
) -> pathlib.Path:
    """Writes `OUTPUT.md`, and returns its path.

    Args:
        output: the exported file; it is hashed.
        workdir: folder of the run; its `config.json` and the evaluation of the step are quoted.
        network: `student` or `teacher`.
        step: step of the checkpoint.
        usage: instructions for the file, Markdown.
    """
    config = _json(config_path(workdir))
    result = _json(evaluation_path(workdir, step))
    text = "\n".join(
        [
            f"# {output.name}",
            "",
            f"The {network} of step {step}, exported by ipixmatch_jax {ipixmatch_jax.__version__} "
            f"(jax {jax.__version__}, flax {flax.__version__}).",
            "",
            f"SHA-256 of {output.name}: `{hashlib.sha256(output.read_bytes()).hexdigest()}`",
            "",
            "## Use",
            "",
            usage,
            "",
            "## Measured",
            "",
            *_metrics(result, network, step),
            "",
            *_later(workdir, network, step),
            "## Trained on",
            "",
            *_training(config, result),
            "",
            "## Config",
            "",
            "```json",
            json.dumps(config, indent=2),
            "```",
            "",
        ]
    )
    path = output.with_name(f"{output.name}.md")
    write_whole(path, text)
    return path


def _json(path: AnyPath) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _metrics(result: dict[str, Any], network: str, step: int) -> list[str]:
    found = result.get(network)
    if not found:
        return [f"There is no evaluation of the {network} at step {step}."]
    settings = ", ".join(f"{key} {value}" for key, value in result.get("eval", {}).items())
    means = {"mIoU": "miou", "boundary mIoU": "boundary_miou", "pixel accuracy": "accuracy"}
    rows = [(name, found.get(key)) for name, key in means.items()]
    rows += list(found["iou"].items())
    lines = [
        f"On the split `{result['split']}`{f' ({settings})' if settings else ''}, in percent:",
        "",
    ]
    if found.get("not_finite"):
        share = 100 * found["not_finite"]
        lines[:0] = [
            f"**The output is no number in {share:.3g} % of the pixels: it diverged.**",
            "",
        ]
    lines += ["| | |", "|---|---|"]
    return lines + [f"| {name} | {100 * v:.2f} |" for name, v in rows if v is not None]


def _later(workdir: AnyPath, network: str, step: int) -> list[str]:
    rows = [r for r in later_rows(workdir) if r["step"] == step and network in r["miou"]]
    if not rows:
        return []
    return [
        "## Evaluated later",
        "",
        "By `--mode eval`, of the same step, but on other images or in another way.",
        "",
        "| split | differs from the run's own evaluation | mIoU |",
        "|---|---|---|",
        *(f"| {r['split']} | {r['differs']} | {100 * r['miou'][network]:.2f} |" for r in rows),
        "",
    ]


def _training(config: dict[str, Any], result: dict[str, Any]) -> list[str]:
    if not config:
        return ["The run kept no config."]
    data, relation = config["data"], config["relation"]
    lines = [
        f"- data: {data['name']}, labeled `{data['labeled'] or 'all with a mask'}`, "
        f"{data['num_classes']} classes",
        f"- protocol: {result.get('protocol') or 'none of the published ones'}",
        f"- method: {config['method']['name']}, relation {relation['name']}"
        + (f"/{relation['distance']}" if relation["name"] != "none" else ""),
        f"- seed {config['seed']}, {config['total_steps']} steps of {config['batch_size']} labeled "
        f"and {config['unlabeled_batch_size']} unlabeled images",
    ]
    if data["class_names"]:
        lines.append(
            "- classes: " + ", ".join(f"{i} {n}" for i, n in enumerate(data["class_names"]))
        )
    return lines
