"""The 19 classes of the Cityscapes benchmark. Cordts et al., CVPR 2016."""

import numpy as np

from ipixmatch_jax.data.records import IGNORE

# Name, label id of the download, color; in the order of the train ids.
_CLASSES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
CLASSES = tuple(name for name, _, _ in _CLASSES)
PALETTE = tuple(color for _, _, color in _CLASSES)
LABEL_IDS = tuple(label_id for _, label_id, _ in _CLASSES)
# 34 label ids; those outside the benchmark are ignored; 34 and above are faults.
_KNOWN_LABELS = 34


def train_id_lookup() -> tuple[int, ...]:
    """The train id of each label id; 254, which check_mask rejects, for unknown labels."""
    table = np.full(256, IGNORE - 1)
    table[:_KNOWN_LABELS] = IGNORE
    table[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
    # -1, the license plate, is 255 in eight bits.
    table[255] = IGNORE
    return tuple(table.tolist())
