"""Pascal VOC 2012 with SBD, 21 classes, in the recipe of the UniMatch family.

    python -m ipixmatch_jax.data.protocols fetch voc --to VOC2012/splits
    python -m ipixmatch_jax.main --config configs/voc.py:fine-92 --config.data.root VOC2012 \
        --workdir runs/voc-92

The argument is a protocol: `fine-92`, `-183`, `-366`, `-732`, `-1464`; `blended-1_16`, `-1_8`,
`-1_4` (lists of CPS); `priority-1_16`, `-1_8`, `-1_4` (lists of U2PL, crops of 513, not comparable
with blended). `data.root` holds JPEGImages, SegmentationClass, and SegmentationClassAug or, with
`data.voc.sbd`, SBD's benchmark_RELEASE/dataset.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config
from ipixmatch_jax.errors import ConfigError

# Unlabeled images of each protocol, which set the length of an epoch.
UNLABELED = {
    "fine-92": 10490, "fine-183": 10399, "fine-366": 10216, "fine-732": 9850, "fine-1464": 9118,
    "blended-1_16": 9920, "blended-1_8": 9259, "blended-1_4": 7936,
    "priority-1_16": 9920, "priority-1_8": 9259, "priority-1_4": 7936,
}  # fmt: skip
EPOCHS = 80


def get_config(arg: str = "fine-92") -> ConfigDict:
    if arg not in UNLABELED:
        raise ConfigError(f"configs/voc.py:{arg}: expected one of {', '.join(UNLABELED)}")
    config = default_config()
    config.batch_size = config.unlabeled_batch_size = 8
    config.total_steps = EPOCHS * (UNLABELED[arg] // config.batch_size)
    config.eval_every = config.checkpoint_every = UNLABELED[arg] // config.batch_size
    config.normalize = "global"

    data = config.data
    data.name, data.root = "voc", "VOC2012"
    data.labeled = f"splits/voc-{arg}/labeled.txt"
    data.unlabeled = f"splits/voc-{arg}/unlabeled.txt"
    data.val = "val"
    data.num_classes = 21
    side = 513 if arg.startswith("priority") else 321
    data.crop_size = (side, side)
    data.workers = 4

    config.model.name, config.model.backbone = "deeplabv3plus", "resnet101"
    config.model.output_stride = 16
    config.method.confidence = 0.95
    optimizer = config.optimizer
    optimizer.name, optimizer.learning_rate, optimizer.head_multiplier = "sgd", 1e-3, 10.0
    optimizer.weight_decay, optimizer.decay_norm_and_bias = 1e-4, True
    return config
