"""The resolved config of a run, `config.json`: write, compare on resume, read, print."""

import importlib.util
import json
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.config.defaults import default_config, flatten
from ipixmatch_jax.config.loading import given_values, set_overrides
from ipixmatch_jax.config.planned import keep_plan, planned
from ipixmatch_jax.config.reference import changed
from ipixmatch_jax.config.suggestions import without_gone
from ipixmatch_jax.config.validation import problems_of, raise_problems
from ipixmatch_jax.config.without_effect import warn_without_effect
from ipixmatch_jax.data import find_transform
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.tracking.services import tracking_defaults
from ipixmatch_jax.workdir.folder import config_path, has_checkpoint, write_whole

# Measured before training, so that the network can be used without the training images.
_MEASURED = ("mean", "std", "value_range")
_LONGEST = 40
_WIDTH = 80
# What may stand in for a part that is not registered here.
_KNOWN = {"method": "supervised", "relation": "none"}
# Keys that may name code of the user's own.
_OWN_CODE = ("method.name", "data.transform")


def read_snapshot(workdir: AnyPath) -> dict[str, Any]:
    """The contents of a run's `config.json`, without keys that are gone.

    Raises:
        ConfigError: the file does not exist or cannot be read.
    """
    path = config_path(workdir)
    try:
        saved = json.loads(path.read_text())
        if not isinstance(saved, dict):
            raise ValueError("it holds no JSON object")
        return without_gone(saved)
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; expected the folder of a run, as training writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); expected the JSON that training wrote; put the file "
            "back, or use another --workdir"
        ) from None


def load_snapshot(
    workdir: AnyPath, overrides: Sequence[str] = (), *, trust: bool = False
) -> ConfigDict:
    """The config of a run; keys that the run did not have yet get their defaults.

    A `method.name` or `data.transform` of the form `module:NAME` makes the program import that
    module, from the current folder if it is there: the caller, not the run, decides whether that
    may happen.

    Args:
        workdir: folder of the run.
        overrides: `--config.key=value`, as `load_config` takes them.
        trust: whether code that the run names may be imported.

    Raises:
        ConfigError: no snapshot, keys or values that cannot be used (lists all problems), or code
            of the run's own without `trust`.
    """
    config = default_config()
    saved = read_snapshot(workdir)
    _fill(config, saved)
    given = given_values(overrides)
    if not trust:
        _refuse_code(config, set(_OWN_CODE) - set(given), config_path(workdir))
    unset = set_overrides(config, overrides)
    raise_problems(problems_of(_with_known_loss(config, saved), unset))
    warn_without_effect(config, given)
    config.lock()
    return config


def _refuse_code(config: ConfigDict, keys: Collection[str], path: AnyPath) -> None:
    """ConfigError if the config of a run names code, at one of the keys, that would be imported."""
    named = {key: name for key, name in flatten(config) if key in keys}
    for key, name in sorted(named.items()):
        if not isinstance(name, str) or ":" not in name:
            continue
        raise ConfigError(
            f"{path} names code of its own, {key}={name!r}, which this command would import and "
            f"execute ({_origin(name.partition(':')[0])}); read that code, then add --trust (in "
            "Python: trust=True)"
        )


def _origin(module: str) -> str:
    """Where a module would be imported from; finding out imports nothing."""
    first = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(first) if first else None
    except (ImportError, ValueError):
        spec = None
    return f"from {spec.origin}" if spec and spec.origin else f"{first}: not found from here"


def _with_known_loss(config: ConfigDict, saved: Mapping[str, Any]) -> ConfigDict:
    """A copy without the run's own method, relation and transform, if they are not found here.

    They came with the run's config file; using its networks does not need them. Names that the
    command line gives are still checked.
    """
    copy = config.copy_and_resolve_references()
    for group in build.unregistered(config):
        if saved.get(group, {}).get("name") == config[group].name:
            copy[group].name, copy[group].options = _KNOWN[group], ConfigDict()
            if group == "relation":
                copy.relation.distance, copy.relation.more = "kl", ()
    if saved.get("data", {}).get("transform") == config.data.transform:
        try:
            find_transform(config.data.transform)
        except ConfigError:
            copy.data.transform = ""
    return copy


def with_run_values(config: ConfigDict, workdir: AnyPath) -> ConfigDict:
    """The config with what the run in `workdir` has planned and measured.

    These are the keys that the config file only planned, image statistics and class weights. The
    network was trained with them, also if photos, machine or program have changed since.
    """
    if not config_path(workdir).exists():
        return config
    snapshot = read_snapshot(workdir)
    config = keep_plan(config, snapshot)
    saved, supervised = snapshot.get("data", {}), snapshot.get("supervised", {})
    config = config.copy_and_resolve_references()
    with config.unlocked():
        for key in _MEASURED:
            config.data[key] = config.data[key] or _tuples(saved.get(key, ()))
        weights = _tuples(supervised.get("class_weights", ()))
        if config.supervised.weighting == supervised.get("weighting") == "inverse_frequency":
            config.supervised.class_weights = weights
    return config


def overview(config: ConfigDict, workdir: AnyPath) -> str:
    """The keys that differ from the defaults, one line per group, and the file with all keys.

    Keys that were planned are marked by a star.
    """
    groups: dict[str, list[str]] = {}
    chosen = planned(config)
    for name, value in sorted(changed(config).items(), key=lambda pair: "." in pair[0]):
        group, _, key = name.rpartition(".")
        star = "*" if name in chosen else ""
        groups.setdefault(group or "run", []).append(f"{key}={cut_off(value, _LONGEST)}{star}")
    where = config_path(workdir)
    lines = [f"config keys that differ from the defaults (all keys: {where})"]
    width = max(map(len, groups), default=0)
    for group, keys in groups.items():
        # A key stays with its value: lines break at plain spaces only.
        text = " ".join(key.replace(" ", "\xa0") for key in keys)
        label = f"  {group:<{width}}  "
        folded = textwrap.fill(
            text, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label)
        )
        lines.append(folded.replace("\xa0", " "))
    if chosen:
        lines.append("* planned from the photos and the device; reasons: planned in that file")
    return "\n".join(lines)


def cut_off(value: Any, most: int) -> str:
    """A value as a text of at most so many characters."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


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
    "eval.shapes",
    "checkpoint_every",
    "pictures",
    "planned",
    "profile",
    "parallel",
    "data.root",
    "data.changed",
    "data.test",
    "data.folder.test_images",
    "data.folder.test_masks",
    "data.threads",
    "data.workers",
    *(f"tracking.{key}" for key in tracking_defaults()),
)


def write_snapshot(config: ConfigDict, workdir: AnyPath) -> list[str]:
    """Writes the resolved config to `config.json`.

    If the run has a checkpoint, an existing file must agree with it, except that `total_steps` may
    grow. Without a checkpoint, nothing depends on the old config, and the file is replaced.

    Returns:
        Remarks for the user, such as that the schedule has become longer.

    Raises:
        ConfigError: the workdir holds a run with another config, with every key that differs.
    """
    path = config_path(workdir)
    resolved = json.loads(config.to_json_best_effort())
    notes = []
    if path.exists() and has_checkpoint(workdir):
        notes = _check_same(path, resolved)
    elif path.exists():
        notes = _replaced(path, resolved)
    elif has_checkpoint(workdir):
        notes = [
            f"{path} does not exist: whether the run had the same config before is not known, and "
            "what it had planned or measured is chosen anew"
        ]
    write_whole(path, json.dumps(resolved, indent=2) + "\n")
    return notes


def _replaced(path: AnyPath, resolved: dict[str, Any]) -> list[str]:
    """A remark if a start that saved nothing had another config."""
    try:
        same = read_snapshot(path.parent) == resolved
    except ConfigError:
        same = False
    return [] if same else [f"{path}: of a start that saved no checkpoint; it is replaced"]


def _check_same(path: AnyPath, resolved: dict[str, Any]) -> list[str]:
    try:
        # Keys that the run did not have yet get their defaults.
        saved = json.loads(default_config().to_json_best_effort())
        saved = dict(flatten(saved)) | dict(flatten(read_snapshot(path.parent)))
    except ConfigError as error:
        raise ConfigError(str(error)) from error
    current = dict(flatten(resolved))
    before, total = saved["total_steps"], current["total_steps"]
    raised = isinstance(before, int) and total > before
    free = (*FREE_ON_RESUME, "total_steps") if raised else FREE_ON_RESUME
    # Masks read by their values: the palette of one that came later only colors the pictures.
    if not {saved.get("data.masks"), current["data.masks"]} & {"colors", "nearest"}:
        free = (*free, "data.palette")
    different = [
        f"  - {name}: the run has {saved.get(name)!r}, now {current.get(name)!r}"
        for name in sorted(saved.keys() | current.keys())
        if saved.get(name) != current.get(name) and name not in free
    ]
    if different:
        raise ConfigError(
            f"{path.parent} holds a run with another config:\n" + "\n".join(different) + "\n"
            "use the same config to resume it (a larger total_steps is fine), or another --workdir"
        )
    notes = []
    if saved.get("data.palette") != current["data.palette"]:
        notes.append("data.palette has changed since the run began: its pictures get other colors")
    if not raised:
        return notes
    return [
        *notes,
        f"total_steps was {before} and is now {total}: learning rate and all other schedules that "
        f"end at total_steps are those of {total} steps from here on; the result is not that of a "
        f"run with {total} steps from the start",
    ]
