"""A run in miniature: a small U-Net, random records, and the step distributed over some devices."""

import dataclasses
from typing import Any

import jax
import numpy as np

from ipixmatch_jax.devices.parallel import PARALLEL, Parallel
from ipixmatch_jax.engine.objective import Objective, Threshold
from ipixmatch_jax.engine.optimizer import make_optimizer
from ipixmatch_jax.engine.state import TrainState
from ipixmatch_jax.engine.step import TrainStep, make_train_step
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.methods import make_method
from ipixmatch_jax.models import create_model
from ipixmatch_jax.views import Views

CLASSES = 4
SIZE = 16


def random_batch(seed: int, batch: int = 8, size: int = SIZE) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)

    def records() -> dict[str, np.ndarray]:
        valid = np.ones((batch, size, size), bool)
        valid[: batch // 2, size - 3 :] = False  # padding below some of the images
        return {
            "image": rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8),
            "valid": valid,
            "key": rng.integers(0, 2**32, (batch, 2), dtype=np.uint32),
        }

    labeled = records()
    mask = labeled["image"][..., 0] // (256 // CLASSES)  # something that can be learned
    labeled["mask"] = np.where(labeled["valid"], mask, np.uint8(255))
    return {"labeled": labeled, "unlabeled": records(), "mix": records()}


@dataclasses.dataclass
class Run:
    parallel: Parallel
    step: Any
    state: TrainState
    device_step: TrainStep

    def take(self, *batches):
        metrics = None
        for batch in batches:
            self.state, metrics = self.step(self.state, self.parallel.put_batch(batch))
        return jax.device_get(self.state), jax.device_get(metrics)


def make_run(**options) -> Run:
    """A run by its options; those of one kind share their compiled programs."""
    full = {**_parts.__kwdefaults__, **options}
    key = repr(sorted(full.items())) + jax.config.jax_numpy_dtype_promotion
    if key not in MADE:
        MADE[key] = _parts(**options)
    layout, step, create, device_step = MADE[key]
    return Run(layout, step, create(), device_step)


MADE: dict[str, tuple] = {}


def _parts(
    *,
    devices: int = 1,
    parallel: str = "pmap",
    method: str = "fixmatch",
    method_options: dict | None = None,
    optimizer: str = "sgd",
    learning_rate: float = 0.1,
    norm: str = "batch",
    accumulate_steps: int = 1,
    clip_norm: float | None = None,
    **objective,
) -> tuple:
    """The distribution, the distributed step, a maker of the first state, and the plain step."""
    layout = PARALLEL[parallel](jax.devices()[:devices])
    model = create_model("unet", num_classes=CLASSES, width=4, depth=1, norm=norm, axis_name="data")
    options = {
        "name": optimizer,
        "learning_rate": learning_rate,
        "head_multiplier": 2.0,
        "weight_decay": 1e-3,
        "momentum": 0.9,
        "power": 0.9,
        "warmup_steps": 0,
        "clip_norm": clip_norm,
        "decay_norm_and_bias": False,
    }
    rule, schedule = make_optimizer(options, 20)
    defaults = {
        "threshold": Threshold(0.3),
        "relations": (WeightedRelation("class_map", "kl"),),
    }
    loss = Objective(**{**defaults, **objective})
    step = make_train_step(
        model,
        make_method(method, method_options or {}),
        Views(mean=model.input_mean, std=model.input_std),
        loss,
        rule,
        schedule,
        teacher_decay=0.9,
        accumulate_steps=accumulate_steps,
    )
    variables = jax.jit(lambda key: model.init(key, np.zeros((1, SIZE, SIZE, 3), "f"), False))(
        jax.random.key(0, impl="unsafe_rbg")
    )
    variables = jax.device_get(variables)

    def create():
        return layout.first_state(variables, rule, loss.balanced)

    return layout, layout.distribute_train(step), create, step


# Images reach the network as they are, except for CutMix.
PLAIN_VIEWS = Views(
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
    jitter_probability=0.0,
    gray_probability=0.0,
    blur_probability=0.0,
    cutmix_probability=1.0,
)
