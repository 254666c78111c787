"""The network that a plan chooses for a device, and what its train step costs."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ipixmatch_jax.devices.machine import Machine
from ipixmatch_jax.models import MODELS, model_options


class Network(NamedTuple):
    """A network with its settings, and the cost of its step.

    Attributes:
        values: config keys, by full name.
        bytes_per_pixel: memory of a step per pixel of its labeled and unlabeled crops.
        pixels_per_second: pixels of the crops of a step that one CPU core processes.
        stride: crops have sides of stride·n + rest.
        rest: 1 if the network's grid has its points on both borders of the image.
        largest_crop: side of the largest crop of its published recipes.
    """

    values: Mapping[str, Any]
    bytes_per_pixel: float
    pixels_per_second: float
    stride: int = 16
    rest: int = 1
    largest_crop: int = 801

    def side(self, length: float, *, up_to: float = float("inf")) -> int:
        """The side on the network's grid that is nearest to a length, and at most `up_to`."""
        count = round((length - self.rest) / self.stride)
        most = int((up_to - self.rest) // self.stride) if up_to != float("inf") else count
        return max(min(count, most), 2) * self.stride + self.rest


# Memory: of the compiled steps in docs/performance.md, in bytes over the pixels of their crops; of
# DINOv2, whose attention grows with the crop, that for crops of 518. The small decoder: see there,
# "The plan".
_BYTES = {
    "efficientnet_lite0": 3.8e3,
    "resnet18": 3.7e3,
    "resnet50": 9.4e3,
    "dinov2_small": 12e3,
    # The estimates of bench/memory.py for crops of 512 and of 320, times the ratio that DINOv2's
    # program has to its estimate.
    "dinov3_small": 7.9e3,
    "convnext_tiny": 8.9e3,
}
# Speed: the steps of 161 x 161 (EfficientNet-Lite0) and 321 x 321 (ResNet-50) there.
_SPEED = {"efficientnet_lite0": 50e3}
# Networks without a measurement count as ResNet-50.
_OTHER_BYTES, _OTHER_SPEED = _BYTES["resnet50"], 20e3
_SMALL_DECODER: dict[str, Any] = {"model.separable": True, "model.decoder_channels": 128}
_SMALL_BYTES, _SMALL_SPEED = 2.75e3, 100e3

# All have the same keys, so that a run that goes on elsewhere finds each of its values.
_LITE0: dict[str, Any] = {
    "model.name": "deeplabv3plus",
    "model.backbone": "efficientnet_lite0",
    "model.pretrained": "imagenet",
    "model.output_stride": 16,
    "model.separable": None,
    "model.decoder_channels": None,
    "optimizer.learning_rate": 1e-3,
    "optimizer.head_multiplier": 3.0,
    "optimizer.weight_decay": 1e-4,
}
# UniMatch V2 (arXiv 2410.10777), whose published configs have these constants for every size.
_DINOV2: dict[str, Any] = _LITE0 | {
    "model.name": "dpt",
    "model.backbone": "dinov2_small",
    "model.pretrained": "dinov2",
    "model.output_stride": None,
    "optimizer.learning_rate": 5e-6,
    "optimizer.head_multiplier": 40.0,
    "optimizer.weight_decay": 0.01,
}
_DINOV3: dict[str, Any] = _DINOV2 | {
    "model.backbone": "dinov3_small",
    "model.pretrained": "dinov3",
}
# The constants of facebookresearch/ConvNeXt's UPerNet on ADE20K (arXiv 2201.03545, appendix A.3),
# without its layer-wise decay.
_CONVNEXT: dict[str, Any] = _LITE0 | {
    "model.name": "upernet",
    "model.backbone": "convnext_tiny",
    "model.output_stride": None,
    "optimizer.learning_rate": 1e-4,
    "optimizer.head_multiplier": 1.0,
    "optimizer.weight_decay": 0.05,
}
# Networks for an accelerator, the strongest first; one is taken if its weights are there.
_WANTED = (_DINOV3, _DINOV2, _CONVNEXT)
# Word and backbone of the weights that a plan for an accelerator looks for.
WANTED = tuple((values["model.pretrained"], values["model.backbone"]) for values in _WANTED)
# If the user sets one of these, the model is the user's choice.
_MODEL_KEYS = ("model.name", "model.backbone", "model.init_from")


def choose_network(
    machine: Machine, given: Mapping[str, Any], at_hand: Collection[str]
) -> tuple[Network, str]:
    """The network for a machine, and the reason.

    Args:
        machine: the devices.
        given: keys that the user has set.
        at_hand: backbones whose public weights are on this machine.
    """
    if any(key in given for key in _MODEL_KEYS):
        backbone = given.get("model.backbone") or _default_backbone(given)
        own = _optimizer_for(backbone)
        like = "its family's recipe" if own else "the default network"
        return _of(_LITE0 | own, backbone), f"as for {like}: you chose the model"
    if machine.platform == "cpu":
        # A decoder of depthwise-separable convolutions, as DeepLabV3+ has (arXiv 1802.02611).
        small = Network(_LITE0 | _SMALL_DECODER, _SMALL_BYTES, _SMALL_SPEED)
        return small, "for a CPU, the quickest network here with pretrained weights"
    there = [values for values in _WANTED if values["model.backbone"] in at_hand]
    if there and "model.pretrained" not in given:
        backbone = there[0]["model.backbone"]
        return _of(there[0], backbone), (
            f"on a {machine.platform.upper()}, and the weights of {backbone} are on this machine"
        )
    names = [values["model.backbone"] for values in _WANTED]
    free = _DINOV2  # its weights need no consent to a licence
    keys = ("model.name", "model.backbone", "model.pretrained")
    loads = " ".join(f"--config.{key}={free[key]}" for key in keys)
    return _of(_LITE0, "efficientnet_lite0"), (
        f"the weights of {', '.join(names[:-1])} or {names[-1]}, which are stronger, are not on "
        f"this machine ({loads} downloads some)"
    )


def _default_backbone(given: Mapping[str, Any]) -> str:
    name = given.get("model.name", _LITE0["model.name"])
    own = model_options(name).get("backbone") if name in MODELS else None
    return own or str(name)


def _optimizer_for(backbone: str) -> dict[str, Any]:
    """The optimizer's constants for the family of a backbone; {}: those of the default network."""
    for values in _WANTED:
        if backbone.partition("_")[0] == values["model.backbone"].partition("_")[0]:
            return {key: value for key, value in values.items() if key.startswith("optimizer.")}
    return {}


def _of(values: Mapping[str, Any], backbone: str) -> Network:
    costs = _BYTES.get(backbone, _OTHER_BYTES), _SPEED.get(backbone, _OTHER_SPEED)
    if backbone.startswith("dinov2"):
        return Network(values, *costs, stride=14, rest=0, largest_crop=518)
    if backbone.startswith("dinov3"):
        return Network(values, *costs, stride=16, rest=0, largest_crop=512)
    if backbone.startswith("convnext"):
        return Network(values, *costs, stride=32, rest=0, largest_crop=512)
    return Network(values, *costs)
