"""Published training constants of each method on each benchmark, for configs/.

Sources: the papers' published code. `batch` counts labeled images per step over all devices (and as
many unlabeled ones), `epochs` counts passes over the unlabeled list, `learning_rate` is that of the
encoder. A method without a published run on a benchmark has no recipe there.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from ipixmatch_jax.errors import ConfigError


class Recipe(NamedTuple):
    crop: int
    batch: int
    epochs: int
    learning_rate: float
    head_multiplier: float
    confidence: float = 0.95
    weight_decay: float = 1e-4
    ohem_pixels: int = 0  # 0: plain cross-entropy
    teacher_decay: float = 0.996
    supervised_weight: float = 1.0
    unlabeled_weight: float = 1.0
    output_stride: int = 16


_UNIMATCH = {
    "voc": Recipe(321, 8, 80, 0.001, 10.0),
    "cityscapes": Recipe(801, 8, 240, 0.005, 1.0, confidence=0.0, ohem_pixels=200_000),
    "coco": Recipe(513, 8, 30, 0.004, 10.0),
}
_HALF = {"supervised_weight": 0.5, "unlabeled_weight": 0.5}
RECIPES = {
    "supervised": _UNIMATCH,
    # Its loss in that code is (L_sup + L_pseudo)/2; UniMatch's own halves are in the method.
    "fixmatch": {benchmark: recipe._replace(**_HALF) for benchmark, recipe in _UNIMATCH.items()},
    "unimatch": _UNIMATCH,
    "unimatch_v2": {
        "voc": Recipe(518, 16, 60, 5e-6, 40.0, weight_decay=0.01),
        "cityscapes": Recipe(798, 8, 180, 5e-6, 40.0, confidence=0.0, weight_decay=0.01),
        "ade20k": Recipe(518, 8, 60, 5e-6, 40.0, weight_decay=0.01),
        "coco": Recipe(518, 16, 20, 5e-6, 40.0, weight_decay=0.01),
    },
    "augseg": {
        "voc": Recipe(513, 16, 80, 0.001, 10.0, teacher_decay=0.999),
        "cityscapes": Recipe(
            800, 16, 240, 0.01, 1.0, confidence=0.0, weight_decay=5e-4, ohem_pixels=100_000
        ),
    },
    "corrmatch": {
        "voc": Recipe(321, 8, 80, 0.001, 10.0, confidence=0.85, output_stride=8, **_HALF),
        "cityscapes": Recipe(
            801, 8, 240, 0.005, 1.0, confidence=0.0, ohem_pixels=200_000, output_stride=8, **_HALF
        ),
    },
    "u2pl": {
        "voc": Recipe(513, 16, 80, 0.001, 10.0, 0.0, teacher_decay=0.99, output_stride=8),
        "cityscapes": Recipe(
            769,
            16,
            200,
            0.01,
            1.0,
            0.0,
            weight_decay=5e-4,
            ohem_pixels=100_000,
            teacher_decay=0.99,
            output_stride=8,
        ),
    },
    # Its schedules depend on the split; these are the longest.
    "cps": {
        "voc": Recipe(512, 8, 60, 0.01, 1.0, confidence=0.0, unlabeled_weight=1.5),
        "cityscapes": Recipe(
            800, 8, 240, 0.02, 1.0, confidence=0.0, ohem_pixels=200_000, unlabeled_weight=6.0
        ),
    },
}

# Other backbones of UniMatch V2 → word of their weights and patch size. Its paper has DINOv2; on
# DINOv3 nothing but the crop changes, to the nearest multiple of the patch size.
_BACKBONES = {
    **{f"dinov2_{size}": ("dinov2", 14) for size in ("small", "base", "large")},
    **{f"dinov3_{size}": ("dinov3", 16) for size in ("small", "small_plus", "base", "large")},
}

# Methods whose code normalizes labeled and strong images in one pass.
_JOINT = ("augseg", "u2pl")
# U2PL changes no colors, and half of the images' area is in the box.
_U2PL_VIEWS = {
    "jitter_probability": 0.0,
    "gray_probability": 0.0,
    "blur_probability": 0.0,
    "cutmix_area": (0.5, 0.5),
    "cutmix_ratio": (0.5, 2.0),
}


def apply(config: ConfigDict, method: str, benchmark: str, unlabeled: int) -> ConfigDict:
    """Sets a method's published constants on a benchmark.

    Args:
        config: the config to change; it is also returned.
        method: a name in `RECIPES`, or `unimatch_v2/BACKBONE` for another backbone than
            dinov2_base, such as `unimatch_v2/dinov3_small`.
        benchmark: `voc`, `cityscapes`, `coco` or `ade20k`.
        unlabeled: number of unlabeled images, which sets the length of an epoch.

    Raises:
        ConfigError: no recipe of the method on the benchmark, or with the backbone.
    """
    method, _, backbone = method.partition("/")
    known = [name for name, recipes in RECIPES.items() if benchmark in recipes]
    if method not in known:
        raise ConfigError(
            f"no published recipe of method {method!r} on {benchmark}; published: "
            f"{', '.join(known)}. Choose one of them and set --config.method.name={method}"
        )
    if backbone and (method != "unimatch_v2" or backbone not in _BACKBONES):
        raise ConfigError(
            f"no recipe of {method}/{backbone}; UniMatch V2's has other backbones: "
            f"{', '.join(f'unimatch_v2/{name}' for name in _BACKBONES)}"
        )
    recipe = RECIPES[method][benchmark]
    config.batch_size = config.unlabeled_batch_size = recipe.batch
    epoch = max(unlabeled // recipe.batch, 1)
    config.total_steps = recipe.epochs * epoch
    config.eval_every = config.checkpoint_every = epoch * max(recipe.epochs // 40, 1)
    config.eval_batch_size = 1  # one image of its own size per device
    config.eval.absent = "zero"
    if benchmark == "cityscapes":
        config.eval.mode = "sliding"
        config.eval.border = "shift" if method == "unimatch_v2" else "clip"
    word, patch = _BACKBONES[backbone or "dinov2_base"]
    crop = round(recipe.crop / patch) * patch if backbone else recipe.crop
    config.data.crop_size = (crop, crop)
    config.method.name, config.method.confidence = method, recipe.confidence
    config.method.unlabeled_weight = recipe.unlabeled_weight
    config.supervised.weight = recipe.supervised_weight
    config.teacher.decay = recipe.teacher_decay
    optimizer = config.optimizer
    optimizer.learning_rate = recipe.learning_rate
    optimizer.head_multiplier = recipe.head_multiplier
    optimizer.weight_decay, optimizer.decay_norm_and_bias = recipe.weight_decay, True
    if recipe.ohem_pixels:
        config.supervised.name, config.supervised.min_pixels = "ohem", recipe.ohem_pixels
    if method == "unimatch_v2":
        config.model.name, config.model.backbone = "dpt", backbone or "dinov2_base"
        config.model.pretrained = word
        optimizer.name = "adamw"
    else:
        config.model.name, config.model.backbone = "deeplabv3plus", "resnet101"
        config.model.stem, config.model.output_stride = "deep", recipe.output_stride
        config.model.pretrained = "imagenet"
        optimizer.name = "sgd"
    if method in _JOINT:
        config.method.norm_groups = "joint"
    if method == "u2pl":
        config.model.multi_grid = (2, 2, 4)
        config.views.update(_U2PL_VIEWS)
    return config
