"""Validation of a config: lists every problem at once."""

from collections.abc import Iterator

from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.config.defaults import default_config, flatten
from ipixmatch_jax.data import DATASETS, check_statistics
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.inference import make_inference
from ipixmatch_jax.engine.optimizer import OPTIMIZERS
from ipixmatch_jax.engine.step import TEACHERS
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import nearest
from ipixmatch_jax.tracking.profiler import profiled_steps
from ipixmatch_jax.tracking.services import check_tracking


def validate(config: ConfigDict) -> None:
    """Raises ConfigError that lists every problem of the config."""
    problems = _unknown_or_missing_keys(config)
    if not problems:
        problems = [*_bad_numbers(config), *_bad_names(config), *_bad_parts(config)]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(f"the config has {len(problems)} problem(s):\n{lines}")


def _unknown_or_missing_keys(config: ConfigDict) -> list[str]:
    known, found = dict(flatten(default_config())), dict(flatten(config))
    # Parts that are registered outside the package bring options and sections of their own.
    sections = tuple(f"{group}.options." for group in ("model", "method", "relation"))
    sections += tuple(f"data.{name}." for name in DATASETS.names())
    unknown = [
        f"unknown key {name!r}{nearest(name, known)}"
        for name in found
        if name not in known and not name.startswith(sections)
    ]
    return unknown + [f"key {name!r} is missing" for name in known if name not in found]


def _bad_numbers(config: ConfigDict) -> Iterator[str]:
    at_least = {
        "total_steps": 1,
        "batch_size": 1,
        "unlabeled_batch_size": 1,
        "eval_batch_size": 1,
        "accumulate_steps": 1,
        "log_every": 1,
        "eval_every": 1,
        "checkpoint_every": 1,
        "pictures": 0,
        "max_bad_steps": 1,
        "data.threads": 1,
        "data.workers": 0,
        "data.num_classes": 2,
        "data.channels": 1,
        "method.unlabeled_weight": 0,
        "method.ramp_start": 0,
        "method.ramp_steps": 0,
        "method.threshold_steps": 0,
        "supervised.dice_weight": 0,
        "supervised.min_pixels": 1,
        "supervised.gamma": 0,
        "relation.weight": 0,
        "relation.min_pixels": 2,
        "relation.ramp_start": 0,
        "relation.ramp_steps": 0,
        "optimizer.learning_rate": 0,
        "optimizer.head_multiplier": 0,
        "optimizer.weight_decay": 0,
        "optimizer.warmup_steps": 0,
    }
    values = dict(flatten(config))
    for name, least in at_least.items():
        if not values[name] >= least:
            yield f"{name} is {values[name]}; expected at least {least}"
    rates = ("method.confidence", "method.threshold_start", "supervised.threshold")
    for name in (*rates, "data.flip", "teacher.decay"):
        if values[name] is not None and not 0 <= values[name] <= 1:
            yield f"{name} is {values[name]}; expected a number in [0, 1]"
    if config.data.num_classes > 255:
        yield f"data.num_classes is {config.data.num_classes}; masks are 8 bit with 255 ignored"
    for name in ("data.crop_size", "data.image_size", "data.scale_range"):
        if len(values[name]) != 2 or not all(isinstance(v, int | float) for v in values[name]):
            yield f"{name} is {values[name]}; expected two numbers"
    if len(config.data.crop_size) == 2 and min(config.data.crop_size) < 1:
        yield f"data.crop_size is {config.data.crop_size}; expected (height, width) of at least 1"
    yield from check_statistics(config.data)
    scale = config.data.scale_range
    if len(scale) == 2 and not 0 < scale[0] <= scale[1]:
        yield f"data.scale_range is {scale}; expected (low, high) with 0 < low <= high"


def _bad_names(config: ConfigDict) -> Iterator[str]:
    chosen = [
        (DATASETS, "data.name"),
        (OPTIMIZERS, "optimizer.name"),
        (TEACHERS, "teacher.kind"),
        (PARALLEL, "parallel"),
    ]
    values = dict(flatten(config))
    for registry, name in chosen:
        try:
            registry[values[name]]
        except ConfigError as error:
            yield f"{name}: {error}"
    if config.best_network not in ("student", "teacher"):
        yield f"best_network is {config.best_network!r}; expected 'student' or 'teacher'"


def _bad_parts(config: ConfigDict) -> Iterator[str]:
    parts = {
        "method": build.build_method,
        "model": build.build_model,
        "loss": build.build_objective,
        "profile": lambda config: profiled_steps(config.profile),
        "tracking": lambda config: check_tracking(config.tracking),
        "eval": lambda config: make_inference(config.eval, config.data.crop_size),
    }
    for name, make in parts.items():
        try:
            make(config)
        except ConfigError as error:
            yield f"{name}: {error}"
            # The other parts are built from it.
            if name == "method":
                return
