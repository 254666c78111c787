"""Handwritten digits over textured backgrounds: trains, evaluates and draws on a laptop's CPU.

    ipixmatch --config demo --workdir runs/demo
    ipixmatch --config demo:supervised --workdir runs/supervised

The argument chooses the method: `ipixmatch` (the default), `fixmatch`, `supervised` on the few
labeled scenes, or `all`: supervised with every scene labeled, the upper bound.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config
from ipixmatch_jax.errors import ConfigError

# Background, then the digits 0 to 9.
PALETTE = (
    (30, 30, 34),
    (230, 25, 75),
    (60, 180, 75),
    (255, 225, 25),
    (0, 130, 200),
    (245, 130, 48),
    (170, 90, 230),
    (70, 240, 240),
    (240, 50, 230),
    (210, 245, 60),
    (250, 190, 212),
)


def get_config(arg: str = "ipixmatch") -> ConfigDict:
    config = default_config()
    config.total_steps = 1500
    config.batch_size = 8
    config.unlabeled_batch_size = 8
    config.eval_batch_size = 40
    config.eval_every = 500
    config.checkpoint_every = 500

    config.data.name = "digits"
    config.data.labeled = "60"
    config.data.num_classes = 11
    config.data.palette = PALETTE
    config.data.crop_size = (64, 64)
    config.data.scale_range = (0.8, 1.25)
    config.data.flip = 0.0  # mirrored digits are other symbols

    config.model.name = "unet"
    config.model.width = 16
    config.model.stem_stride = 2

    config.method.confidence = 0.9
    config.method.ramp_start = 400
    config.method.ramp_steps = 300
    config.views.hue = 0.5
    config.relation.weight = 0.05
    config.relation.temperature = 4.0
    config.teacher.decay = 0.99
    config.optimizer.learning_rate = 5e-3

    if arg == "fixmatch":
        config.relation.name = "none"
    elif arg == "supervised":
        config.method.name = "supervised"
    elif arg == "all":
        config.method.name = "supervised"
        config.data.labeled = "all"
    elif arg != "ipixmatch":
        raise ConfigError(f"--config demo:{arg}: expected ipixmatch, fixmatch, supervised or all")
    return config
