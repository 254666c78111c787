"""Whether a config fits the run whose networks it is to be used with."""

from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax.config.defaults import default_config, flatten
from ipixmatch_jax.config.snapshot import read_snapshot, with_run_values
from ipixmatch_jax.data import moved_classes, with_statistics
from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.screen import warn
from ipixmatch_jax.workdir.folder import config_path

# Keys that decide which arrays a network has.
_ARRAYS = ("model.name", "model.backbone", "data.num_classes", "data.channels")
# Keys of the model that change neither its arrays nor what it computes from them.
_FREE = ("model.pretrained", "model.init_from", "model.frozen", "model.remat", "model.dtype")
# Keys that decide which values of the images and masks the network was trained with.
_MEANING = ("data.statistics", "data.mean", "data.std", "data.value_range")


def for_run(config: ConfigDict, workdir: AnyPath) -> ConfigDict:
    """`with_run_values` of a config that fits the run; what differs is a warning.

    Raises:
        ConfigError: as `check_fits_run`.
    """
    config = with_run_values(config, workdir)
    for remark in check_fits_run(config, workdir):
        if is_first():
            warn(remark)
    return config


def with_own_statistics(config: ConfigDict, workdir: AnyPath) -> ConfigDict:
    """`with_statistics` for evaluating a run: what the run has measured, and nothing new.

    Raises:
        DataError: the images have another bit depth than those that the run was trained on.
    """
    measured = with_statistics(config)
    data = read_snapshot(workdir).get("data", {}) if config_path(workdir).exists() else {}
    if "value_range" not in data:
        return measured  # of an older version, which measured at every start
    if len(measured.data.value_range) != len(config.data.value_range):
        raise DataError(
            f"{config.data.root}: images of more than 8 bits, and the run in {workdir} was trained "
            "on images of 8 bits; expected the bit depth of the training images; convert them as "
            "those were, or name other images in --config.data.root"
        )
    return config


def check_fits_run(config: ConfigDict, workdir: AnyPath) -> list[str]:
    """Compares a config with that of the run in `workdir`.

    Returns:
        Remarks about keys that differ and change what the network computes, or what its numbers
        mean.

    Raises:
        ConfigError: the config is of another network or other classes; names every key.
    """
    if not config_path(workdir).exists():
        return []
    run = dict(flatten(default_config())) | dict(flatten(read_snapshot(workdir)))
    now = dict(flatten(config))
    wrong = [line for key in _ARRAYS if (line := _differs(key, run, now))]
    wrong += _moved_names(run.get("data.class_names"), now["data.class_names"])
    if wrong:
        raise ConfigError(
            f"{workdir} holds a run with another config:\n"
            + "\n".join(f"  - {line}" for line in wrong)
            + "\nleave --config out, so that the run's own is used; --config.data.root=FOLDER "
            "names other images"
        )
    own = [key for key in now if key.startswith("model.") and key not in (*_ARRAYS, *_FREE)]
    colors = "data.palette" if now["data.masks"] in ("colors", "nearest") else "data.mask_values"
    return [
        f"{line}; the numbers are of this, not of what was trained"
        for key in (*own, *_MEANING, colors)
        if (line := _differs(key, run, now))
    ]


def _differs(key: str, run: dict[str, Any], now: dict[str, Any]) -> str:
    before, after = _plain(run.get(key)), _plain(now.get(key))
    return "" if before == after else f"{key}: the run has {before!r}, now {after!r}"


def _moved_names(before: Any, after: Any) -> list[str]:
    """A message if classes of the same names have other ids."""
    before, after = _plain(before) or (), _plain(after) or ()
    ids = ({name: index for index, name in enumerate(names)} for names in (before, after))
    if not moved_classes(*ids):
        return []
    same = ", the same in another order" if sorted(before) == sorted(after) else ""
    return [f"data.class_names: the run has {before!r}, now{same} {after!r}"]


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
