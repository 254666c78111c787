"""`--mode export`: writes trained networks for other software."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.export
import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.build import restore_networks
from ipixmatch_jax.config import for_run
from ipixmatch_jax.errors import CheckpointError, ConfigError
from ipixmatch_jax.export.inputs import inputs_in_words
from ipixmatch_jax.export.model_card import write_card
from ipixmatch_jax.export.onnx import converter, to_onnx
from ipixmatch_jax.export.stablehlo import to_stablehlo
from ipixmatch_jax.models import TWINS
from ipixmatch_jax.models.torch_bridge import to_torch
from ipixmatch_jax.outputs import check_writable_file, next_command
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.screen import say
from ipixmatch_jax.trained_model import with_known_method
from ipixmatch_jax.weights.torch_writer import write_torch_file

_MEAN = ".running_mean"


def export(
    config: ConfigDict,
    workdir: AnyPath,
    *,
    output: AnyPath | None,
    checkpoint: str = "latest",
    network: str = "teacher",
    layout: str | None = None,
    form: str = "torch",
    size: tuple[int, int] | None = None,
) -> None:
    """Writes a network of a checkpoint for other software, and its model card, `OUTPUT.md`.

    If the method trains two networks, the first is exported, which is also the one evaluated.

    Args:
        output: the file: .safetensors, .pth or .npz; with `stablehlo` or `onnx`,
            .stablehlo or .onnx.
        checkpoint: `latest`, `best` or a step.
        layout: naming scheme of the weights in `torch` files; None: that of the model's PyTorch
            origin (see `to_torch`).
        form: `torch`, a state dict that the PyTorch model loads strictly, or `stablehlo` or
            `onnx`, a function from images to class maps (see `to_stablehlo`, `to_onnx`).
        size: (H, W) of the images for `stablehlo` and `onnx`.

    Raises:
        ConfigError: an output or layout that cannot be used.
        CheckpointError: the run has no such checkpoint, or the layout belongs to another model.
    """
    save = _writer(output, form)
    check_writable_file(output, "--output")
    if form == "onnx":
        converter()  # before the network is restored, which takes longer
    config = with_known_method(for_run(config, workdir), workdir, checkpoint)
    model = build.build_model(config)
    parallel = build.build_parallel(config)
    step, networks = restore_networks(config, workdir, model, parallel, checkpoint, (network,))
    _check_finite(jax.tree.leaves(networks[network]), f"{network} of step {step}", workdir)
    # Other software knows no adapters.
    model, variables = build.without_adapters(config, model, jax.device_get(networks[network]))
    if form == "stablehlo":
        usage = _save_stablehlo(output, to_stablehlo(config, model, variables, size))
    elif form == "onnx":
        usage = _save_onnx(output, to_onnx(config, model, variables, size))
    else:
        usage = _save_torch(
            config, model, variables, save, output, layout, f"{network}, step {step}"
        )
    usage += f"\n\n{inputs_in_words(config)}"
    card = write_card(output, workdir, network=network, step=step, usage=usage)
    say(f"{output}: {network}, step {step}\n{usage}\nmodel card: {card}")
    say(next_command(workdir, "--mode", "serve"))


def _check_finite(leaves: Sequence[Any], which: str, workdir: AnyPath) -> None:
    if not all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves):
        raise CheckpointError(
            f"{workdir}: weights of the {which} are not numbers; expected a network that was "
            "trained to an end: the run has diverged; use another --checkpoint"
        )


def _save_stablehlo(output: AnyPath, content: bytes) -> str:
    """Writes the file; returns instructions for its use."""
    _replace(output, lambda path: path.write_bytes(content))
    return (
        f"    content = open({output.name!r}, 'rb').read()\n"
        "    exported = jax.export.deserialize(bytearray(content))\n"
        "    found = exported.call(images)  # uint8; found['mask'], found['probs']\n"
        f"    exported.in_avals  # {_shape(content)}"
    )


def _save_onnx(output: AnyPath, content: bytes) -> str:
    """Writes the file; returns instructions for its use."""
    _replace(output, lambda path: path.write_bytes(content))
    return (
        f"    session = onnxruntime.InferenceSession({output.name!r})\n"
        "    mask, probs = session.run(None, {'images': images})  # uint8 [1, H, W, D]"
    )


def _shape(content: bytes) -> str:
    return str(jax.export.deserialize(bytearray(content)).in_avals[0])


def _save_torch(
    config: ConfigDict,
    model: Any,
    variables: Any,
    save: Callable,
    output: AnyPath,
    layout: str | None,
    checkpoint: str,
) -> str:
    """Writes the file; returns instructions for its use."""
    if set(variables["params"]) == set(TWINS):
        variables = {kind: tree.get(TWINS[0], {}) for kind, tree in variables.items()}
    state = with_counters(to_torch(variables, layout))
    mean = tuple(config.data.mean) or model.input_mean
    std = tuple(config.data.std) or model.input_std
    notes = {
        "format": "pt",  # transformers requires it in a .safetensors file
        "model": f"{config.model.name} {config.model.backbone or ''}".strip(),
        "num_classes": str(config.data.num_classes),
        "checkpoint": checkpoint,
        "input_mean": str(mean),
        "input_std": str(std),
        "value_range": str(tuple(tuple(map(float, pair)) for pair in config.data.value_range)),
        "image_size": str(tuple(map(int, config.data.image_size))),
    }
    _replace(output, lambda path: save(path, state, notes))
    return (
        f"A state dict of {len(state)} tensors, the first {next(iter(state))}. The network expects "
        f"images of values in [0, 1] (8 bits divided by 255) minus {mean}, divided by {std}."
    )


def with_counters(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Adds the counter that PyTorch's batch norms keep next to their statistics.

    PyTorch uses it only to average without a momentum; it is 0 here.
    """
    counted = {}
    for name, value in state.items():
        counted[name] = value
        if name.endswith(_MEAN):
            counted[name.removesuffix(_MEAN) + ".num_batches_tracked"] = np.zeros((), np.int64)
    return counted


def _safetensors(path: AnyPath, state: dict, notes: dict[str, str]) -> None:
    from safetensors.numpy import save

    # Not save_file: it makes a file that only its owner may read.
    path.write_bytes(save(state, metadata=notes))


def _npz(path: AnyPath, state: dict, notes: dict[str, str]) -> None:
    with open(path, "wb") as file:  # np.savez would append a suffix to a path
        np.savez(file, **state)


def _pth(path: AnyPath, state: dict, notes: dict[str, str]) -> None:
    write_torch_file(path, state)


_WRITERS = {".safetensors": _safetensors, ".pth": _pth, ".npz": _npz}


def _writer(output: AnyPath | None, form: str) -> Callable:
    known = {"stablehlo": {".stablehlo": None}, "onnx": {".onnx": None}}.get(form, _WRITERS)
    if output is None or output.suffix not in known:
        raise ConfigError(
            f"--mode export writes to --output, which is {str(output or '')!r}; expected a file "
            f"that ends in {', '.join(known)}"
        )
    return known[output.suffix]


def _replace(output: AnyPath, save: Callable[[pathlib.Path], None]) -> None:
    """Writes the whole file or nothing."""
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
