"""Advice on a run: what its numbers show, the keys to change, and the page that explains them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.curves import Curves, read_curves
from ipixmatch_jax.workdir.evaluations import read_evaluations
from ipixmatch_jax.workdir.folder import metrics_path

_PAGE = "docs/tuning.md"
# Below this share of the pixels, pseudo-labels or a class count as absent.
_NOTHING = 0.005
_MOST_NAMED = 6
# A loss that has grown this many times, or this share of skipped steps, is a run that diverged.
_GROWN = 5
_SKIPPED = 0.1


@dataclasses.dataclass(frozen=True)
class Advice:
    """One symptom of a run.

    Attributes:
        symptom: the observation, with its numbers.
        change: the config keys to change, and how.
        page: page of the documentation, with the section.
    """

    symptom: str
    change: str
    page: str

    def __str__(self) -> str:
        return f"{self.symptom} Try {self.change}; see {self.page}."


@dataclasses.dataclass(frozen=True)
class _Facts:
    config: ConfigDict
    curves: Curves
    evaluations: Sequence[Mapping[str, Any]]

    def late(self, name: str) -> float | None:
        """Mean of a curve over its last quarter; None without it."""
        _, values = self.curves.get(name, ([], []))
        last = values[-max(1, len(values) // 4) :]
        return sum(last) / len(last) if last else None

    @property
    def uses_pseudo_labels(self) -> bool:
        """True if the method learns from unlabeled images and has logged its pseudo-labels."""
        return self.config.method.name != "supervised" and "confident_share" in self.curves


def advise(
    config: ConfigDict, curves: Curves, evaluations: Sequence[Mapping[str, Any]]
) -> list[Advice]:
    """Advice on a run; empty if nothing stands out.

    Args:
        config: the run's config.
        curves: metric → (steps, values), as `read_curves` returns them.
        evaluations: contents of `eval/STEP.json`, in the order of steps.
    """
    facts = _Facts(config, curves, evaluations)
    return [found for rule in RULES for found in rule(facts)]


def advise_on_run(config: ConfigDict, workdir: AnyPath) -> list[Advice]:
    """`advise`, from the files of a run's folder."""
    return advise(config, read_curves(metrics_path(workdir)), read_evaluations(workdir))


def _diverged(facts: _Facts) -> Iterator[Advice]:
    _, losses = facts.curves.get("loss_supervised", ([], []))
    late = facts.late("loss_supervised")
    if late is None or late <= _GROWN * max(losses[0], 1.0):
        return
    yield _slower(f"the loss of labeled images grew from {losses[0]:.3g} to {late:.3g}", facts)


def _skipped_steps(facts: _Facts) -> Iterator[Advice]:
    _, bad = facts.curves.get("bad_steps", ([], []))
    skipped = sum(map(bool, bad))
    if skipped > _SKIPPED * len(bad):
        yield _slower(f"{skipped} of {len(bad)} logged steps were not finite, and skipped", facts)


def _slower(symptom: str, facts: _Facts) -> Advice:
    return Advice(
        f"The run has diverged: {symptom}.",
        f"a lower optimizer.learning_rate, as {facts.config.optimizer.learning_rate / 10:.2g}, "
        "optimizer.clip_norm=1 or a warm-up by optimizer.warmup_steps, in another workdir",
        f"{_PAGE}#not-a-number",
    )


def _no_unlabeled_weight(facts: _Facts) -> Iterator[Advice]:
    method, steps = facts.config.method, facts.config.total_steps
    end = method.ramp_start + method.ramp_steps
    if facts.config.method.name == "supervised" or end <= steps:
        return
    yield Advice(
        f"The loss of unlabeled images reaches its full weight only after step {end}, but the run "
        f"has {steps} steps.",
        "a smaller method.ramp_start and method.ramp_steps, or a larger total_steps",
        f"{_PAGE}#pseudo-labels-none-or-all-wrong",
    )


def _no_pseudo_labels(facts: _Facts) -> Iterator[Advice]:
    share = facts.late("confident_share")
    if not facts.uses_pseudo_labels or share is None or share >= _NOTHING:
        return
    confidence = facts.config.method.confidence
    threshold = "its threshold" if confidence is None else f"confidence {confidence:g}"
    yield Advice(
        f"Almost no pseudo-label counts: toward the end {100 * share:.2f} % of the unlabeled "
        f"pixels reached {threshold}.",
        "a lower method.confidence, or method.threshold=ramp",
        f"{_PAGE}#pseudo-labels-none-or-all-wrong",
    )


def _pseudo_labels_of_one_class(facts: _Facts) -> Iterator[Advice]:
    prefix = "class_acceptance/"
    names = [name.removeprefix(prefix) for name in facts.curves if name.startswith(prefix)]
    shares = {name: facts.late(prefix + name) for name in names}
    with_labels = [name for name, share in shares.items() if share >= _NOTHING]
    if not facts.uses_pseudo_labels or len(with_labels) != 1 or len(names) < 2:
        return
    yield Advice(
        f"All pseudo-labels are of the class {with_labels[0]}: no pixel of the other "
        f"{len(names) - 1} classes reaches the threshold.",
        "method.threshold=class_adaptive, a lower method.confidence or a later method.ramp_start",
        f"{_PAGE}#pseudo-labels-none-or-all-wrong",
    )


def _wrong_pseudo_labels(facts: _Facts) -> Iterator[Advice]:
    share, accuracy = facts.late("pseudo_label_share"), facts.late("pseudo_label_accuracy")
    if share is None or accuracy is None or share < 0.05 or accuracy >= 0.8:
        return
    yield Advice(
        f"{100 * (1 - accuracy):.0f} % of the pseudo-labels are wrong (on validation images).",
        "a higher method.confidence, or a later method.ramp_start",
        f"{_PAGE}#the-student-is-worse-than-a-supervised-run",
    )


def _classes_at_zero(facts: _Facts) -> Iterator[Advice]:
    if not facts.evaluations:
        return
    iou = facts.evaluations[-1].get(facts.config.best_network, {}).get("iou", {})
    lost = [name for name, value in iou.items() if value is not None and value < _NOTHING]
    if not lost:
        return
    named = ", ".join(lost[:_MOST_NAMED]) + (", …" if len(lost) > _MOST_NAMED else "")
    yield Advice(
        f"{len(lost)} of {len(iou)} classes stay at an IoU of 0: {named}.",
        "supervised.weighting=inverse_frequency, or supervised.dice_weight=1.0"
        + (", or method.threshold=class_adaptive" if facts.uses_pseudo_labels else ""),
        f"{_PAGE}#the-foreground-stays-at-0",
    )


def _teacher_lags(facts: _Facts) -> Iterator[Advice]:
    last = facts.evaluations[-1] if facts.evaluations else {}
    student, teacher = (last.get(name, {}).get("miou") for name in ("student", "teacher"))
    if student is None or teacher is None or "teacher_decay" not in facts.curves:
        return
    if student - teacher < max(0.01, 0.1 * student):
        return
    decay = facts.late("teacher_decay")
    yield Advice(
        f"The teacher lags: mIoU {100 * teacher:.1f}, the student has {100 * student:.1f}; it "
        f"averages over about {1 / max(1 - decay, 1e-6):.0f} steps.",
        f"a lower teacher.decay, as {_shorter(decay):g}, or a larger total_steps",
        f"{_PAGE}#the-teacher-lags",
    )


def _shorter(decay: float) -> float:
    """A decay that averages over a third of the steps."""
    return round(max(0.0, 1 - 3 * (1 - decay)), 4)


def _still_rising(facts: _Facts) -> Iterator[Advice]:
    pairs = [
        (one["step"], one.get(facts.config.best_network, {}).get("miou"))
        for one in facts.evaluations
    ]
    pairs = [(step, miou) for step, miou in pairs if miou is not None]
    if len(pairs) < 3 or pairs[-1][0] < facts.config.total_steps:
        return
    last_step, last = pairs[-1]
    earlier = [pair for pair in pairs if pair[0] <= 0.75 * last_step]
    before_step, before = earlier[-1] if earlier else pairs[0]
    if last - before < max(0.01, 0.05 * last):
        return
    yield Advice(
        f"The schedule is too short: mIoU was still rising at the end, from {100 * before:.1f} at "
        f"step {before_step} to {100 * last:.1f} at step {last_step}.",
        "a larger total_steps",
        f"{_PAGE}#the-student-is-worse-than-a-supervised-run",
    )


# Each rule yields what it has found; the most likely cause comes first.
RULES: tuple[Callable[[_Facts], Iterator[Advice]], ...] = (
    _diverged,
    _skipped_steps,
    _no_unlabeled_weight,
    _no_pseudo_labels,
    _pseudo_labels_of_one_class,
    _wrong_pseudo_labels,
    _classes_at_zero,
    _teacher_lags,
    _still_rising,
)
