"""Weight layouts of DINOv3's vision transformers: the names of our modules in PyTorch sources."""

from collections.abc import Mapping

import numpy as np

from ipixmatch_jax.models.torch_bridge import LAYOUTS, TRANSLATIONS, Layout

_PARTS = {
    **{"norm1": "norm1", "norm2": "norm2"},
    **{"mlp/fc1": "mlp.up_proj", "mlp/fc2": "mlp.down_proj"},
    "attn/q": "attention.q_proj",
    "attn/k": "attention.k_proj",
    "attn/v": "attention.v_proj",
    "attn/proj": "attention.o_proj",
    "ls1/gamma": "layer_scale1.lambda1",
    "ls2/gamma": "layer_scale2.lambda1",
    "mlp/gate": "mlp.gate_proj",
    "mlp/up": "mlp.up_proj",
    "mlp/down": "mlp.down_proj",
}


def _transformers(prefix: str) -> Layout:
    """Hugging Face transformers; `prefix` is that of the blocks."""
    block = r"encoder/block_0*(\d+)"
    return Layout(
        rf"{prefix}layer.0.attention.q_proj.weight".replace(".", r"\."),
        (
            (r"encoder/(cls_token|mask_token|register_tokens)", r"embeddings.\1"),
            (r"encoder/patch_embed", "embeddings.patch_embeddings"),
            (r"encoder/norm", "norm"),
            *(
                (f"{block}/{ours}", rf"{prefix}layer.\1.{theirs}")
                for ours, theirs in _PARTS.items()
            ),
        ),
        unused=r"rope_embeddings\..+",
    )


LAYOUTS.register("transformers_dinov3")(_transformers("model."))
LAYOUTS.register("transformers_dinov3_files")(_transformers(""))


@TRANSLATIONS.register("dinov3")
def translated(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """Weights of facebookresearch/dinov3 in the names of transformers' files, None for others.

    There queries, keys and values are one matrix, and a mask removes the bias of the keys. The
    periods of the rotary positions are left out: they are a formula, which the file holds rounded.
    """
    if "storage_tokens" not in state or "blocks.0.attn.qkv.weight" not in state:
        return None
    names = {
        "cls_token": "embeddings.cls_token",
        "mask_token": "embeddings.mask_token",
        "storage_tokens": "embeddings.register_tokens",
    }
    renamed = {}
    for name, value in state.items():
        if name == "rope_embed.periods" or name.endswith(".bias_mask"):
            continue
        if name == "mask_token":
            value = np.reshape(value, (1, 1, -1))
        name = names.get(name, name).replace("patch_embed.proj", "embeddings.patch_embeddings")
        head, _, rest = name.partition(".")
        if head == "blocks":
            renamed |= _of_block(rest, value)
        elif head != "local_cls_norm":  # used in DINOv3's own training only
            renamed[name] = value
    return renamed


@TRANSLATIONS.register("timm_dinov3")
def translated_from_timm(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """Weights of timm's `vit_*_patch16_dinov3*` in the names of transformers, None for others.

    timm keeps no mask token, which only DINOv3's own training uses: zeros. Models without `qkvb` in
    their names leave the biases of queries and values out, because they are close to zero.
    """
    if "reg_token" not in state or "blocks.0.gamma_1" not in state:
        return None
    names = {"cls_token": "embeddings.cls_token", "reg_token": "embeddings.register_tokens"}
    renamed = {"embeddings.mask_token": np.zeros_like(state["cls_token"])}
    for name, value in state.items():
        name = names.get(name, name).replace("patch_embed.proj", "embeddings.patch_embeddings")
        head, _, rest = name.partition(".")
        if head != "blocks":
            renamed[name] = value
            continue
        index, _, part = rest.partition(".")
        if part in ("attn.q_bias", "attn.v_bias"):
            renamed[f"layer.{index}.attention.{part[5]}_proj.bias"] = value
            continue
        renamed |= _of_block(rest, value)
        if part == "attn.qkv.weight" and f"{head}.{index}.attn.q_bias" not in state:
            for which in "qv":
                bias = np.zeros(value.shape[1], value.dtype)
                renamed[f"layer.{index}.attention.{which}_proj.bias"] = bias
    return renamed


def _of_block(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    index, _, part = name.partition(".")
    block = f"layer.{index}."
    if part.startswith("attn.qkv."):
        leaf = part.rpartition(".")[2]
        thirds = zip("qkv", np.split(np.asarray(value), 3), strict=True)
        return {
            f"{block}attention.{which}_proj.{leaf}": third
            for which, third in thirds
            if (which, leaf) != ("k", "bias")
        }
    for ours, theirs in (
        ("attn.proj", "attention.o_proj"),
        ("ls1.gamma", "layer_scale1.lambda1"),
        ("ls2.gamma", "layer_scale2.lambda1"),
        ("gamma_1", "layer_scale1.lambda1"),
        ("gamma_2", "layer_scale2.lambda1"),
        ("mlp.fc1_g", "mlp.gate_proj"),
        ("mlp.fc1_x", "mlp.up_proj"),
        ("mlp.fc1", "mlp.up_proj"),
        ("mlp.fc2", "mlp.down_proj"),
        ("mlp.w1", "mlp.gate_proj"),
        ("mlp.w2", "mlp.up_proj"),
        ("mlp.w3", "mlp.down_proj"),
    ):
        part = part.replace(ours, theirs)
    return {block + part: value}
