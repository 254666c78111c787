"""Keys that a user gives but that nothing reads, because of the value of another key."""

from collections.abc import Callable, Iterable, Mapping

from ml_collections import ConfigDict

from ipixmatch_jax.config.defaults import get_value
from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.screen import warn

# Key → the key that decides whether it is read, and the values with which it is.
_READ_WITH: Mapping[str, tuple[str, ...]] = {
    "data.ignore_colors": ("data.masks", "colors", "nearest"),
    "data.ignore_values": ("data.masks", "ids"),
    "data.mask_values": ("data.masks", "ids"),
    "eval.border": ("eval.mode", "sliding"),
    "eval.size": ("eval.mode", "resize"),
    "eval.window": ("eval.mode", "sliding"),
    "method.threshold_start": ("method.threshold", "ramp"),
    "method.threshold_steps": ("method.threshold", "ramp"),
    "optimizer.momentum": ("optimizer.name", "sgd"),
    "optimizer.power": ("optimizer.schedule", "poly"),
    "relation.features": ("relation.on", "features"),
    "supervised.gamma": ("supervised.name", "focal"),
    "supervised.min_pixels": ("supervised.name", "ohem"),
    "supervised.threshold": ("supervised.name", "ohem"),
    "teacher.decay": ("teacher.kind", "ema"),
}
# Groups of keys that one source of data reads, which has their name.
_SOURCES = ("digits", "tfds", "voc")
# Keys that nothing reads under a condition, and the reason.
_UNREAD: tuple[tuple[tuple[str, ...], Callable[[ConfigDict], bool], str], ...] = (
    (
        ("model.lora_alpha", "model.lora_targets"),
        lambda config: not config.model.lora_rank,
        "model.lora_rank is 0",
    ),
    (
        ("model.pretrained",),
        lambda config: bool(config.model.init_from),
        "model.init_from gives the first weights",
    ),
    (
        ("data.folder.group", "data.folder.holdout", "data.folder.holdout_seed"),
        lambda config: bool(config.data.val or _has_val_folder(config)),
        "the validation images are given, by data.val or a folder of their own",
    ),
    (
        (
            *("unlabeled_batch_size", "method.unlabeled_weight", "method.ramp_start"),
            *("method.ramp_steps", "method.mix"),
        ),
        lambda config: config.method.name == "supervised",
        "method.name is 'supervised', which uses no unlabeled images",
    ),
)
# A key and a value of it with which no key of these groups is read.
_NOT_READ_WITH = (
    ("relation.name", "none", ("relation",)),
    ("method.name", "supervised", ("relation", "views")),
)


def warn_without_effect(config: ConfigDict, given: Iterable[str]) -> None:
    """Warns of the lines of `without_effect`, once for all processes."""
    for line in without_effect(config, given) if is_first() else ():
        warn(line)


def without_effect(config: ConfigDict, given: Iterable[str]) -> list[str]:
    """A line for each of the given keys that nothing reads with the other values of the config.

    Args:
        config: the whole config, with these keys set.
        given: full names of keys, as the command line gives them.
    """
    return [line for name in given if (line := _why(config, name))]


def _why(config: ConfigDict, name: str) -> str:
    """The line for a key, or an empty text."""
    if name == "relation.name" and config.relation.name == "none":
        return ""  # it says what is so anyway
    other, *needed = _READ_WITH.get(name, (name,))
    # A further relation may read what the first one does not.
    if other != name and not (name.startswith("relation.") and config.relation.more):
        value = get_value(config, other)
        if value not in needed:
            fit = " or ".join(needed)
            return f"{name} has no effect: it needs {other}={fit}, which is {value!r}"
    group = name.split(".")[1] if name.count(".") > 1 and name.startswith("data.") else ""
    if group in _SOURCES and config.data.name != group:
        return f"{name} has no effect: it needs data.name={group}, which is {config.data.name!r}"
    for names, condition, reason in _UNREAD:
        if name in names and condition(config):
            return f"{name} has no effect: {reason}"
    for other, value, groups in _NOT_READ_WITH:
        if name != other and name.partition(".")[0] in groups and get_value(config, other) == value:
            return f"{name} has no effect: {other} is {value!r}"
    return ""


def _has_val_folder(config: ConfigDict) -> bool:
    """Whether an importer found validation images in a folder; otherwise its name is a guess."""
    data = config.data
    return data.name == "folder" and bool(data.folder.format and data.folder.val_images)
