"""Weight layouts of ConvNeXt: the names of our modules in PyTorch sources.

Networks for classification, and DINOv3's, have one norm after the last stage, so that the norms of
the other stages keep their first values.
"""

from collections.abc import Mapping

from ipixmatch_jax.models.torch_bridge import LAYOUTS, Layout
from ipixmatch_jax.models.upernet_weights import UPERNET_AUXILIARY, UPERNET_HEAD

_Names = tuple[tuple[str, str], ...]
_LACKS = r"encoder/norm_[012]"


def _names(stem: tuple[str, str], down: str, block: str, parts: Mapping[str, str]) -> _Names:
    """Our path, a regular expression, and their name of every module except the last norm.

    Args:
        stem: their convolution and norm of the stem.
        down: their name of what halves the map, with `\\1` for the stage; then .0 and .1 follow.
        block: their name of a block, with `\\1` for the stage and `\\2` for the block.
        parts: our name of a part of a block to theirs.
    """
    ours = r"encoder/stage_(\d)/block_0*(\d+)"
    return (
        (r"encoder/stem", stem[0]),
        (r"encoder/stem_norm", stem[1]),
        (r"encoder/stage_(\d)/down_norm", f"{down}.0"),
        (r"encoder/stage_(\d)/down", f"{down}.1"),
        *((f"{ours}/{mine}", f"{block}.{theirs}") for mine, theirs in parts.items()),
    )


def _transformers(prefix: str) -> _Names:
    stage = rf"{prefix}encoder.stages.\1"
    return _names(
        (f"{prefix}embeddings.patch_embeddings", f"{prefix}embeddings.layernorm"),
        f"{stage}.downsampling_layer",
        rf"{stage}.layers.\2",
        {
            "depthwise": "dwconv",
            "norm": "layernorm",
            "expand": "pwconv1",
            "project": "pwconv2",
            "layer_scale": "layer_scale_parameter",
        },
    )


def _transformers_dinov3(prefix: str) -> _Names:
    stage = rf"{prefix}stages.\1"
    stem = f"{prefix}stages.0.downsample_layers"
    parts = {
        "depthwise": "depthwise_conv",
        "norm": "layer_norm",
        "expand": "pointwise_conv1",
        "project": "pointwise_conv2",
        "layer_scale": "gamma",
    }
    return _names(
        (f"{stem}.0", f"{stem}.1"), f"{stage}.downsample_layers", rf"{stage}.layers.\2", parts
    )


_ORIGINAL = {
    "depthwise": "dwconv",
    "norm": "norm",
    "expand": "pwconv1",
    "project": "pwconv2",
    "layer_scale": "gamma",
}
_TIMM = {
    "depthwise": "conv_dw",
    "norm": "norm",
    "expand": "mlp.fc1",
    "project": "mlp.fc2",
    "layer_scale": "gamma",
}
# facebookresearch/ConvNeXt and /dinov3; the latter has the last norm under two names.
LAYOUTS.register("convnext")(
    Layout(
        r"stages\.0\.0\.dwconv\.weight",
        (
            *_names(
                ("downsample_layers.0.0", "downsample_layers.0.1"),
                r"downsample_layers.\1",
                r"stages.\1.\2",
                _ORIGINAL,
            ),
            (r"encoder/norm_3", "norm"),
        ),
        unused=r"norms\.3\.\w+|head\.(weight|bias)",
        lacks=_LACKS,
    )
)
LAYOUTS.register("timm_convnext")(
    Layout(
        r"stages\.0\.blocks\.0\.conv_dw\.weight",
        (
            *_names(("stem.0", "stem.1"), r"stages.\1.downsample", r"stages.\1.blocks.\2", _TIMM),
            (r"encoder/norm_3", "head.norm"),
        ),
        unused=r"head\.fc\.(weight|bias)",
        lacks=_LACKS,
    )
)
for _name, _prefix in (
    ("transformers_convnext", ""),
    ("transformers_convnext_classifier", "convnext."),
):
    LAYOUTS.register(_name)(
        Layout(
            rf"{_prefix}encoder.stages.0.layers.0.dwconv.weight".replace(".", r"\."),
            (*_transformers(_prefix), (r"encoder/norm_3", f"{_prefix}layernorm")),
            unused=r"classifier\.(weight|bias)",
            lacks=_LACKS,
        )
    )
for _name, _prefix in (
    ("transformers_dinov3_convnext", "model."),
    ("transformers_dinov3_convnext_files", ""),
):
    LAYOUTS.register(_name)(
        Layout(
            rf"{_prefix}stages.0.layers.0.depthwise_conv.weight".replace(".", r"\."),
            (*_transformers_dinov3(_prefix), (r"encoder/norm_3", "layer_norm")),
            lacks=_LACKS,
        )
    )
LAYOUTS.register("transformers_upernet_convnext")(
    Layout(
        r"backbone\.encoder\.stages\.0\.layers\.0\.dwconv\.weight",
        (
            *_transformers("backbone."),
            *(
                (f"encoder/norm_{i}", f"backbone.hidden_states_norms.stage{i + 1}")
                for i in range(4)
            ),
            *UPERNET_HEAD,
        ),
        unused=UPERNET_AUXILIARY,
    )
)
