"""The views of a batch as PyTorch tensors, for the methods of `torch_methods`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.jit, static_argnums=(1, 2))
def views_of(batch, views, widths):
    """Every view of a batch, by its name in the PyTorch versions."""
    labeled, unlabeled, mix = (batch[name] for name in ("labeled", "unlabeled", "mix"))
    keys, sides = unlabeled["key"], unlabeled["image"].shape[1:3]
    images = {
        "labeled": views.weak(labeled["image"]),
        "weak": views.weak(unlabeled["image"]),
        "weak_mix": views.weak(mix["image"]),
    }
    for j in (0, 1):
        images[f"strong_{j}"] = views.strong(unlabeled["image"], keys, view=j)
        images[f"strong_mix_{j}"] = views.strong(mix["image"], mix["key"], view=j)
    both = jnp.concatenate([labeled["key"], keys])
    others = {f"box_{j}": views.box(keys, *sides, view=j) for j in (0, 1)} | {
        "kept_of_both": [views.channels(both, c, 0.5, view=i) for i, c in enumerate(widths)],
        "kept_of_one": [views.channels(keys, c, 0.5) for c in widths],
        "whole": views.channels(keys, 1, 0.5, view=1) > 0,
    }
    return images, others


def tensors(batch, views, widths, dtype):
    """The views of a batch as PyTorch tensors, images [B,3,H,W] of a NumPy dtype."""
    import torch

    seen = {name: {k: records[k] for k in ("image", "key")} for name, records in batch.items()}
    images, others = jax.device_get(views_of(seen, views, tuple(widths)))
    v = {k: torch.tensor(np.asarray(x, dtype)).permute(0, 3, 1, 2) for k, x in images.items()}
    v |= jax.tree.map(torch.tensor, others)
    v |= {"valid": torch.tensor(batch["unlabeled"]["valid"])}
    v |= {"valid_mix": torch.tensor(batch["mix"]["valid"])}
    v["mask"] = torch.tensor(batch["labeled"]["mask"].astype(np.int64))
    return v
