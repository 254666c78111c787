"""The measures as a table of at most 80 columns."""

import math
import textwrap
from collections.abc import Sequence

from ipixmatch_jax.diagnose.alignment import Estimate
from ipixmatch_jax.diagnose.measure import Measured

WIDTH = 80
_NAME = 33
_COLUMNS = (("|g|", "norm"), ("truth", "truth"), ("others", "other"))
_EXTRA = (("truth", "extra_truth"), ("others", "extra_other"))
LEGEND = (
    "|g|: norm of the gradient over that of the run's pseudo-labels. truth, others: cosine with "
    "the gradient by the true labels of the same views, and of other images. extra: the same of "
    "the parts that the supervised and pseudo-label gradients do not contain. ±: standard error "
    "over batches. *: losses of the run."
)


def table(measured: Sequence[Measured]) -> str:
    """One row for each loss; a long name has a line of its own."""
    columns = (*_COLUMNS, *_EXTRA)
    lines = [
        " " * (_NAME + 1 + 9 * len(_COLUMNS)) + f"{'extra':>18}".rstrip(),
        f"{'':{_NAME + 1}}" + "".join(f"{title:>9}" for title, _ in columns),
    ]
    for one in measured:
        name = f"{'*' if one.loss.own else ' '}{one.loss.name}"
        cells = "".join(f"{cell(getattr(one.alignment, field)):>9}" for _, field in columns)
        if len(name) > _NAME:
            lines.append(name)
            name = ""
        lines.append(f"{name:<{_NAME + 1}}{cells}")
    return "\n".join(lines)


def cell(estimate: Estimate) -> str:
    """A number with its standard error in at most 8 characters: `.31±.02`, `-.02±.01`, `12.2±.9`.

    `–` if it is not defined.
    """
    if math.isnan(estimate.value) or math.isnan(estimate.error):
        return "–"
    value, error = (_short(x) for x in (estimate.value, estimate.error))
    return f"{value}±{error}"


def _short(x: float) -> str:
    if abs(x) >= 99.5:
        return f"{x:.0f}"
    text = f"{x:.1f}" if abs(x) >= 9.95 else f"{x:.2f}"
    return text.replace("0.", ".", 1) if abs(x) < 1 else text


def wrapped(lines: Sequence[str]) -> str:
    """Paragraphs of at most 80 columns."""
    return "\n".join(textwrap.fill(line, WIDTH) for line in lines)
