"""Oxford-IIIT Pet: cats and dogs on background, a small benchmark to begin with.

    python -m ipixmatch_jax.data.protocols make --name pet --root pets --num-classes 2 \
        --list trainval --set val=test --labeled 50 --stratify --to pets/splits/50
    ipixmatch --config pet:50 --config.data.root pets \
        --workdir runs/pets-50

The argument is a folder of lists in `splits/`, or `all`. `data.root` holds images and annotations
as published. Borders of the trimaps are ignored; `--config.data.num_classes=3`
makes them a class.
"""

from ml_collections import ConfigDict

from ipixmatch_jax.config import default_config


def get_config(arg: str = "50") -> ConfigDict:
    config = default_config()
    config.batch_size = config.unlabeled_batch_size = 8
    config.total_steps = 4000

    data = config.data
    data.name, data.root = "pet", "pets"
    data.labeled = "trainval" if arg == "all" else f"splits/{arg}/labeled.txt"
    data.unlabeled = "trainval" if arg == "all" else f"splits/{arg}/unlabeled.txt"
    data.val = "test"
    data.num_classes = 2
    data.crop_size = (321, 321)

    config.model.name, config.model.backbone = "deeplabv3plus", "efficientnet_lite0"
    config.model.pretrained = "imagenet"
    config.model.output_stride = 16
    config.method.confidence = 0.95
    config.optimizer.learning_rate = 1e-3
    config.optimizer.head_multiplier = 3.0
    return config
