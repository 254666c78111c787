"""Config of the photograph benchmarks: --config bench/photos_config.py:SET/LABELS

SET is `pets` (4 classes), `nuclei` (2), `ccp` (12) or `camvid` (11). LABELS is the number of
labeled images, which names a folder of `splits/` in the data root. Set `data.root` to the folder of
the set.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config
from ipixmatch_jax.errors import ConfigError

# Number of classes, and the size to which images are resized, with sides of the form 16k + 1.
SETS: dict[str, tuple[int, tuple[int, int]]] = {
    "pets": (4, (161, 161)),
    "nuclei": (2, (161, 161)),
    "ccp": (12, (193, 129)),
    "camvid": (11, (181, 241)),
}


def get_config(arg: str = "pets/26") -> ConfigDict:
    name, _, labels = arg.partition("/")
    if name not in SETS or not labels.isdigit():
        raise ConfigError(
            f"bench/photos_config.py:{arg}: expected SET/LABELS with SET of {', '.join(SETS)}, "
            "such as pets/26"
        )
    classes, size = SETS[name]
    config = default_config()
    config.batch_size = config.unlabeled_batch_size = 4
    config.eval_batch_size = 8
    config.pictures = 0

    data = config.data
    data.name = "folder"
    data.labeled = f"splits/{labels}/labeled.txt"
    data.unlabeled = f"splits/{labels}/unlabeled.txt"
    data.val = "val.txt"
    data.num_classes = classes
    data.image_size = size
    data.crop_size = (129, 129)

    config.model.name = "deeplabv3plus"
    config.model.backbone = "efficientnet_lite0"
    config.model.pretrained = "imagenet"
    config.model.output_stride = 16
    config.model.decoder_channels = 128
    config.model.separable = True
    config.method.confidence = 0.9
    config.relation.name = "none"
    config.teacher.decay = 0.99
    config.optimizer.learning_rate = 1e-3
    config.optimizer.head_multiplier = 3.0
    return config
