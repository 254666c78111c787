"""The per-device evaluation step: images and masks to counts of pixels."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ipixmatch_jax.engine.inference import Inference, predict_logits
from ipixmatch_jax.engine.metrics import PixelCounts
from ipixmatch_jax.engine.objective import DATA_AXIS
from ipixmatch_jax.methods import Batch, Network
from ipixmatch_jax.views import Views


def make_eval_step(
    model: nn.Module, views: Views, num_classes: int, inference: Inference
) -> Callable[[Mapping[str, Any], Mapping[str, PixelCounts], Batch], Any]:
    """The pure step `(networks, counts, batch) -> counts` of one device, under an axis `data`.

    Args of the step:
        networks: name → `{'params', 'batch_stats'}`.
        counts: name → PixelCounts so far.
        batch: `image` uint8 [B, H, W, D] and `mask` uint8 [B, H, W] (255 is not counted).
    """

    def eval_step(networks, counts, batch):
        images, mask = views.weak(batch["image"]), batch["mask"].astype(jnp.int32)
        merged = {}
        for name, variables in networks.items():
            predicted = predict_logits(Network(model, **variables), images, inference).argmax(-1)
            new = PixelCounts.from_predictions(predicted, mask, num_classes)
            merged[name] = counts[name].merge(jax.lax.psum(new, DATA_AXIS))
        return merged

    return eval_step
