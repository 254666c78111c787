"""Pascal VOC 2012 with SBD, 21 classes, with the published constants of a method.

    python -m ipixmatch_jax.data.protocols fetch voc --to VOC2012/splits
    ipixmatch --config voc:fine-92 --config.data.root VOC2012 \
        --workdir runs/voc-92

The argument is a protocol, or `PROTOCOL/METHOD`, such as `fine-92/unimatch_v2` (`unimatch` by
default; constants: ipixmatch_jax/config/recipes.py), or `fine-92/unimatch_v2/dinov3_small` for
UniMatch V2 on DINOv3. Protocols: `fine-92`, `-183`, `-366`, `-732`,
`-1464`; `blended-1_16`, `-1_8`, `-1_4` (lists of CPS); `priority-1_16`, `-1_8`, `-1_4` (lists of
U2PL, crops of 513, not comparable with blended). `data.root` holds JPEGImages, SegmentationClass,
and SegmentationClassAug or, with `data.voc.sbd`, SBD's benchmark_RELEASE/dataset.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config, recipes
from ipixmatch_jax.errors import ConfigError

# Unlabeled images of each protocol, which set the length of an epoch.
UNLABELED = {
    "fine-92": 10490, "fine-183": 10399, "fine-366": 10216, "fine-732": 9850, "fine-1464": 9118,
    "blended-1_16": 9920, "blended-1_8": 9259, "blended-1_4": 7936,
    "priority-1_16": 9920, "priority-1_8": 9259, "priority-1_4": 7936,
}  # fmt: skip


def get_config(arg: str = "fine-92") -> ConfigDict:
    protocol, _, method = arg.partition("/")
    if protocol not in UNLABELED:
        raise ConfigError(f"--config voc:{arg}: expected one of {', '.join(UNLABELED)}")
    config = recipes.apply(default_config(), method or "unimatch", "voc", UNLABELED[protocol])
    if protocol.startswith("priority") and config.data.crop_size[0] < 513:
        config.data.crop_size = (513, 513)

    data = config.data
    data.name, data.root = "voc", "VOC2012"
    data.labeled = f"splits/voc-{protocol}/labeled.txt"
    data.unlabeled = f"splits/voc-{protocol}/unlabeled.txt"
    data.val = "val"
    data.num_classes = 21
    data.workers = 4
    return config
