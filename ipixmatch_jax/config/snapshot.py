"""The resolved config of a run, `config.json`: written, compared on resume, read back, printed."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.config.defaults import default_config, flatten
from ipixmatch_jax.config.loading import with_overrides
from ipixmatch_jax.config.validation import validate
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.tracking.services import tracking_defaults
from ipixmatch_jax.workdir.folder import config_path, write_whole

# Measured before training; nobody needs the training images to use the network.
_MEASURED = ("mean", "std", "value_range")
_LONGEST = 40
# What may stand in for a part that is not registered here.
_KNOWN = {"method": "supervised", "relation": "none"}


def read_snapshot(workdir: AnyPath) -> dict[str, Any]:
    """The contents of a run's `config.json`.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = config_path(workdir)
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; expected the folder of a run, as training writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); expected the JSON that training wrote"
        ) from None


def load_snapshot(workdir: AnyPath, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config of a run; keys that are newer than the run have their defaults.

    Args:
        workdir: of the run.
        overrides: as of `load_config`.

    Raises:
        ConfigError: no snapshot, or one with keys or values that cannot be used.
    """
    config = default_config()
    saved = read_snapshot(workdir)
    _fill(config, saved)
    config = with_overrides(config, overrides)
    validate(_with_known_loss(config, saved))
    config.lock()
    return config


def _with_known_loss(config: ConfigDict, saved: Mapping[str, Any]) -> ConfigDict:
    """A copy without the run's own method and relation, if they are not registered here.

    They came with the run's config file; using its networks does not need them. Names that the
    command line gives are still checked.
    """
    copy = config.copy_and_resolve_references()
    for group in build.unregistered(config):
        if saved.get(group, {}).get("name") == config[group].name:
            copy[group].name, copy[group].options = _KNOWN[group], ConfigDict()
            if group == "relation":
                copy.relation.more = ()
    return copy


def with_run_statistics(config: ConfigDict, workdir: AnyPath) -> ConfigDict:
    """The config with the statistics of the images as the run in `workdir` measured them."""
    if not config_path(workdir).exists():
        return config
    saved = read_snapshot(workdir).get("data", {})
    config = config.copy_and_resolve_references()
    with config.unlocked():
        for key in _MEASURED:
            config.data[key] = config.data[key] or _tuples(saved.get(key, ()))
    return config


def overview(config: ConfigDict, workdir: AnyPath) -> str:
    """The keys that differ from the defaults, a line for each group, and where all of them are."""
    defaults = dict(flatten(default_config()))
    changed = [(k, v) for k, v in flatten(config) if k not in defaults or v != defaults[k]]
    groups: dict[str, list[str]] = {}
    for name, value in sorted(changed, key=lambda pair: "." in pair[0]):
        group, _, key = name.rpartition(".")
        groups.setdefault(group or "run", []).append(f"{key}={_short(value)}")
    where = config_path(workdir)
    lines = [f"config, where it differs from the defaults (all of it: {where})"]
    width = max(map(len, groups), default=0)
    for group, keys in groups.items():
        # A key stays with its value: lines break at plain spaces only.
        text = " ".join(key.replace(" ", "\xa0") for key in keys)
        label = f"  {group:<{width}}  "
        folded = textwrap.fill(text, 100, initial_indent=label, subsequent_indent=" " * len(label))
        lines.append(folded.replace("\xa0", " "))
    return "\n".join(lines)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _fill(config: ConfigDict, saved: Mapping[str, Any]) -> None:
    for name, value in saved.items():
        if isinstance(value, Mapping):
            if name not in config:
                config[name] = ConfigDict()  # a section of a part from outside the package
            _fill(config[name], value)
        else:
            with config.ignore_type():
                config[name] = _tuples(value)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


# Keys that may differ when a run is resumed: they change what is written, not what is computed.
FREE_ON_RESUME = (
    "log_every",
    "eval_every",
    "eval_batch_size",
    "checkpoint_every",
    "pictures",
    "profile",
    "parallel",
    "data.root",
    "data.test",
    "data.folder.test_images",
    "data.folder.test_masks",
    "data.threads",
    "data.workers",
    *(f"tracking.{key}" for key in tracking_defaults()),
)


def write_snapshot(config: ConfigDict, workdir: AnyPath) -> None:
    """Writes the resolved config to `config.json`, or checks it against the one that is there.

    Raises:
        ConfigError: the workdir holds a run with another config, with every key that differs.
    """
    path = config_path(workdir)
    resolved = json.loads(config.to_json_best_effort())
    if path.exists():
        _check_same(path, resolved)
    write_whole(path, json.dumps(resolved, indent=2) + "\n")


def _check_same(path: AnyPath, resolved: dict[str, Any]) -> None:
    try:
        # Keys that are newer than the run have their defaults.
        saved = json.loads(default_config().to_json_best_effort())
        saved = dict(flatten(saved)) | dict(flatten(json.loads(path.read_text())))
    except (json.JSONDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); move the workdir away") from error
    current = dict(flatten(resolved))
    changed = [
        f"  - {name}: the run has {saved.get(name)!r}, now {current.get(name)!r}"
        for name in sorted(saved.keys() | current.keys())
        if saved.get(name) != current.get(name) and name not in FREE_ON_RESUME
    ]
    if changed:
        raise ConfigError(
            f"{path.parent} holds a run with another config:\n" + "\n".join(changed) + "\n"
            "use the same config to resume it, or another --workdir"
        )
