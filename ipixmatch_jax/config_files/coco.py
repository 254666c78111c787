"""COCO 2017, 81 classes, with the published constants of a method.

    python -m ipixmatch_jax.data.coco_masks coco
    python -m ipixmatch_jax.data.protocols fetch coco --to coco/splits
    ipixmatch --config coco:1_512 --config.data.root coco \
        --workdir runs/coco-1_512

Run the first command once: it draws masks from COCO's annotations. The argument is the labeled
share of the 118287 training images: `1_512`, `1_256`, `1_128`, `1_64`, `1_32`; all others are
unlabeled. `1_512/unimatch_v2/dinov3_small` is UniMatch V2 on DINOv3.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config, recipes
from ipixmatch_jax.errors import ConfigError

LABELED = {"1_512": 232, "1_256": 463, "1_128": 925, "1_64": 1849, "1_32": 3697}
IMAGES = 118287


def get_config(arg: str = "1_512") -> ConfigDict:
    share, _, method = arg.partition("/")
    if share not in LABELED:
        raise ConfigError(f"--config coco:{arg}: expected one of {', '.join(LABELED)}")
    config = recipes.apply(default_config(), method or "unimatch", "coco", IMAGES - LABELED[share])

    data = config.data
    data.name, data.root = "coco", "coco"
    data.labeled = f"splits/coco-{share}/labeled.txt"
    data.unlabeled = "rest"
    data.val = "val"
    data.num_classes = 81
    data.workers = 8
    return config
