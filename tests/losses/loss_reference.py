"""The losses as DESIGN.md states them, in float64 NumPy, without regard to speed or memory."""

import numpy as np


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def class_map_kl(student, teacher, keep, temperature):
    values = []
    for c in range(student.shape[-1]):
        log_p = log_softmax(teacher[:, c] / temperature + np.log(keep))
        log_q = log_softmax(student[:, c] / temperature + np.log(keep))
        values.append(temperature**2 * np.sum(np.exp(log_p) * (log_p - log_q)))
    return np.mean(values)


def class_map_corr(student, teacher, keep, temperature):
    teacher_probs, student_probs = softmax(teacher), softmax(student)
    weight = keep / keep.sum()
    values = []
    for c in range(student.shape[-1]):
        p, q = teacher_probs[:, c], student_probs[:, c]
        u, v = p - weight @ p, q - weight @ q
        flat = [
            np.sqrt(weight @ d**2) <= 1e-5 * np.sqrt(weight @ (r * (1 - r)) ** 2)
            for d, r in ((u, p), (v, q))
        ]
        rho = 1.0 if any(flat) else weight @ (u * v) / np.sqrt((weight @ u**2) * (weight @ v**2))
        values.append(1 - rho)
    return np.mean(values)


DISTANCES = {"kl": class_map_kl, "corr": class_map_corr}


def relation_loss(student, teacher, keep, distance, temperature=1.0, min_pixels=2):
    """Mean over images with enough pixels of the distance between their kept pixels."""
    student, teacher, keep = (np.asarray(a, np.float64) for a in (student, teacher, keep))
    values = []
    for y, z, m in zip(student, teacher, keep, strict=True):
        kept = m > 0
        if kept.sum() >= max(min_pixels, 1):
            values.append(DISTANCES[distance](y[kept], z[kept], m[kept], temperature))
    return np.mean(values) if values else 0.0


def slope(function, point, direction, step=1e-5):
    """Derivative of a float64 function along a direction."""
    point = np.asarray(point, np.float64)
    ahead, behind = function(point + step * direction), function(point - step * direction)
    return (ahead - behind) / (2 * step)


def gradient(function, point, step=1e-5):
    """All partial derivatives of a float64 function, one at a time."""
    out = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        direction = np.zeros(point.shape)
        direction[index] = 1.0
        out[index] = slope(function, point, direction, step)
    return out
