"""The per-device evaluation step: images and masks to counts of pixels."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ipixmatch_jax.engine.frames import framed_logits
from ipixmatch_jax.engine.inference import Inference, predict_logits
from ipixmatch_jax.engine.metrics import PixelCounts
from ipixmatch_jax.engine.state import DATA_AXIS
from ipixmatch_jax.methods import Batch, Network
from ipixmatch_jax.views import Views


def make_eval_step(
    model: nn.Module,
    views: Views,
    num_classes: int,
    inference: Inference,
    confidence: float,
    show: int = 0,
) -> Callable[[Mapping[str, Any], Mapping[str, PixelCounts], Batch], Any]:
    """The pure step `(networks, counts, batch) -> (counts, shown)` of one device, on axis `data`.

    Args:
        confidence: the pseudo-label confidence threshold.
        show: number of predictions per device that are returned.

    Args of the step:
        networks: name → `{'params', 'batch_stats'}`.
        counts: name → PixelCounts so far.
        batch: `image` uint8 [B, H, W, D], `mask` uint8 [B, H, W] (255 is not counted) and `index`
            int32 [B]. For images in a frame, also `true` int32 [B, 3]: `boundaries.true_sizes`.

    Returns of the step:
        counts: the counts including this batch.
        shown: name → uint8 [devices, min(show, B), H, W], predictions of each device's first
            images, and `index` int32 [devices, min(show, B)] of these images.
    """

    def eval_step(networks, counts, batch):
        images, mask = views.weak(batch["image"]), batch["mask"].astype(jnp.int32)
        true = batch.get("true")
        merged, shown = {}, {"index": batch["index"][:show]}
        for name, variables in networks.items():
            network = Network(model, **variables)
            if true is None:
                logits = predict_logits(network, images, inference)
            else:
                logits = framed_logits(network, images, inference, true[:, :2])
            new = PixelCounts.from_logits(logits, mask, num_classes, confidence, true)
            merged[name] = counts[name].merge(jax.lax.psum(new, DATA_AXIS))
            shown[name] = logits[:show].argmax(-1).astype(jnp.uint8)
        return merged, jax.lax.all_gather(shown, DATA_AXIS) if show else {}

    return eval_step
