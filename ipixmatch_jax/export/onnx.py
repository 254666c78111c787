"""A network as ONNX, by jax2onnx; every file is compared with the network before it is kept."""

from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.export.stablehlo import image_shape, predictor_of

# Probabilities of networks that were tried differ by 3e-5 at most; a wrong conversion by far more.
_TOLERANCE = 1e-3


def converter() -> tuple[ModuleType, ModuleType]:
    """The modules of the extra `onnx`: jax2onnx and onnxruntime.

    Raises:
        ConfigError: one of them is not installed.
    """
    try:
        import jax2onnx
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"--format onnx needs {error.name}, which is not installed; "
            "run: pip install 'ipixmatch-jax[onnx]'"
        ) from None
    return jax2onnx, onnxruntime


def to_onnx(
    config: ConfigDict, model: Any, variables: Any, size: tuple[int, int] | None = None
) -> bytes:
    """The function images uint8 [1, H, W, D] → mask uint8 [1, H, W], probs float32 [1, H, W, C].

    It normalizes the images and predicts as `config.eval` says, like `to_stablehlo`.

    Args:
        config, model, variables, size: see `to_stablehlo`.

    Returns:
        The content of an `.onnx` file, with the inputs and outputs `images`, `mask` and `probs`.

    Raises:
        ConfigError: a size below 1, an extra that is not installed, a model that cannot be
            converted, or a file that does not predict what the network does.
    """
    jax2onnx, onnxruntime = converter()
    shape = (1, *image_shape(config, size))
    predict = predictor_of(config, model, variables)

    def outputs(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = predict(images)
        return found["mask"], found["probs"]

    try:
        # ONNX has no programs by platform; those of the CPU are of plain operations.
        with (
            mock.patch.object(jax.lax, "platform_dependent", _of_cpu),
            # The converter's own operations rely on both.
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
        ):
            converted = jax2onnx.to_onnx(
                outputs,
                [jax.ShapeDtypeStruct(shape, jnp.uint8)],
                input_names=["images"],
                output_names=["mask", "probs"],
            )
        content = converted.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        found = session.run(["probs"], {"images": images})[0]
    except Exception as error:  # whatever the converter and the runtime raise for an operation
        raise ConfigError(
            f"model {config.model.name!r} cannot be converted to ONNX "
            f"({type(error).__name__}: {str(error)[:200]}); expected one of its operations; use "
            "--format torch or stablehlo"
        ) from error
    difference = float(np.abs(found - np.asarray(jax.jit(outputs)(images)[1])).max())
    if not difference <= _TOLERANCE:
        raise ConfigError(
            f"the ONNX file differs from the network by {difference:.2g} in a probability; "
            f"expected at most {_TOLERANCE:g}; nothing was written; use --format torch or stablehlo"
        )
    return content


def _of_cpu(*args: Any, default: Callable | None = None, **programs: Callable) -> Any:
    return programs.get("cpu", default)(*args)
