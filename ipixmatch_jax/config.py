"""The config: every key with its default, validation that lists all problems, the snapshot."""

import importlib.util
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from ipixmatch_jax.data import DATASETS, check_statistics, data_defaults
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine import build
from ipixmatch_jax.engine.inference import eval_defaults, make_inference
from ipixmatch_jax.engine.optimizer import OPTIMIZERS
from ipixmatch_jax.engine.step import TEACHERS
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.registry import nearest
from ipixmatch_jax.tracking.profiler import profiled_steps
from ipixmatch_jax.tracking.services import check_tracking, tracking_defaults
from ipixmatch_jax.workdir.folder import config_path, write_whole

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


def default_config() -> ConfigDict:
    """Every key with its default; config files start from it and set what differs."""
    config = ConfigDict()
    config.seed = 0
    config.total_steps = 2000
    config.batch_size = 8  # labeled images a step, over all devices
    config.unlabeled_batch_size = 8
    config.eval_batch_size = 8
    config.log_every = 50
    config.eval_every = 500
    config.checkpoint_every = 500
    config.profile = ""  # START:STOP, steps to profile
    config.pictures = 8  # validation images drawn at the end of training
    config.max_bad_steps = 20  # non-finite steps in a row that end the run
    config.best_network = "teacher"  # whose mIoU chooses the best checkpoint
    config.accumulate_steps = 1  # parts in which a device takes its share of the batch
    config.parallel = "pmap"  # or shard_map, or zero1: shard_map with optimizer and teacher split
    config.normalize = "global"  # or per_device, as PyTorch DDP code does

    config.tracking = ConfigDict(tracking_defaults())
    config.eval = ConfigDict(eval_defaults())
    config.data = data_defaults()
    config.model = _model_defaults()
    config.method = _method_defaults()
    config.supervised = _supervised_defaults()
    config.views = ConfigDict(build.view_defaults())
    config.relation = _relation_defaults()
    config.teacher = ConfigDict({"kind": "ema", "decay": 0.996})
    config.optimizer = _optimizer_defaults()
    return config


def _model_defaults() -> ConfigDict:
    model = ConfigDict()
    model.name = "deeplabv3plus"
    model.pretrained = ""  # 'imagenet', a file of weights or hf://ORG/NAME/FILE; '': from scratch
    model.frozen = ()  # what does not learn: ('encoder',), or ('encoder/stem', 'encoder/layer1')
    model.dtype = "float32"  # compute type; bfloat16 on TPU and GPU
    # None leaves the choice to the model.
    model.backbone = config_dict.placeholder(str)
    model.output_stride = config_dict.placeholder(int)
    model.decoder_channels = config_dict.placeholder(int)
    model.low_level_channels = config_dict.placeholder(int)
    model.atrous_rates = config_dict.placeholder(tuple)
    model.separable = config_dict.placeholder(bool)
    model.width = config_dict.placeholder(int)
    model.depth = config_dict.placeholder(int)
    model.stem_stride = config_dict.placeholder(int)
    model.stem = config_dict.placeholder(str)
    model.multi_grid = config_dict.placeholder(tuple)
    model.registers = config_dict.placeholder(int)
    model.norm = config_dict.placeholder(str)  # batch or group
    model.in_channels = config_dict.placeholder(int)  # None: data.channels
    model.remat = config_dict.placeholder(bool)
    model.options = ConfigDict()  # of a model of your own
    return model


def _method_defaults() -> ConfigDict:
    method = ConfigDict()
    method.name = "fixmatch"
    method.threshold = "constant"  # or ramp, class_adaptive
    method.threshold_start = 0.0  # of the ramp, which ends at the confidence …
    method.threshold_steps = 0  # … after so many steps
    method.unlabeled_weight = 1.0
    method.ramp_start = 0  # the unlabeled weight is 0 before this step …
    method.ramp_steps = 0  # … and grows linearly over so many
    # None leaves the choice to the method; methods without such a choice ignore it.
    method.confidence = config_dict.placeholder(float)
    method.labeler = config_dict.placeholder(str)  # teacher or student
    method.label_norm = config_dict.placeholder(str)  # eval, train or ema
    method.mix = config_dict.placeholder(str)  # stream, flip or same
    method.norm_groups = config_dict.placeholder(str)  # source, separate or joint
    method.running_statistics = config_dict.placeholder(str)  # labeled or all
    method.options = ConfigDict()  # other fields of the method
    return method


def _supervised_defaults() -> ConfigDict:
    supervised = ConfigDict()
    supervised.name = "cross_entropy"  # or ohem, focal, dice
    supervised.dice_weight = 0.0  # of a Dice loss beside it
    supervised.weighting = "none"  # or inverse_frequency (of the labeled set), or given:
    supervised.class_weights = ()
    supervised.threshold = 0.7  # of ohem
    supervised.min_pixels = 200_000  # of ohem
    supervised.gamma = 2.0  # of focal
    return supervised


def _relation_defaults() -> ConfigDict:
    relation = ConfigDict()
    relation.name = "class_map"  # 'none': the bare method
    relation.distance = "kl"
    relation.weight = 0.1
    relation.temperature = 1.0
    relation.region = "confident"  # or valid
    relation.min_pixels = 2
    relation.classes = "all"  # or present: those that the teacher predicts in the image
    relation.cosine = False  # affinity of unit vectors
    relation.stride = 1  # affinity of means over stride x stride pixels
    relation.on = "probs"  # or features: affinity of …
    relation.features = "decoder"  # … this feature map of the model
    relation.ramp = "none"  # of the weight, beside method.ramp_*: none, linear or sigmoid
    relation.ramp_start = 0
    relation.ramp_steps = 0
    relation.options = ConfigDict()  # of a relation of your own
    relation.more = ()  # further relations: dicts of the keys that differ from this one
    return relation


def _optimizer_defaults() -> ConfigDict:
    optimizer = ConfigDict()
    optimizer.name = "adamw"
    optimizer.learning_rate = 1e-3
    optimizer.head_multiplier = 1.0  # learning rate of all but the encoder, relative to it
    optimizer.weight_decay = 1e-4
    optimizer.decay_norm_and_bias = False
    optimizer.momentum = 0.9  # of sgd
    optimizer.power = 0.9  # of the polynomial decay
    optimizer.warmup_steps = 0
    return optimizer


def load_config(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The validated config of a file and the command line.

    Args:
        spec: `FILE` or `FILE:ARG`; the file defines `get_config(arg=None)`.
        overrides: `--config.key=value` or `--config.key`, `value`.

    Raises:
        ConfigError: the file, a key or a value cannot be used; with every problem found.
    """
    config = with_overrides(_run_config_file(spec), overrides)
    validate(config)
    config.lock()
    return config


def _run_config_file(spec: str) -> ConfigDict:
    path, _, arg = spec.partition(":")
    if not pathlib.Path(path).is_file():
        raise ConfigError(f"--config names {path!r}, which is no file; try configs/demo.py")
    module_spec = importlib.util.spec_from_file_location("ipixmatch_config_file", path)
    if module_spec is None:
        raise ConfigError(f"--config names {path!r}, which is no Python file")
    module = importlib.util.module_from_spec(module_spec)
    # Worker processes and pickling look functions of the config file up by this name.
    sys.modules[module_spec.name] = module
    try:
        module_spec.loader.exec_module(module)
        config = module.get_config(arg) if arg else module.get_config()
    except (AttributeError, KeyError, NameError, TypeError, SyntaxError, ImportError) as error:
        raise ConfigError(f"config file {path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"config file {path}: get_config returned no ConfigDict")
    return config


def with_overrides(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """The config with the command line's keys set; not validated. ConfigError for unknown ones."""
    known = dict(flatten(config))
    for argument in overrides:
        name = argument.split("=")[0].removeprefix("--config.")
        if argument.startswith("--config.") and name not in known:
            if isinstance(_get(config, name), ConfigDict):
                raise ConfigError(f"--config.{name} is a group of keys; set one of its keys")
            raise ConfigError(f"no config key {name!r}{nearest(name, known)}")
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict(
        "config", config, flag_values=values, sys_argv=list(overrides), lock_config=False
    )
    values.set_gnu_getopt(True)
    try:
        rest = values(["", *overrides])[1:]
    except (flags.Error, TypeError, ValueError) as error:
        raise ConfigError(str(error).removeprefix("flag ")) from error
    if rest:
        raise ConfigError(f"cannot read {' '.join(rest)!r}; expected --config.key=value")
    return values.config


def _get(config: ConfigDict, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(config, ConfigDict) or part not in config:
            return None
        config = config[part]
    return config


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`('data.root', value)` for every key that is not a group."""
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


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


def write_snapshot(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Writes the resolved config to `config.json`, or checks it against the one that is there.

    Raises:
        ConfigError: the workdir holds a run with another config, with every key that differs.
    """
    path = config_path(workdir)
    resolved = json.loads(config.to_json_best_effort())
    if path.exists():
        _check_same(path, resolved)
    write_whole(path, json.dumps(resolved, indent=2) + "\n")


def _check_same(path: pathlib.Path, resolved: dict[str, Any]) -> None:
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
