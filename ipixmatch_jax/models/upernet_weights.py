"""Names of UPerNet's head in Hugging Face transformers, for the layouts of its backbones."""

# A head for an additional loss in training, which networks for prediction leave out.
UPERNET_AUXILIARY = r"auxiliary_head\..+"


def _norm_follows(ours: str, theirs: str) -> tuple[tuple[str, str], ...]:
    return (f"{ours}/conv", f"{theirs}.conv"), (f"{ours}/norm", f"{theirs}.batch_norm")


UPERNET_HEAD = (
    *_norm_follows(r"head/pool_(\d)", r"decode_head.psp_modules.\1.1"),
    *_norm_follows(r"head/bottleneck", "decode_head.bottleneck"),
    *_norm_follows(r"head/lateral_(\d)", r"decode_head.lateral_convs.\1"),
    *_norm_follows(r"head/smooth_(\d)", r"decode_head.fpn_convs.\1"),
    *_norm_follows(r"head/fuse", "decode_head.fpn_bottleneck"),
    (r"head/classifier", "decode_head.classifier"),
)
