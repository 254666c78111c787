"""ADE20K, 150 classes, with the published constants of UniMatch V2.

    python -m ipixmatch_jax.data.protocols fetch ade20k --to ADEChallengeData2016/splits
    ipixmatch --config ade20k:1_16 \
        --config.data.root ADEChallengeData2016 --workdir runs/ade-1_16

The argument is the labeled share of the 20210 training images: `1_64`, `1_32`, `1_16`, `1_8`,
`1_4`, `1_2`; or `1_16/unimatch_v2/dinov3_small` for UniMatch V2 on DINOv3.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config, recipes
from ipixmatch_jax.errors import ConfigError

LABELED = {"1_64": 316, "1_32": 631, "1_16": 1263, "1_8": 2526, "1_4": 5052, "1_2": 10105}
IMAGES = 20210


def get_config(arg: str = "1_16") -> ConfigDict:
    share, _, method = arg.partition("/")
    if share not in LABELED:
        raise ConfigError(f"--config ade20k:{arg}: expected one of {', '.join(LABELED)}")
    config = recipes.apply(
        default_config(), method or "unimatch_v2", "ade20k", IMAGES - LABELED[share]
    )

    data = config.data
    data.name, data.root = "ade20k", "ADEChallengeData2016"
    data.labeled = f"splits/ade20k-{share}/labeled.txt"
    data.unlabeled = f"splits/ade20k-{share}/unlabeled.txt"
    data.val = "val"
    data.num_classes = 150
    data.workers = 4
    return config
