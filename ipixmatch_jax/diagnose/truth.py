"""Carries the true classes of images through a method to the pixels of its consistency terms.

A method mixes the feature maps of its labeler by the same boxes as the labels. So the true classes
travel as one more feature map, of the image's size, whatever the method does with boxes and views.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.methods import ConsistencyTerm, Network
from ipixmatch_jax.methods.augseg import CERTAIN
from ipixmatch_jax.methods.base import Prediction, Through

# The name of the feature map with the true classes.
TRUTH = "truth"
# Two weak views of one image differ by rounding only.
_SAME = 1e-3
_IGNORE = 255


@flax.struct.dataclass
class InformedNetwork(Network):
    """A network that also gives the true classes of the images that it recognizes.

    Its predictions hold the feature map `TRUTH`, [B,H,W,C] float32: the one-hot true class, or 0
    for all classes at ignored pixels and in unknown images.

    Attributes:
        known: [m,H,W,D] float32, weak views.
        masks: [m,H,W] uint8, their masks.
    """

    known: jax.Array | None = None
    masks: jax.Array | None = None

    def predict(self, images: jax.Array, batch_norm: str = "eval") -> Prediction:
        return self._informed(super().predict(images, batch_norm), images)

    def train(self, images: jax.Array, through: Through | None = None) -> tuple[Prediction, Any]:
        prediction, batch_stats = super().train(images, through)
        return self._informed(prediction, images), batch_stats

    def _informed(self, prediction: Prediction, images: jax.Array) -> Prediction:
        def mask_of(image: jax.Array) -> jax.Array:
            gaps = jnp.mean(jnp.abs(self.known - image[None]), axis=(1, 2, 3))
            at = jnp.argmin(gaps)
            return jnp.where(gaps[at] < _SAME, self.masks[at].astype(jnp.int32), _IGNORE)

        masks = jax.lax.map(mask_of, images.astype(jnp.float32))
        truth = jax.nn.one_hot(masks, prediction.logits.shape[-1], dtype=jnp.float32)
        return prediction.replace(features={**prediction.features, TRUTH: truth})


def true_term(term: ConsistencyTerm) -> ConsistencyTerm:
    """The term as it would be if the labeler knew the true classes; other pixels are not valid.

    Raises:
        ConfigError: the method did not pass on the labeler's feature maps.
    """
    truth = term.teacher_features.get(TRUTH)
    if truth is None or truth.shape != term.teacher_logits.shape:
        raise ConfigError(
            "--mode diagnose cannot follow the true labels through this method: its terms lack the "
            "labeler's feature maps; expected teacher_features that are mixed like the labels, as "
            "Pairs.term does; or diagnose with another method: --config.method.name=fixmatch"
        )
    given = term.teacher_logits.astype(jnp.float32)
    # A method that pastes labels of its own (AugSeg) has no feature map of them.
    pasted = (jnp.max(given, axis=-1) == CERTAIN) & (jnp.sum(jnp.abs(given), axis=-1) == CERTAIN)
    truth = jnp.where(pasted[..., None], given / CERTAIN, truth)
    return term.replace(
        teacher_logits=CERTAIN * truth,
        valid=term.valid & (jnp.max(truth, axis=-1) > 0),
        distance="pseudo_label",
        keep=None,
    )
