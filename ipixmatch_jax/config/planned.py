"""The planned keys of a config, in its key `planned`: which they are, and why.

Each entry is `KEY=VALUE: REASON`. A key counts as planned only as long as it has this value: the
command line, or a file that changes the config afterwards, makes it the user's choice.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax.config.defaults import flatten, get_value, set_value
from ipixmatch_jax.config.groups import all_keys
from ipixmatch_jax.config.plan import Choice


def set_plan(config: ConfigDict, choices: Iterable[Choice]) -> None:
    """Sets the planned keys of a config, and its key `planned`, in place."""
    choices = list(choices)
    for name, value, _ in choices:
        set_value(config, name, value)
    config.planned = tuple(_entry(*choice) for choice in choices)


def planned(config: ConfigDict) -> dict[str, Choice]:
    """Full name to choice of the keys that have the value which was planned."""
    return {choice.name: choice for choice in _choices(config) if _holds(config, choice)}


def replaced(config: ConfigDict) -> dict[str, Choice]:
    """Full name to choice of the keys that were planned, and got another value afterwards."""
    return {choice.name: choice for choice in _choices(config) if not _holds(config, choice)}


def plan_lines(config: ConfigDict) -> list[str]:
    """The plan with its reasons, one line per reason; empty if nothing was planned."""
    reasons: dict[str, list[str]] = {}
    for name, value, why in planned(config).values():
        if value is None:
            continue  # an option that the planned network leaves at its default
        reasons.setdefault(why, []).append(f"{name}={value}")
    if not reasons:
        return []
    head = (
        "plan, from the photos and the device (sizes: height x width). --config.KEY=VALUE sets a "
        "key; those that depend on it follow"
    )
    return [head, *(f"  {', '.join(keys)}: {why}" for why, keys in reasons.items())]


def keep_plan(config: ConfigDict, saved: Mapping[str, Any]) -> ConfigDict:
    """The config with a run's own values of the keys that were only planned.

    Args:
        config: the config, with a new plan.
        saved: the config of the run, from its `config.json`.
    """
    choices = planned(config)
    if not choices:
        return config
    own, reasons = dict(flatten(saved)), {}
    for entry in own.get("planned", ()):
        if choice := _choice(entry):
            reasons[choice.name] = choice.why
    config = config.copy_and_resolve_references()
    kept = []
    for name, choice in choices.items():
        value = _plain(own[name]) if name in own else choice.value
        kept.append(Choice(name, value, reasons.get(name, "as this run began")))
    with config.unlocked():
        set_plan(config, kept)
    return config


def with_choice(entries: Iterable[str], name: str, value: Any, why: str) -> tuple[str, ...]:
    """The entries of `planned` with another value of one key."""
    changed = _entry(name, value, why)
    return tuple(changed if entry.startswith(f"{name}=") else entry for entry in entries)


def _choices(config: ConfigDict) -> list[Choice]:
    return [choice for entry in config.planned if (choice := _choice(entry))]


def _holds(config: ConfigDict, choice: Choice) -> bool:
    return _plain(get_value(config, choice.name)) == _plain(choice.value)


def _entry(name: str, value: Any, why: str) -> str:
    return f"{name}={value}: {why}"


def _choice(entry: str) -> Choice | None:
    name, _, rest = entry.partition("=")
    text, _, why = rest.partition(": ")
    key = all_keys().get(name)
    return Choice(name, key.parse(text), why) if key else None


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value
