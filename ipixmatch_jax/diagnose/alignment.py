"""Cosines and norms from inner products of gradients, with jackknife standard errors."""

import dataclasses
import math

import numpy as np
from scipy import stats

# Below this share of its square a gradient has no part of its own: what is left is rounding.
_NO_REST = 1e-4


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number measured on m groups of images.

    Attributes:
        value: by all groups; NaN if it is not defined.
        without: float64 [m], the number without each group.
    """

    value: float
    without: np.ndarray

    @property
    def error(self) -> float:
        """Standard error: the delete-one jackknife (Efron and Stein, 1981)."""
        m = len(self.without)
        return math.sqrt((m - 1) / m * float(np.sum((self.without - self.without.mean()) ** 2)))

    def minus(self, other: "Estimate") -> "Estimate":
        """The difference of two numbers of the same groups."""
        return Estimate(self.value - other.value, self.without - other.without)

    def low(self, comparisons: int = 1) -> float:
        """Lower end of the 95 % interval by Student's t with m − 1 degrees of freedom.

        Args:
            comparisons: of so many estimates, all intervals hold together (Bonferroni).
        """
        tail = 0.025 / comparisons
        return self.value - float(stats.t.ppf(1 - tail, len(self.without) - 1)) * self.error


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How a loss's gradient compares with others.

    Attributes:
        norm: its norm over that of the pseudo-label loss; norms are means over batches.
        truth: cosine with the gradient by the true labels of the same views.
        other: cosine with the gradient by the true labels of other images.
        extra_truth, extra_other: the same of the parts that are orthogonal to the gradients of the
            supervised and the pseudo-label loss.
    """

    norm: Estimate
    truth: Estimate
    other: Estimate
    extra_truth: Estimate
    extra_other: Estimate


@dataclasses.dataclass(frozen=True)
class Products:
    """Inner products of gradients, of m batches, each made of one group of images.

    The basis of batch b is: the supervised gradient, the pseudo-label gradient, and that by the
    true labels of the same views, all of batch b; then, for each of the m groups, the gradient by
    the true labels of its images in plain views.

    Attributes:
        basis: float64 [m, 3 + m, 3 + m], of the bases with themselves.
        losses: float64 [m, k, 3 + m], of k losses with the basis.
        squares: float64 [m, k], of the losses with themselves.
    """

    basis: np.ndarray
    losses: np.ndarray
    squares: np.ndarray

    def alignment(self, loss: int) -> Alignment:
        """The measures of one loss."""
        return Alignment(
            *(
                self._jackknife(lambda kept, n=name: self._measure(n, loss, kept))
                for name in ("norm", "truth", "other", "extra_truth", "extra_other")
            )
        )

    def _jackknife(self, measure) -> Estimate:
        every = np.arange(len(self.basis))
        without = [measure(every[every != group]) for group in every]
        return Estimate(measure(every), np.array(without, np.float64))

    def _measure(self, name: str, loss: int, kept: np.ndarray) -> float:
        """A measure by the groups `kept` alone."""
        if name == "norm":
            base = np.sqrt(self.basis[kept, 1, 1]).mean()
            return float(np.sqrt(self.squares[kept, loss]).mean() / base) if base > 0 else math.nan
        values = [self._cosine(name, loss, batch, kept) for batch in kept]
        defined = [value for value in values if not math.isnan(value)]
        return float(np.mean(defined)) if 2 * len(defined) > len(values) else math.nan

    def _cosine(self, name: str, loss: int, batch: int, kept: np.ndarray) -> float:
        basis = self.basis[batch]
        target = np.zeros(len(basis))
        if name.endswith("truth"):
            target[2] = 1.0
        else:
            others = kept[kept != batch]
            target[3 + others] = 1.0 / len(others)
        pair = np.array(
            [
                [self.squares[batch, loss], self.losses[batch, loss] @ target],
                [0.0, target @ basis @ target],
            ]
        )
        pair[1, 0] = pair[0, 1]
        whole = pair.diagonal().copy()
        if name.startswith("extra"):
            along = np.stack([self.losses[batch, loss, :2], basis[:2] @ target])
            pair = pair - along @ np.linalg.pinv(basis[:2, :2], hermitian=True) @ along.T
        if np.any(pair.diagonal() <= _NO_REST * whole):
            return math.nan
        return float(pair[0, 1] / math.sqrt(pair[0, 0] * pair[1, 1]))
