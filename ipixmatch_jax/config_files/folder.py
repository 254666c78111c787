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

Network, sizes, batches, steps and evaluations are planned from the photos and the device;
--mode inspect says what and why. Keys of the command line win, and the others follow from them.
Docs: docs/data.md, docs/plan.md.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import command_line_keys, default_config
from ipixmatch_jax.config.defaults import set_value
from ipixmatch_jax.config.plan import plan
from ipixmatch_jax.config.plan_network import WANTED
from ipixmatch_jax.config.planned import set_plan
from ipixmatch_jax.data.datasets.folder_config import describe_with_items
from ipixmatch_jax.data.photo_facts import photo_facts
from ipixmatch_jax.devices.machine import everywhere, this_machine
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.weights.pretrained import are_here


def get_config(arg: str = "") -> ConfigDict:
    if not arg:
        raise ConfigError("--config folder needs a folder: --config folder:photos")
    config = default_config()
    keys = command_line_keys()
    given = {k.removeprefix("data."): v for k, v in keys.items() if k.startswith("data.")}
    found, items = describe_with_items(given.get("root") or arg, given)
    config.data.folder.update(found.pop("folder"))
    config.data.update(found)
    config.method.confidence = 0.95

    described = config.data.copy_and_resolve_references()
    for name, value in keys.items():
        if name.startswith("data."):
            set_value(described, name.removeprefix("data."), value)
    at_hand = [backbone for word, backbone in WANTED if everywhere(are_here(word, backbone))]
    choices = plan(photo_facts(items, described), this_machine(), keys, at_hand)
    set_plan(config, choices)
    return config
