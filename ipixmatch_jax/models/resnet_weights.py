"""Weight layouts of ResNet, DeepLabV3+ and UPerNet: the names of our modules in PyTorch sources."""

from ipixmatch_jax.models.torch_bridge import LAYOUTS, Layout
from ipixmatch_jax.models.upernet_weights import UPERNET_AUXILIARY, UPERNET_HEAD

_Names = tuple[tuple[str, str], ...]


def _encoder(prefix: str) -> _Names:
    """torchvision's names; timm's and the deep-stem ResNets' differ only in the stem."""
    block = rf"{prefix}layer\1.\2"
    stems = (("stem", "conv1", "bn1"),) + tuple(
        (f"stem_{i}", f"conv1.{3 * i}", "bn1" if i == 2 else f"conv1.{3 * i + 1}") for i in range(3)
    )
    return (
        *((f"encoder/{ours}/conv", prefix + conv) for ours, conv, _ in stems),
        *((f"encoder/{ours}/norm", prefix + norm) for ours, _, norm in stems),
        (r"encoder/layer(\d)_(\d+)/conv(\d)/conv", rf"{block}.conv\3"),
        (r"encoder/layer(\d)_(\d+)/conv(\d)/norm", rf"{block}.bn\3"),
        (r"encoder/layer(\d)_(\d+)/shortcut/conv", rf"{block}.downsample.0"),
        (r"encoder/layer(\d)_(\d+)/shortcut/norm", rf"{block}.downsample.1"),
    )


def _head() -> _Names:
    """UniMatch V1's names of the head; a norm follows its convolution in a Sequential."""
    places = {
        "aspp_point": ("head.b0", 0),
        **{f"aspp_{i}/dense": (f"head.b{i + 1}", 0) for i in range(3)},
        "aspp_pool": ("head.b4.gap", 1),
        "aspp_project": ("head.project", 0),
        "low": ("reduce", 0),
        "fuse_0/dense": ("fuse", 0),
        "fuse_1/dense": ("fuse", 3),
    }
    names = [("head/classifier", "classifier")]
    for ours, (theirs, at) in places.items():
        names += [
            (f"head/{ours}/conv", f"{theirs}.{at}"),
            (f"head/{ours}/norm", f"{theirs}.{at + 1}"),
        ]
    return tuple(names)


def _transformers(prefix: str) -> _Names:
    """Hugging Face's names, which count stages and the layers of a block from 0."""
    names = []
    for part, theirs in (("conv", "convolution"), ("norm", "normalization")):
        names.append((f"encoder/stem/{part}", f"{prefix}embedder.embedder.{theirs}"))
        for stage in range(4):
            ours = rf"encoder/layer{stage + 1}_(\d+)"
            block = rf"{prefix}encoder.stages.{stage}.layers.\1"
            names.append((f"{ours}/shortcut/{part}", f"{block}.shortcut.{theirs}"))
            for i in range(3):
                names.append((f"{ours}/conv{i + 1}/{part}", f"{block}.layer.{i}.{theirs}"))
    return tuple(names)


# torchvision and timm, and the backbone files of the deep-stem ResNets.
LAYOUTS.register("resnet")(
    Layout(r"layer1\.0\.conv1\.weight", _encoder(""), unused=r"fc\.(weight|bias)")
)
# Whole checkpoints of UniMatch V1, and of CorrMatch, whose extra branch is left out.
LAYOUTS.register("unimatch_v1")(
    Layout(
        r"backbone\.layer1\.0\.conv1\.weight",
        (*_encoder("backbone."), *_head()),
        unused=r"(corr|proj)\..+",
    )
)
for _name, _prefix in (("transformers_resnet", ""), ("transformers_resnet_classifier", "resnet.")):
    LAYOUTS.register(_name)(
        Layout(
            rf"{_prefix}embedder\.embedder\.convolution\.weight".replace("resnet.", r"resnet\."),
            _transformers(_prefix),
            unused=r"classifier\.1\.(weight|bias)",
        )
    )
LAYOUTS.register("transformers_upernet_resnet")(
    Layout(
        r"backbone\.embedder\.embedder\.convolution\.weight",
        (*_transformers("backbone."), *UPERNET_HEAD),
        unused=UPERNET_AUXILIARY,
    )
)
