"""Trained networks for other software: `--mode export`."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.engine import build
from ipixmatch_jax.engine.torch_writer import write_torch_file
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.evaluate import restore_networks
from ipixmatch_jax.models import TWINS
from ipixmatch_jax.models.torch_bridge import to_torch

_MEAN = ".running_mean"


def export(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    output: pathlib.Path | None,
    checkpoint: str = "latest",
    network: str = "teacher",
    layout: str | None = None,
) -> None:
    """Writes a network of a checkpoint as a state dict that its PyTorch model loads strictly.

    Where a method trains two networks, the first one, which is also the one that is evaluated.

    Args:
        output: the file; .safetensors, .pth or .npz.
        checkpoint: `latest`, `best` or a step.
        layout: whose names; None: those of the model's PyTorch origin (see `to_torch`).

    Raises:
        ConfigError: the output or the layout cannot be used.
        CheckpointError: there is no such checkpoint, or the layout is of another model.
    """
    save = _writer(output)
    model = build.build_model(config)
    parallel = build.build_parallel(config)
    step, networks = restore_networks(config, workdir, model, parallel, checkpoint, (network,))
    variables = jax.device_get(networks[network])
    if set(variables["params"]) == set(TWINS):
        variables = {kind: tree.get(TWINS[0], {}) for kind, tree in variables.items()}
    state = with_counters(to_torch(variables, layout))
    mean, std = _normalisation(workdir, model)
    notes = {
        "format": "pt",  # what transformers asks of a .safetensors file
        "model": f"{config.model.name} {config.model.backbone or ''}".strip(),
        "num_classes": str(config.data.num_classes),
        "checkpoint": f"{network}, step {step}",
        "input_mean": str(mean),
        "input_std": str(std),
    }
    _replace(output, lambda path: save(path, state, notes))
    print(
        f"{output}: {network}, step {step}, {len(state)} tensors, first {next(iter(state))}\n"
        f"it expects images in [0, 1], less {mean}, divided by {std}"
    )


def with_counters(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict with the counter that PyTorch's batch norms keep beside their statistics.

    They use it only to average without a momentum; it is 0 here.
    """
    counted = {}
    for name, value in state.items():
        counted[name] = value
        if name.endswith(_MEAN):
            counted[name.removesuffix(_MEAN) + ".num_batches_tracked"] = np.zeros((), np.int64)
    return counted


def _normalisation(workdir: pathlib.Path, model: Any) -> tuple[tuple, tuple]:
    """Mean and deviation that the run used: measured or given ones are in its snapshot."""
    path = pathlib.Path(workdir) / "config.json"
    data = json.loads(path.read_text())["data"] if path.exists() else {}
    mean, std = (tuple(data.get(key) or ()) for key in ("mean", "std"))
    return mean or model.input_mean, std or model.input_std


def _safetensors(path: pathlib.Path, state: dict, notes: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    save_file(state, path, metadata=notes)


def _npz(path: pathlib.Path, state: dict, notes: dict[str, str]) -> None:
    with open(path, "wb") as file:  # np.savez would append a suffix to a path
        np.savez(file, **state)


def _pth(path: pathlib.Path, state: dict, notes: dict[str, str]) -> None:
    write_torch_file(path, state)


_WRITERS = {".safetensors": _safetensors, ".pth": _pth, ".npz": _npz}


def _writer(output: pathlib.Path | None) -> Callable[[pathlib.Path, dict, dict], None]:
    if output is None or output.suffix not in _WRITERS:
        raise ConfigError(
            f"--mode export writes to --output, which is {str(output or '')!r}; expected a file "
            f"that ends in {', '.join(_WRITERS)}"
        )
    return _WRITERS[output.suffix]


def _replace(output: pathlib.Path, save: Callable[[pathlib.Path], None]) -> None:
    """The file appears whole or not at all."""
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        save(temporary)
        temporary.replace(output)
    except OSError as error:
        raise ConfigError(
            f"--output {output} cannot be written ({error.strerror or error})"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
