"""Your own images: a folder of images, a folder of masks, nothing else to configure.

    ipixmatch --config folder:photos --mode inspect
    ipixmatch --config folder:photos --workdir runs/photos

The argument is the folder:

    photos/images/ID.jpg   photos/masks/ID.png     images with a mask are labeled, others are not
    photos/unlabeled/…                             more images without masks (optional)
    photos/classes.txt                             class names, one per line (optional)

or any other layout or export that data/importers knows: train and val folders, masks next to their
images, COCO, LabelMe, YOLO, VOC, CVAT and others; --mode inspect says what was recognized. Without
validation images about 20 % of the labeled images are held out, each by a hash of its id.
Docs: docs/data.md.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import command_line_keys, default_config
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.errors import ConfigError


def get_config(arg: str = "") -> ConfigDict:
    if not arg:
        raise ConfigError("--config folder needs a folder: --config folder:photos")
    config = default_config()
    config.total_steps = 5000
    config.eval_batch_size = 8
    config.data.crop_size = (321, 321)
    keys = command_line_keys()
    given = {k.removeprefix("data."): v for k, v in keys.items() if k.startswith("data.")}
    found = describe_folder(given.get("root") or arg, given)
    config.data.folder.update(found.pop("folder"))
    config.data.update(found)

    config.model.name = "deeplabv3plus"
    config.model.backbone = "efficientnet_lite0"
    config.model.pretrained = "imagenet"
    config.model.output_stride = 16
    config.method.confidence = 0.95
    config.method.ramp_start = 200
    config.method.ramp_steps = 500
    config.optimizer.learning_rate = 1e-3
    config.optimizer.head_multiplier = 3.0
    return config
