"""Measures the gradients of all losses on all batches."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from ipixmatch_jax.diagnose import losses
from ipixmatch_jax.diagnose.alignment import Alignment, Products
from ipixmatch_jax.diagnose.gradients import Gradients, products
from ipixmatch_jax.diagnose.images import Images
from ipixmatch_jax.diagnose.losses import Loss
from ipixmatch_jax.engine.objective import Objective
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.tracking.progress import counted


@dataclasses.dataclass(frozen=True)
class Measured:
    """One loss with its measures."""

    loss: Loss
    alignment: Alignment


def measure(
    gradients: Gradients, images: Images, objective: Objective, compared: Sequence[Loss]
) -> list[Measured]:
    """The measures of the supervised loss, of the run's pseudo-labels and of all `compared`.

    Args:
        objective: the run's loss.
        compared: losses of consistency terms.

    Raises:
        DataError: no pixel of the images has a true label.
    """
    supervised, pseudo = losses.supervised(objective), losses.pseudo_labels(objective)
    truth, plain = losses.true_labels(objective), losses.cross_entropy(objective)
    if plain.objective.supervised == supervised.objective.supervised:
        plain = supervised  # one program less to compile
    rows = [supervised, pseudo, *compared]
    # Gradients by the true labels of each group's images in plain views, and the mixed batches.
    others, batches = [], []
    for group in counted(images, len(images.groups), "plain views", "batches"):
        of_group = [gradients.labeled(plain, {**group.mixed, "labeled": b}) for b in group.plain]
        others.append(sum(of_group[1:], start=of_group[0]) / len(of_group))
        batches.append(group.mixed)
    stacked = jnp.stack(others)
    of_others = np.stack([_products(stacked, one)[:-1] for one in others])
    bases, by_loss, squares = [], [], []
    for batch in counted(batches, len(batches), "strong views", "batches"):
        found = gradients.unlabeled([pseudo, truth, *compared], batch)
        own = jnp.stack([gradients.labeled(supervised, batch), next(found), next(found)])
        _check_labels(float(jnp.max(jnp.abs(own[2]))))
        basis = jnp.concatenate([own, stacked])
        three = np.stack([_products(basis, one) for one in own])
        corner = three[:, len(own) : -1]
        bases.append(np.block([[three[:, : len(own)], corner], [corner.T, of_others]]))
        lines = np.stack([*three[:2], *(_products(basis, one) for one in found)])
        by_loss.append(lines[:, :-1])
        squares.append(lines[:, -1])
    result = Products(np.stack(bases), np.stack(by_loss), np.stack(squares))
    return [Measured(loss, result.alignment(i)) for i, loss in enumerate(rows)]


def _products(basis, gradient) -> np.ndarray:
    return np.asarray(products(basis, gradient), np.float64)


def _check_labels(largest: float) -> None:
    if largest > 0:
        return
    raise DataError(
        "no pixel of a batch has a true label that --mode diagnose can use: the masks hold only "
        "255, or the method labels other views than the weak ones; expected masks with class ids; "
        "choose other images by --split, or another method by --config.method.name=fixmatch"
    )
