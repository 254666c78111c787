"""Cityscapes, 19 classes, with the published constants of a method.

    python -m ipixmatch_jax.data.protocols fetch cityscapes --to cityscapes/splits
    ipixmatch --config cityscapes:1_16 \
        --config.data.root cityscapes --workdir runs/city-1_16

The argument is the labeled share of the 2975 training images, or `SHARE/METHOD` such as
`1_16/unimatch_v2` (`unimatch` by default; constants: ipixmatch_jax/config/recipes.py), or
`1_16/unimatch_v2/dinov3_small` for UniMatch V2 on DINOv3. Shares:
`1_30`, `1_16`, `1_8`, `1_4`, `1_2` (lists of CPS and UniMatch, not those of U2PL). `data.root`
holds leftImg8bit and gtFine; labelIds masks of the download are converted as they are read.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config, recipes
from ipixmatch_jax.errors import ConfigError

UNLABELED = {"1_30": 2875, "1_16": 2789, "1_8": 2603, "1_4": 2231, "1_2": 1487}


def get_config(arg: str = "1_16") -> ConfigDict:
    share, _, method = arg.partition("/")
    if share not in UNLABELED:
        raise ConfigError(f"--config cityscapes:{arg}: expected one of {', '.join(UNLABELED)}")
    config = recipes.apply(default_config(), method or "unimatch", "cityscapes", UNLABELED[share])

    data = config.data
    data.name, data.root = "cityscapes", "cityscapes"
    data.labeled = f"splits/cityscapes-{share}/labeled.txt"
    data.unlabeled = f"splits/cityscapes-{share}/unlabeled.txt"
    data.val = "val"
    data.num_classes = 19
    data.workers = 4
    return config
