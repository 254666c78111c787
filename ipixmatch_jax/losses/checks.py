"""Shape checks shared by the losses; they run while a step is traced and cost nothing later."""

import jax


def check_logits(name: str, logits: jax.Array, least: int = 2) -> None:
    """Raises ValueError unless `logits` is [B,H,W,C] with at least `least` classes."""
    if logits.ndim != 4:
        raise ValueError(f"{name} has shape {logits.shape}; expected [B,H,W,C]")
    if logits.shape[-1] < least:
        raise ValueError(
            f"{name} has shape {logits.shape}, so {logits.shape[-1]} class; a softmax needs C >= 2 "
            "(give a binary task one channel for background and one for the object)"
        )


def check_pair(student_logits: jax.Array, teacher_logits: jax.Array, least: int = 2) -> None:
    """Raises ValueError unless both are [B,H,W,C] logits of one shape, C at least `least`."""
    check_logits("student_logits", student_logits, least)
    check_logits("teacher_logits", teacher_logits, least)
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student_logits {student_logits.shape} and teacher_logits {teacher_logits.shape} "
            "differ; resize both to one size and give both networks the same number of classes"
        )


def check_map(name: str, values: jax.Array, logits: jax.Array) -> None:
    """Raises ValueError unless `values` is [B,H,W] for logits [B,H,W,C]."""
    if values.shape != logits.shape[:-1]:
        raise ValueError(
            f"{name} has shape {values.shape}; the logits {logits.shape} need {logits.shape[:-1]}"
        )
