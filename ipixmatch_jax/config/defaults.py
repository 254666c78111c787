"""Every key of the config with its default."""

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict, config_dict

from ipixmatch_jax import build
from ipixmatch_jax.data import data_defaults
from ipixmatch_jax.engine.inference import eval_defaults
from ipixmatch_jax.tracking.services import tracking_defaults


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


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`('data.root', value)` for every key that is not a group."""
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
