"""Scenes of odd sizes and the evaluator of a toy model that NumPy can reproduce."""

import jax
import numpy as np

from ipixmatch_jax.config import default_config
from ipixmatch_jax.data import Dataset
from ipixmatch_jax.devices.parallel import PARALLEL
from ipixmatch_jax.evaluator import Evaluator
from tests.references.eval_reference import (
    CLASSES,
    Toy,
    toy_variables,
)

SIZES = ((13, 19), (9, 25), (13, 19))


NAMES = tuple("abcd")


# The teacher never predicts d, which no mask holds either.
NETWORKS = {"student": toy_variables(0), "teacher": toy_variables(1, absent=True)}


class Scenes:
    """Random images with masks of classes 0, 1, 2 and 255."""

    def __init__(self, sizes=SIZES):
        rng = np.random.default_rng(0)
        self.ids = [f"s{i}" for i in range(len(sizes))]
        self.images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
        self.masks = []
        for height, width in sizes:
            blocks = rng.choice([0, 1, 2, 255], (-(-height // 5), -(-width // 5)))
            mask = np.kron(blocks, np.ones((5, 5), int))[:height, :width]
            self.masks.append(mask.astype(np.uint8))

    def __len__(self):
        return len(self.images)

    def size(self, index):
        return self.images[index].shape[:2]

    def __getitem__(self, index):
        return {"id": self.ids[index], "image": self.images[index], "mask": self.masks[index]}


def config_with(**changes):
    config = default_config()
    config.data.num_classes, config.data.class_names = CLASSES, NAMES
    config.eval.update(changes)
    return config


def evaluator_of(config, scenes, model=None, devices=1, parallel="pmap"):
    dataset = Dataset(scenes, scenes, scenes, NAMES, np.zeros((CLASSES, 3), np.uint8))
    layout = PARALLEL[parallel](jax.devices()[:devices])
    return Evaluator(config, dataset, model or Toy(), layout), layout
