"""Keys that belong to another model than the chosen one are fitted to it.

The command line chooses another model than the config file; or a config file plans, and then sets
another model than the planned one.
"""

from collections.abc import Collection, Iterator
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.config.defaults import get_value, set_value
from ipixmatch_jax.config.groups import MODEL, all_keys
from ipixmatch_jax.config.options import network_options
from ipixmatch_jax.config.planned import planned, replaced, with_choice
from ipixmatch_jax.config.validation import overlaps
from ipixmatch_jax.engine.inference import size_multiple
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.weights.pretrained import has_weights
from ipixmatch_jax.weights.public import words_of

# Keys of every model.
_OF_ALL = ("name", "pretrained", "init_from", "frozen", "dtype", "options")
_OF_ALL += ("lora_rank", "lora_alpha", "lora_targets")
_CHOOSE = {"model.name", "model.backbone"}


def fit_to_model(
    config: ConfigDict, file_model: str, given: Collection[str], wrong: Collection[str] = ()
) -> list[str]:
    """Fits keys to a model that was chosen instead of the file's or the planned one, in place.

    If the command line chose it, these are the keys that the command line did not set; if the file
    chose it after planning another, those that have their planned value. Other keys stay as they
    are, and are checked with the rest.

    Args:
        config: the whole config, with the command line's keys set.
        file_model: `model.name` of the config file.
        given: names of the keys that the command line set.
        wrong: names of keys that have a wrong value, or whose new value could not be set. Nothing
            is fitted by them; the other keys are, so that no problem is listed that is none.

    Returns:
        A line for each change; empty if nobody chose another model or backbone.
    """
    if overlaps(wrong, ("model",)):
        return []  # nobody knows which model it will be
    others, fixed = replaced(config), set(given)
    if not _CHOOSE & fixed:
        if not _CHOOSE & set(others):
            return []
        file_model = others["model.name"].value if "model.name" in others else file_model
        fixed = set(all_keys()) - set(planned(config))
    if overlaps(wrong, ("data", "method")):
        fixed.add("data.crop_size")
    try:
        return list(_changes(config, file_model, fixed))
    except ConfigError:
        return []  # validation reports what is wrong


def _changes(config: ConfigDict, file_model: str, fixed: Collection[str]) -> Iterator[str]:
    model = config.model
    if model.name != file_model and model.backbone and "model.backbone" not in fixed:
        yield from _change(config, "model.backbone", None, f"belongs to model {file_model!r}")
    known = network_options(config)
    for key in MODEL:
        if key in _OF_ALL or key in known or model[key] is None or f"model.{key}" in fixed:
            continue
        yield from _change(config, f"model.{key}", None, f"model {model.name!r} has no such option")
    backbone, stem = build.encoder_choice(config)
    lacks = not has_weights(model.pretrained, backbone, stem)
    if lacks and "model.pretrained" not in fixed:
        word = next(iter(words_of(backbone, stem)), "none")
        scratch = ": training starts from random weights" if word == "none" else ""
        why = f"there are no such weights of {backbone or model.name!r}{scratch}"
        yield from _change(config, "model.pretrained", word, why)
    if "data.crop_size" not in fixed:
        yield from _fit_crop(config)


def _fit_crop(config: ConfigDict) -> Iterator[str]:
    multiple = size_multiple(build.build_model(config))
    crop = tuple(config.data.crop_size)
    fitted = tuple(max(round(side / multiple), 1) * multiple for side in crop)
    if fitted != crop:
        why = f"model {config.model.name!r} takes multiples of {multiple}"
        yield from _change(config, "data.crop_size", fitted, why)


def _change(config: ConfigDict, name: str, value: Any, why: str) -> Iterator[str]:
    before = get_value(config, name)
    was_planned = name in planned(config)
    set_value(config, name, value)
    if was_planned:
        config.planned = with_choice(config.planned, name, value, why)
    now = f"is {value} now" if value else "is dropped"
    of = "plan" if was_planned else "config file"
    yield f"{name}={before} of the {of} {now}: {why}"
