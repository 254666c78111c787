"""The layers of an encoder, from the input on, for learning rates that differ by layer."""

import flax.linen as nn

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.models.network_pair import TWINS


def layers_of(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Names of the modules and parameters in each layer of a model's encoder, from the input on.

    They are the encoder's attribute `layers`. A vision transformer has its embedding and each
    block, other encoders their stem and each stage.

    Raises:
        ConfigError: the encoder does not say what its layers are.
    """
    encoder = (getattr(model, TWINS[0]) if hasattr(model, TWINS[0]) else model).encoder
    layers = getattr(encoder, "layers", None)
    if layers is None:
        raise ConfigError(
            f"optimizer.layer_decay is not 1, but the encoder {type(encoder).__name__} has no "
            "layers; expected an attribute `layers`, a tuple of names for each layer; set "
            "optimizer.layer_decay=1"
        )
    return layers
