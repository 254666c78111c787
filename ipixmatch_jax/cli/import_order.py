"""Files of the current folder that are named like a package, such as random.py or grain/."""

import os
import sys

# Packages that this one imports, directly or through others.
_PACKAGES = frozenset(
    {"absl", "array_record", "chex", "clu", "etils", "flatbuffers", "flax", "grain",
     "imagecodecs", "importlib_resources", "jax", "jaxlib", "ml_collections", "ml_dtypes",
     "mlflow", "msgpack", "numpy", "onnx", "optax", "orbax", "PIL", "pillow_heif",
     "requests", "rich", "safetensors", "scipy", "simplejson", "tensorboard",
     "tensorboardX", "tensorflow", "tensorflow_datasets", "tensorstore", "tifffile",
     "torch", "tqdm", "transformers", "treescope", "wandb", "yaml"}
)  # fmt: skip


def prefer_packages() -> list[str]:
    """Imports packages before files of the current folder with the same names.

    `python -m` puts the current folder first on the path, where a photo collection's random.py or
    grain/ would be imported in place of the module of that name. The folder stays on the path, for
    methods and transforms of one's own.

    Returns:
        The names of the files and folders that would have been imported.
    """
    here = _current()
    if not here or not sys.path or sys.path[0] not in ("", here):
        return []
    names = _hiding(here)
    if names:
        sys.path.append(sys.path.pop(0))
    return names


def _current() -> str:
    try:
        return os.getcwd()
    except OSError:  # the folder was removed
        return ""


def _hiding(folder: str) -> list[str]:
    try:
        found = sorted(os.listdir(folder))
    except OSError:
        return []
    known = _PACKAGES | sys.stdlib_module_names
    return [
        name for name in found if name.removesuffix(".py") in known and _is_module(folder, name)
    ]


def _is_module(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    return os.path.isfile(path) if name.endswith(".py") else os.path.isfile(f"{path}/__init__.py")
