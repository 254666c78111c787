"""Correlation propagation in the manner of CorrMatch, with static shapes."""

import dataclasses

import jax
import jax.numpy as jnp

from ipixmatch_jax.methods.base import METHODS, Batch, MethodOutput, Network, Prediction, option
from ipixmatch_jax.methods.grid import grid_points, unit
from ipixmatch_jax.methods.one_strong_view import OneStrongView
from ipixmatch_jax.models.layers import resize_logits
from ipixmatch_jax.views import Views


@METHODS.register("corrmatch")
@dataclasses.dataclass(frozen=True)
class CorrMatch(OneStrongView):
    """Labels that spread along the correlation of features (Sun et al., arXiv 2306.04300).

    Beside FixMatch's loss, the student's prediction is propagated over a grid of the decoder's
    features: p'ᵢ = Σⱼ softmax_j(fᵢ·fⱼ/τ)·pⱼ with unit vectors f, and p' is trained by the same
    pseudo-labels (and, on labeled images, by the labels). A third term is the soft KL of the strong
    view, its target mixed by the box as a map. L = L_sup/2 + L_corr_sup/2 + (L_hard + L_KL +
    L_corr)/3·w, w `method.unlabeled_weight`. The source takes half of this, as the recipes do with
    `supervised.weight` and `method.unlabeled_weight` 0.5; its unlabeled part is the mean of four
    losses, the fourth of dropped features.

    What is left out of the source: its extra projections (a method here leaves the model as it is),
    the growing of pseudo-labels by connected regions, whose shapes depend on the data, the weak
    view with dropped features, and L_corr of the weak view. The source compares the mixed strong
    view with the unmixed weak one in L_KL; here the target is mixed too. Its moving threshold is
    `threshold='class_adaptive'`, without memory. Passes as in `FixMatch`.

    Attributes:
        grid: points a side, at most, of the grid that is correlated; memory grows with grid⁴.
        temperature: τ.
        others: as in `OneStrongView`.
    """

    labeler: str = "student"
    grid: int = option(32, least=1)
    temperature: float = option(0.1, above=0)

    def passes(
        self, student: Network, teacher: Network, views: Views, batch: Batch
    ) -> MethodOutput:
        seen, batch_stats, term = self.strong_pass(student, teacher, views, batch, "decoder")
        propagated = {name: self._propagated(seen[name]) for name in ("labeled", "strong")}
        third = 1.0 / 3.0
        terms = (
            term(seen["strong"], third),
            term(seen["strong"], third, distance="kl"),
            term(propagated["strong"], third),
        )
        labeled = jnp.concatenate([seen["labeled"].logits, propagated["labeled"].logits])
        return MethodOutput(labeled, terms, batch_stats, labeled_weight=0.5)

    def _propagated(self, prediction: Prediction) -> Prediction:
        """The prediction after one step along the correlation of its decoder features."""
        features = prediction.features["decoder"]
        batch, height, width = prediction.logits.shape[:3]
        rows, columns = (min(n, self.grid) for n in features.shape[1:3])
        features = unit(grid_points(features, (rows, columns)))
        probs = jax.nn.softmax(grid_points(prediction.logits, (rows, columns)))
        similarity = jnp.einsum("bic,bjc->bij", features, features) / self.temperature
        spread = jnp.einsum("bij,bjc->bic", jax.nn.softmax(similarity), probs)
        logits = jnp.log(jnp.maximum(spread, 1e-8)).reshape(batch, rows, columns, -1)
        return prediction.replace(logits=resize_logits(logits, (height, width)))
