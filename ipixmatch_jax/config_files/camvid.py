"""CamVid, 11 classes, street scenes of 480 x 360 pixels, with few labels.

    ipixmatch --config camvid:23 \
        --config.data.root camvid --workdir runs/camvid-23

The argument is the number of labeled images, 23, 46, 92 or 184 of 367 (split lists under
`splits/N/` in the data root), or `all`. Images and masks are resized to 181 x 241, about half:
with sides of the form 16k + 1 the network's stride-16 grid meets the image's corners.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config
from ipixmatch_jax.errors import ConfigError

CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign_symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


def get_config(arg: str = "23") -> ConfigDict:
    if arg not in ("23", "46", "92", "184", "all"):
        raise ConfigError(f"--config camvid:{arg}: expected 23, 46, 92, 184 or all labeled images")
    config = default_config()
    config.total_steps = 2000
    config.batch_size = 6
    config.unlabeled_batch_size = 6
    config.eval_batch_size = 8
    config.eval_every = 250
    config.checkpoint_every = 250

    data = config.data
    data.name = "folder"
    data.root = "camvid"
    data.labeled = "train.txt" if arg == "all" else f"splits/{arg}/labeled.txt"
    data.unlabeled = "train.txt" if arg == "all" else f"splits/{arg}/unlabeled.txt"
    data.val = "val.txt"
    data.num_classes = len(CLASSES)
    data.class_names = tuple(CLASSES)
    data.palette = tuple(CLASSES.values())
    data.image_size = (181, 241)
    data.crop_size = (145, 145)

    config.model.name = "deeplabv3plus"
    config.model.backbone = "efficientnet_lite0"
    config.model.pretrained = "imagenet"
    config.model.output_stride = 16
    config.model.decoder_channels = 128
    config.model.separable = True

    config.method.confidence = 0.9
    config.method.ramp_start = 100
    config.method.ramp_steps = 200
    config.relation.weight = 0.05
    config.relation.temperature = 4.0
    config.teacher.decay = 0.99
    config.optimizer.learning_rate = 1e-3
    config.optimizer.head_multiplier = 3.0
    return config
