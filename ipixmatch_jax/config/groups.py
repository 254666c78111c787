"""Every key of the config, one table per group; defaults, docs and checks come from here.

The tables of `eval`, `data` and `tracking` stand in the rooms that read them.
"""

import functools
from collections.abc import Callable, Iterator

from ipixmatch_jax import build
from ipixmatch_jax.data import data_keys
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.engine.inference import EVAL_KEYS
from ipixmatch_jax.engine.objective import THRESHOLDS
from ipixmatch_jax.engine.optimizer import OPTIMIZERS, SCHEDULES
from ipixmatch_jax.engine.step import TEACHERS
from ipixmatch_jax.engine.weighted_relation import BALANCES, RAMPS
from ipixmatch_jax.keys import Key, Table
from ipixmatch_jax.losses import RELATION_OPTIONS, RELATIONS, SUPERVISED_LOSSES
from ipixmatch_jax.methods import METHODS
from ipixmatch_jax.models import MODELS
from ipixmatch_jax.models.create import NORMS
from ipixmatch_jax.models.lora import TARGETS
from ipixmatch_jax.tracking.services import TRACKING_KEYS

RUN: Table = {
    "seed": Key(0, "seed of everything random", least=0),
    "total_steps": Key(2000, "training steps", least=1),
    "batch_size": Key(8, "labeled images per step, over all devices", least=1),
    "unlabeled_batch_size": Key(8, "unlabeled images per step, over all devices", least=1),
    "eval_batch_size": Key(8, "images per evaluation batch, over all devices", least=1),
    "log_every": Key(50, "steps between two lines of metrics", least=1),
    "eval_every": Key(500, "steps between two evaluations", least=1),
    "checkpoint_every": Key(500, "steps between two checkpoints", least=1),
    "profile": Key("", "steps to profile, as START:STOP; empty: none"),
    "pictures": Key(8, "validation images drawn at the end of training", least=0),
    "max_bad_steps": Key(20, "non-finite steps in a row that stop the run", least=1),
    "best_network": Key(
        "teacher",
        "network whose mIoU chooses the best checkpoint",
        choices=("student", "teacher"),
    ),
    "accumulate_steps": Key(
        1, "gradient accumulation: number of micro-batches per device", least=1
    ),
    "parallel": Key(
        "pmap",
        "how the step runs on all devices; zero1: shard_map with optimizer and teacher split",
        choices=PARALLEL.names,
    ),
    "planned": Key(
        (),
        "keys that the config file planned, as KEY=VALUE: REASON; a resumed run keeps its own",
        kind="str",
    ),
    "normalize": Key(
        "global",
        "divide losses by pixel counts over all devices, or per device as PyTorch DDP does",
        choices=("global", "per_device"),
    ),
}

_OWN = "None: the model's own default"
MODEL: Table = {
    "name": Key("deeplabv3plus", "the network", choices=MODELS.names),
    "pretrained": Key(
        "",
        "imagenet, dinov2, dinov3, a file, https://... or hf://ORG/NAME/FILE; empty, none: random",
    ),
    "init_from": Key(
        "",
        "first weights, in place of pretrained: a run's folder or a file; other classes: random "
        "classifier",
    ),
    "frozen": Key(
        (), "modules to freeze: ('encoder',) or ('encoder/stem',); a name after ! is an exception",
        kind="str",
    ),
    "lora_rank": Key(
        0, "rank of LoRA adapters in a transformer encoder, all else of which is frozen; 0: none",
        least=0,
    ),
    "lora_alpha": Key(16.0, "LoRA: its change of a matrix is multiplied by alpha / rank", above=0),
    "lora_targets": Key(("query", "value"), "LoRA: which matrices get adapters", choices=TARGETS),
    "dtype": Key(
        "float32",
        "compute type; bfloat16 is faster on TPU and GPU",
        choices=("float32", "bfloat16", "float64"),
    ),
    "backbone": Key(None, f"the encoder, see docs/models.md; {_OWN}", kind="str"),
    "output_stride": Key(None, f"input pixels per pixel of the encoder's output; {_OWN}",
                         kind="int", least=1),
    "decoder_channels": Key(None, f"channels of the decoder; {_OWN}", kind="int", least=1),
    "low_level_channels": Key(None, f"channels of the decoder's skip connection; {_OWN}",
                              kind="int", least=1),
    "atrous_rates": Key(None, f"rates of the atrous convolutions; {_OWN}",
                        kind="int", many=True, least=1),
    "separable": Key(None, f"depthwise-separable convolutions in the decoder; {_OWN}", kind="bool"),
    "width": Key(None, f"channels of the first level; {_OWN}", kind="int", least=1),
    "depth": Key(None, f"number of times the resolution is halved; {_OWN}", kind="int", least=1),
    "stem_stride": Key(None, f"stride of the first convolution; {_OWN}", kind="int", least=1),
    "stem": Key(None, f"first layers of a ResNet: plain or deep; {_OWN}", kind="str"),
    "multi_grid": Key(None, f"dilations of a ResNet's last three blocks; {_OWN}",
                      kind="int", many=True, least=1),
    "blocks": Key(None, f"last blocks of a ViT that a linear head concatenates; {_OWN}",
                  kind="int", least=1),
    "registers": Key(None, f"register tokens of DINOv2; {_OWN}", kind="int", least=0),
    "norm": Key(None, f"normalization; {_OWN}", kind="str", choices=NORMS),
    "in_channels": Key(None, "channels of the input; None: data.channels", kind="int", least=1),
    "remat": Key(None, f"recompute activations in the backward pass, to save memory; {_OWN}",
                 kind="bool"),
    "options": {},
}  # fmt: skip

_LEFT = "None: the method's own default"
METHOD: Table = {
    "name": Key(
        "fixmatch",
        "the semi-supervised method",
        choices=METHODS.names,
        other="package.module:Class of your own",
    ),
    "threshold": Key("constant", "confidence threshold over the run", choices=THRESHOLDS),
    "threshold_start": Key(
        0.0, "threshold ramp: first value; the last is method.confidence", least=0, most=1
    ),
    "threshold_steps": Key(0, "threshold ramp: number of steps", least=0),
    "unlabeled_weight": Key(1.0, "weight of the loss of unlabeled images", least=0),
    "ramp_start": Key(0, "step before which the weight of unlabeled images is 0", least=0),
    "ramp_steps": Key(0, "steps over which that weight then grows linearly", least=0),
    "confidence": Key(
        None, f"confidence from which on a pseudo-label counts; {_LEFT}",
        kind="float", least=0, most=1,
    ),
    "labeler": Key(None, f"network that makes the pseudo-labels: teacher, student or peer; {_LEFT}",
                   kind="str"),
    "label_norm": Key(None, f"batch norm of the labeler's pass: eval, train or ema; {_LEFT}",
                      kind="str"),
    "mix": Key(None, f"CutMix partner: stream, flip or same; {_LEFT}", kind="str"),
    "norm_groups": Key(
        None, f"views that share a batch-norm pass: source, separate or joint; {_LEFT}", kind="str"
    ),
    "running_statistics": Key(
        None, f"passes that feed the running batch statistics: labeled or all; {_LEFT}", kind="str"
    ),
    "options": {},
}  # fmt: skip

SUPERVISED: Table = {
    "name": Key("cross_entropy", "loss of labeled images", choices=SUPERVISED_LOSSES.names),
    "weight": Key(1.0, "weight of the loss of labeled images", least=0),
    "dice_weight": Key(0.0, "weight of an additional Dice loss", least=0),
    "weighting": Key(
        "none",
        "class weights: none, the inverse class frequency of the labeled masks, or class_weights",
        choices=("none", "inverse_frequency", "given"),
    ),
    "class_weights": Key((), "weighting given: one number per class", kind="float", least=0),
    "threshold": Key(0.7, "ohem: pixels with a lower probability count", least=0, most=1),
    "min_pixels": Key(200_000, "ohem: smallest number of pixels that count", least=1),
    "gamma": Key(2.0, "focal: exponent", least=0),
}


def _relation_distances() -> list[str]:
    return list(dict.fromkeys(name.partition("/")[2] for name in RELATIONS.names()))


def _relation_names() -> list[str]:
    return ["none", *dict.fromkeys(name.partition("/")[0] for name in RELATIONS.names())]


RELATION: Table = {
    "name": Key(
        "class_map", "relation loss; none: the bare method", choices=_relation_names
    ),
    "distance": Key("kl", "distance of the relations; class_map has kl and corr, affinity all",
                    choices=_relation_distances),
    "weight": Key(0.1, "weight of the relation loss; or see balance", least=0),
    "balance": Key("none", "gradient: weight times the norm of the pseudo-labels' gradient",
                   choices=BALANCES),
    "temperature": Key(1.0, "temperature of the relation's softmax", above=0),
    "region": Key(
        "confident", "pixels that are compared: confident and valid ones, or all valid ones",
        choices=("confident", "valid"),
    ),
    "min_pixels": Key(2, "images with fewer such pixels have no relation loss", least=2),
    "classes": Key(
        RELATION_OPTIONS["classes"],
        "class maps that are compared; present: classes that the teacher predicts",
        choices=("all", "present"),
    ),
    "cosine": Key(RELATION_OPTIONS["cosine"], "affinity: compare unit vectors"),
    "stride": Key(
        RELATION_OPTIONS["stride"], "affinity: compare means over stride x stride pixels", least=1
    ),
    "on": Key(
        RELATION_OPTIONS["on"], "affinity: compare probabilities or a feature map",
              choices=("probs", "features")),
    "features": Key("decoder", "on features: the model's feature map"),
    "ramp": Key("none", "growth of the weight, in addition to method.ramp_*", choices=RAMPS),
    "ramp_start": Key(0, "ramp: step before which the weight is 0", least=0),
    "ramp_steps": Key(0, "ramp: number of steps", least=0),
    "options": {},
    "more": Key((), "further relations: dicts of the keys that differ from this one", kind="dict"),
}  # fmt: skip

TEACHER: Table = {
    "kind": Key(
        "ema",
        "ema: moving average of the student; student: its last step",
        choices=TEACHERS.names,
    ),
    "decay": Key(0.996, "EMA decay; after step k it is min(1 - 1/(k+1), decay)", least=0, most=1),
}

OPTIMIZER: Table = {
    "name": Key("adamw", "the optimizer", choices=OPTIMIZERS.names),
    "learning_rate": Key(1e-3, "learning rate of the encoder", least=0),
    "head_multiplier": Key(1.0, "learning rate of everything else, relative to it", least=0),
    "layer_decay": Key(
        1.0, "factor of the learning rate from each layer of the encoder to the one before it",
        above=0, most=1,
    ),
    "weight_decay": Key(1e-4, "weight decay", least=0),
    "decay_norm_and_bias": Key(False, "weight decay for norms and biases too"),
    "momentum": Key(0.9, "sgd: momentum", least=0, most=1),
    "clip_norm": Key(
        None, "largest norm of the gradient, which is scaled down to it; None: no limit",
        kind="float", above=0,
    ),
    "schedule": Key(
        "poly",
        "learning rate after the warm-up: polynomial or cosine decay to 0 at the last step, or "
        "constant",
        choices=SCHEDULES.names,
    ),
    "power": Key(0.9, "poly: exponent of the decay", least=0, most=100),
    "warmup_steps": Key(0, "steps over which the learning rate grows linearly at first", least=0),
}  # fmt: skip


_VIEW = build.view_defaults()
_CHANCE = {"least": 0, "most": 1}
_STRENGTH = {"least": 0, "most": 100}
VIEWS: Table = {
    "jitter_probability": Key(
        _VIEW["jitter_probability"], "probability of the color jitter", **_CHANCE
    ),
    "brightness": Key(_VIEW["brightness"], "color jitter: change in brightness", **_STRENGTH),
    "contrast": Key(_VIEW["contrast"], "color jitter: change in contrast", **_STRENGTH),
    "saturation": Key(_VIEW["saturation"], "color jitter: change in saturation", **_STRENGTH),
    "hue": Key(_VIEW["hue"], "color jitter: change in hue", least=0, most=0.5),
    "gray_probability": Key(
        _VIEW["gray_probability"], "probability that colors become gray", **_CHANCE
    ),
    "blur_probability": Key(
        _VIEW["blur_probability"], "probability of the Gaussian blur", **_CHANCE
    ),
    "blur_sigma": Key(
        _VIEW["blur_sigma"], "Gaussian blur: range of sigma, in pixels",
        length=2, above=0, most=100, ordered=True,
    ),
    "cutmix_probability": Key(
        _VIEW["cutmix_probability"], "probability of a CutMix box", **_CHANCE
    ),
    "cutmix_area": Key(
        _VIEW["cutmix_area"], "CutMix: range of the box's share of the image",
        length=2, least=0, most=1, ordered=True,
    ),
    "cutmix_ratio": Key(
        _VIEW["cutmix_ratio"], "CutMix: range of the box's height over its width",
        length=2, above=0, most=1000, ordered=True,
    ),
}  # fmt: skip

# Name of each group, '' for the keys without one → its title and its table.
GROUPS: dict[str, tuple[str, Callable[[], Table]]] = {
    "": ("The run", lambda: RUN),
    "data": ("Images, masks and splits", data_keys),
    "model": ("The network; `model.options.KEY` reaches any other option of it", lambda: MODEL),
    "method": (
        "The semi-supervised method; `method.options.KEY` reaches any other field of it",
        lambda: METHOD,
    ),
    "relation": (
        "The relation loss; `relation.options.KEY` reaches any other option of it",
        lambda: RELATION,
    ),
    "supervised": ("The loss of labeled images", lambda: SUPERVISED),
    "views": ("Strong views of the unlabeled images", lambda: VIEWS),
    "teacher": ("The teacher", lambda: TEACHER),
    "optimizer": ("Optimizer and learning rate", lambda: OPTIMIZER),
    "eval": ("Evaluation, and prediction of whole images", lambda: EVAL_KEYS),
    "tracking": ("Services that follow the run", lambda: TRACKING_KEYS),
}


@functools.cache
def all_keys() -> dict[str, Key]:
    """Full name, as `data.folder.holdout`, to key, of every key."""
    found: dict[str, Key] = {}
    for group, (_, table) in GROUPS.items():
        found |= _named(table(), f"{group}." if group else "")
    return found


def _named(table: Table, prefix: str) -> Iterator[tuple[str, Key]]:
    for name, entry in table.items():
        if isinstance(entry, Key):
            yield prefix + name, entry
        else:
            yield from _named(entry, f"{prefix}{name}.")
