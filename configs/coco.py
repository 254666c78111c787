"""COCO 2017, 81 classes, in the recipe of the UniMatch family.

    python -m ipixmatch_jax.data.coco_masks coco
    python -m ipixmatch_jax.data.protocols fetch coco --to coco/splits
    python -m ipixmatch_jax.main --config configs/coco.py:1_512 --config.data.root coco \
        --workdir runs/coco-1_512

The first line makes the masks from COCO's annotations, once. The argument is the labeled share of
the 118287 training images: `1_512`, `1_256`, `1_128`, `1_64`, `1_32`; all others are unlabeled.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config
from ipixmatch_jax.errors import ConfigError

LABELED = {"1_512": 232, "1_256": 463, "1_128": 925, "1_64": 1849, "1_32": 3697}
IMAGES, EPOCHS = 118287, 30


def get_config(arg: str = "1_512") -> ConfigDict:
    if arg not in LABELED:
        raise ConfigError(f"configs/coco.py:{arg}: expected one of {', '.join(LABELED)}")
    config = default_config()
    config.batch_size = config.unlabeled_batch_size = 8
    epoch = (IMAGES - LABELED[arg]) // config.batch_size
    config.total_steps = EPOCHS * epoch
    config.eval_every = config.checkpoint_every = epoch

    data = config.data
    data.name, data.root = "coco", "coco"
    data.labeled = f"splits/coco-{arg}/labeled.txt"
    data.unlabeled = "rest"
    data.val = "val"
    data.num_classes = 81
    data.crop_size = (513, 513)
    data.workers = 8

    config.model.name, config.model.backbone = "deeplabv3plus", "resnet101"
    config.model.output_stride = 16
    config.method.confidence = 0.95
    optimizer = config.optimizer
    optimizer.name, optimizer.learning_rate, optimizer.head_multiplier = "sgd", 4e-3, 10.0
    optimizer.weight_decay, optimizer.decay_norm_and_bias = 1e-4, True
    return config
