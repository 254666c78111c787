"""Weight layouts of the transformers: the names of our modules in other sources.

Hugging Face transformers 5 renames modules when it loads and saves. Layouts ending in `_files` have
the names in its published files; the others have the names of its models in memory
(`state_dict()`).
"""

from collections.abc import Mapping

import numpy as np

from ipixmatch_jax.models.torch_bridge import LAYOUTS, TRANSLATIONS, Layout

_Names = tuple[tuple[str, str | tuple[str, ...]], ...]


def _inside(ours: str, theirs: str, names: dict[str, str | tuple[str, ...]]) -> _Names:
    """Prepends the module `ours`, a regular expression, and `theirs` to the names."""

    def below(name: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return theirs + name if isinstance(name, str) else tuple(theirs + part for part in name)

    return tuple((f"{ours}/{mine}", below(name)) for mine, name in names.items())


_VIT_BLOCK = r"encoder/block_0*(\d+)"
_TRANSFORMERS_VIT = (
    (r"encoder/(cls_token|mask_token|register_tokens)", r"embeddings.\1"),
    (r"encoder/pos_embed", r"embeddings.position_embeddings"),
    (r"encoder/patch_embed", r"embeddings.patch_embeddings.projection"),
    (r"encoder/norm", r"layernorm"),
    *_inside(
        _VIT_BLOCK,
        r"encoder.layer.\1.",
        {
            "norm1": "norm1",
            "norm2": "norm2",
            "ls1/gamma": "layer_scale1.lambda1",
            "ls2/gamma": "layer_scale2.lambda1",
            "mlp/fc1": "mlp.fc1",
            "mlp/fc2": "mlp.fc2",
        },
    ),
)


def _dinov2(prefix: str) -> _Names:
    """facebookresearch/dinov2."""
    block = rf"{prefix}blocks.\1"
    return (
        (r"encoder", prefix.rstrip(".")),
        (r"encoder/patch_embed", f"{prefix}patch_embed.proj"),
        (r"encoder/norm", f"{prefix}norm"),
        (rf"{_VIT_BLOCK}/(norm1|norm2|ls1|ls2)", rf"{block}.\2"),
        (rf"{_VIT_BLOCK}/attn/(qkv|proj)", rf"{block}.attn.\2"),
        (rf"{_VIT_BLOCK}/mlp/(fc1|fc2|w12|w3)", rf"{block}.mlp.\2"),
    )


def _dpt_head() -> _Names:
    """UniMatch V2's names of the head; in `scratch` it counts levels from 1, elsewhere from 0."""
    names = [
        (r"head/project_(\d)", r"head.projects.\1"),
        (r"head/resize_(\d)", r"head.resize_layers.\1"),
        (r"head/output", r"head.scratch.output_conv.0"),
        (r"head/classifier", r"head.scratch.output_conv.2"),
    ]
    for i in range(4):
        fusion = f"head.scratch.refinenet{i + 1}."
        names += [
            (f"head/reduce_{i}", f"head.scratch.layer{i + 1}_rn"),
            (f"head/fuse_{i}/out", f"{fusion}out_conv"),
            (rf"head/fuse_{i}/skip/(conv\d)", rf"{fusion}resConfUnit1.\1"),
            (rf"head/fuse_{i}/residual/(conv\d)", rf"{fusion}resConfUnit2.\1"),
        ]
    return tuple(names)


LAYOUTS.register("dinov2")(Layout(r"blocks\.0\.attn\.qkv\.weight", _dinov2("")))
LAYOUTS.register("unimatch_v2")(
    Layout(r"backbone\.blocks\.0\.attn\.qkv\.weight", (*_dinov2("backbone."), *_dpt_head()))
)


@TRANSLATIONS.register("timm_dinov2")
def translated_from_timm(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """Weights of timm's `vit_*_dinov2*` in the names of facebookresearch, None for others.

    timm keeps no mask token, which only DINOv2's own training uses: zeros. Where it has registers,
    it has added the position of the class token to that token, whose position is zero then.
    """
    needed = {"blocks.0.attn.qkv.weight", "blocks.0.ls1.gamma", "pos_embed", "cls_token"}
    if not needed <= state.keys() or "mask_token" in state:
        return None
    renamed = dict(state)
    cls = np.asarray(state["cls_token"])
    renamed["mask_token"] = np.zeros_like(cls[0])
    if "reg_token" in state:
        renamed["register_tokens"] = renamed.pop("reg_token")
        renamed["pos_embed"] = np.concatenate([np.zeros_like(cls), state["pos_embed"]], axis=1)
    width = len(state.get("blocks.0.mlp.fc1.bias", ()))
    if width == 2 * np.shape(state["blocks.0.mlp.fc2.weight"])[1]:  # SwiGLU: both parts in one
        for name in [name for name in renamed if ".mlp." in name]:
            theirs = name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")
            renamed[theirs] = renamed.pop(name)
    return renamed


LAYOUTS.register("transformers_dinov2")(
    Layout(
        r"encoder\.layer\.0\.attention\.q_proj\.weight",
        _TRANSFORMERS_VIT
        + _inside(
            _VIT_BLOCK,
            r"encoder.layer.\1.",
            {
                "attn/qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
                "attn/proj": "attention.o_proj",
                "mlp/w12": ("mlp.gate_proj", "mlp.up_proj"),
                "mlp/w3": "mlp.down_proj",
            },
        ),
    )
)
LAYOUTS.register("transformers_dinov2_files")(
    Layout(
        r"encoder\.layer\.0\.attention\.attention\.query\.weight",
        _TRANSFORMERS_VIT
        + _inside(
            _VIT_BLOCK,
            r"encoder.layer.\1.attention.",
            {
                "attn/qkv": ("attention.query", "attention.key", "attention.value"),
                "attn/proj": "output.dense",
            },
        )
        + _inside(
            _VIT_BLOCK,
            r"encoder.layer.\1.mlp.",
            {"mlp/w12": "weights_in", "mlp/w3": "weights_out"},
        ),
    )
)


def _nvlabs(stage: int) -> _Names:
    """NVlabs/SegFormer, the encoder's ImageNet weights."""
    ours = f"encoder/stage_{stage}"
    same = ("norm1", "norm2", "attn/q", "attn/kv", "attn/proj", "mlp/fc1", "mlp/fc2")
    others = {
        "attn/reduce": "attn.sr",
        "attn/reduce_norm": "attn.norm",
        "mlp/conv": "mlp.dwconv.dwconv",
    }
    return (
        (f"{ours}/patch", f"patch_embed{stage + 1}.proj"),
        (f"{ours}/patch_norm", f"patch_embed{stage + 1}.norm"),
        (f"{ours}/norm", f"norm{stage + 1}"),
        *_inside(
            rf"{ours}/block_0*(\d+)",
            rf"block{stage + 1}.\1.",
            {**{name: name.replace("/", ".") for name in same}, **others},
        ),
    )


def _transformers_mit(prefix: str, stage: int) -> _Names:
    ours, theirs = f"encoder/stage_{stage}", f"{prefix}stages.{stage}"
    return (
        (f"{ours}/patch", f"{theirs}.patch_embeddings.proj"),
        (f"{ours}/patch_norm", f"{theirs}.patch_embeddings.layer_norm"),
        (f"{ours}/norm", f"{theirs}.layer_norm"),
        *_inside(
            rf"{ours}/block_0*(\d+)",
            rf"{theirs}.blocks.\1.",
            {
                "norm1": "layernorm_before",
                "norm2": "layernorm_after",
                "attn/q": "attention.q_proj",
                "attn/kv": ("attention.k_proj", "attention.v_proj"),
                "attn/proj": "attention.o_proj",
                "attn/reduce": "attention.sequence_reduction.sequence_reduction",
                "attn/reduce_norm": "attention.sequence_reduction.layer_norm",
                "mlp/fc1": "mlp.fc1",
                "mlp/fc2": "mlp.fc2",
                "mlp/conv": "mlp.dwconv.dwconv",
            },
        ),
    )


def _transformers_mit_files(prefix: str, stage: int) -> _Names:
    ours, theirs = f"encoder/stage_{stage}", f"{prefix}encoder"
    return (
        (f"{ours}/patch", f"{theirs}.patch_embeddings.{stage}.proj"),
        (f"{ours}/patch_norm", f"{theirs}.patch_embeddings.{stage}.layer_norm"),
        (f"{ours}/norm", f"{theirs}.layer_norm.{stage}"),
        *_inside(
            rf"{ours}/block_0*(\d+)",
            rf"{theirs}.block.{stage}.\1.",
            {
                "norm1": "layer_norm_1",
                "norm2": "layer_norm_2",
                "attn/q": "attention.self.query",
                "attn/kv": ("attention.self.key", "attention.self.value"),
                "attn/proj": "attention.output.dense",
                "attn/reduce": "attention.self.sr",
                "attn/reduce_norm": "attention.self.layer_norm",
                "mlp/fc1": "mlp.dense1",
                "mlp/fc2": "mlp.dense2",
                "mlp/conv": "mlp.dwconv.dwconv",
            },
        ),
    )


def _segformer_head(projections: str) -> _Names:
    return (
        (r"head/project_(\d)", rf"decode_head.{projections}.\1.proj"),
        (r"head/fuse/conv", r"decode_head.linear_fuse"),
        (r"head/fuse/norm", r"decode_head.batch_norm"),
        (r"head/classifier", r"decode_head.classifier"),
    )


LAYOUTS.register("mit")(
    Layout(
        r"block1\.0\.attn\.kv\.weight",
        sum(map(_nvlabs, range(4)), ()),
        unused=r"head\.(weight|bias)",
    )
)
for _source, _sign, _stage, _projections in (
    ("", r"stages\.0\.blocks\.0\.attention\.q_proj", _transformers_mit, "linear_projections"),
    (
        "_files",
        r"encoder\.block\.0\.0\.attention\.self\.query",
        _transformers_mit_files,
        "linear_c",
    ),
):
    # The encoder by itself, and the encoder with a head, which may be an ImageNet classifier.
    LAYOUTS.register(f"transformers_mit{_source}")(
        Layout(rf"{_sign}\.weight", sum((_stage("", i) for i in range(4)), ()))
    )
    LAYOUTS.register(f"transformers_segformer{_source}")(
        Layout(
            rf"segformer\.{_sign}\.weight",
            (
                *sum((_stage("segformer.", i) for i in range(4)), ()),
                *_segformer_head(_projections),
            ),
            unused=r"classifier\.(weight|bias)",
        )
    )
