"""ADE20K, 150 classes, in the recipe of UniMatch V2.

    python -m ipixmatch_jax.data.protocols fetch ade20k --to ADEChallengeData2016/splits
    python -m ipixmatch_jax.main --config configs/ade20k.py:1_16 \
        --config.data.root ADEChallengeData2016 --workdir runs/ade-1_16

The argument is the labeled share of the 20210 training images: `1_64`, `1_32`, `1_16`, `1_8`,
`1_4`, `1_2`.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config
from ipixmatch_jax.errors import ConfigError

LABELED = {"1_64": 316, "1_32": 631, "1_16": 1263, "1_8": 2526, "1_4": 5052, "1_2": 10105}
IMAGES, EPOCHS = 20210, 60


def get_config(arg: str = "1_16") -> ConfigDict:
    if arg not in LABELED:
        raise ConfigError(f"configs/ade20k.py:{arg}: expected one of {', '.join(LABELED)}")
    config = default_config()
    config.batch_size = config.unlabeled_batch_size = 8
    epoch = (IMAGES - LABELED[arg]) // config.batch_size
    config.total_steps = EPOCHS * epoch
    config.eval_every = config.checkpoint_every = 2 * epoch

    data = config.data
    data.name, data.root = "ade20k", "ADEChallengeData2016"
    data.labeled = f"splits/ade20k-{arg}/labeled.txt"
    data.unlabeled = f"splits/ade20k-{arg}/unlabeled.txt"
    data.val = "val"
    data.num_classes = 150
    data.crop_size = (518, 518)
    data.workers = 4

    config.model.name, config.model.backbone = "dpt", "dinov2_base"
    config.method.confidence = 0.95
    config.teacher.decay = 0.996
    optimizer = config.optimizer
    optimizer.name, optimizer.learning_rate, optimizer.head_multiplier = "adamw", 5e-6, 40.0
    optimizer.weight_decay, optimizer.decay_norm_and_bias = 0.01, True
    return config
