"""Cityscapes, 19 classes, in the recipe of the UniMatch family.

    python -m ipixmatch_jax.data.protocols fetch cityscapes --to cityscapes/splits
    python -m ipixmatch_jax.main --config configs/cityscapes.py:1_16 \
        --config.data.root cityscapes --workdir runs/city-1_16

The argument is the labeled share of the 2975 training images: `1_30`, `1_16`, `1_8`, `1_4`, `1_2`
(lists of CPS and UniMatch, not those of U2PL). `data.root` holds leftImg8bit and gtFine; labelIds
masks of the download are converted as they are read.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config
from ipixmatch_jax.errors import ConfigError

UNLABELED = {"1_30": 2875, "1_16": 2789, "1_8": 2603, "1_4": 2231, "1_2": 1487}
EPOCHS = 240


def get_config(arg: str = "1_16") -> ConfigDict:
    if arg not in UNLABELED:
        raise ConfigError(f"configs/cityscapes.py:{arg}: expected one of {', '.join(UNLABELED)}")
    config = default_config()
    config.batch_size = config.unlabeled_batch_size = 8
    config.total_steps = EPOCHS * (UNLABELED[arg] // config.batch_size)
    config.eval_every = config.checkpoint_every = 10 * (UNLABELED[arg] // config.batch_size)

    data = config.data
    data.name, data.root = "cityscapes", "cityscapes"
    data.labeled = f"splits/cityscapes-{arg}/labeled.txt"
    data.unlabeled = f"splits/cityscapes-{arg}/unlabeled.txt"
    data.val = "val"
    data.num_classes = 19
    data.crop_size = (801, 801)
    data.workers = 4

    config.model.name, config.model.backbone = "deeplabv3plus", "resnet101"
    config.model.output_stride = 16
    # The peers' choice: every pixel counts.
    config.method.confidence = 0.0
    optimizer = config.optimizer
    optimizer.name, optimizer.learning_rate, optimizer.head_multiplier = "sgd", 5e-3, 1.0
    optimizer.weight_decay, optimizer.decay_norm_and_bias = 1e-4, True
    return config
