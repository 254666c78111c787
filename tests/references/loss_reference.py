"""The relation losses by their formulas, in float64 NumPy with N×N matrices."""

import numpy as np


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def kl_divergence(log_p, log_q):
    """Σ p·(log p − log q) over the last axis; as Σ p·q/p = 1, with digits to spare near p = q."""
    gap = log_q - log_p
    excess = np.expm1(gap) if gap.max() < 50 else 0.0
    return np.sum(np.exp(log_p) * (excess - gap), axis=-1)


def class_map_kl(student, teacher, keep, temperature, c):
    log_p = log_softmax(teacher[:, c] / temperature + np.log(keep))
    log_q = log_softmax(student[:, c] / temperature + np.log(keep))
    return temperature**2 * kl_divergence(log_p, log_q)


def class_map_corr(student, teacher, keep, temperature, c):
    p, q = softmax(teacher)[:, c], softmax(student)[:, c]
    weight = keep / keep.sum()
    u, v = p - weight @ p, q - weight @ q
    for d, r in ((u, p), (v, q)):
        if np.sqrt(weight @ d**2) <= 1e-5 * np.sqrt(weight @ (r * (1 - r)) ** 2):
            return 0.0
    return 1 - weight @ (u * v) / np.sqrt((weight @ u**2) * (weight @ v**2))


def affinity_mse(p, q, keep, temperature):
    weight = np.outer(keep, keep)
    return np.sum(weight * (p @ p.T - q @ q.T) ** 2) / np.sum(weight)


def affinity_corr(p, q, keep, temperature, floor):
    weight = np.outer(keep, keep) / keep.sum() ** 2
    a, b = p @ p.T, q @ q.T
    u, v = a - np.sum(weight * a), b - np.sum(weight * b)
    for d, r in ((u, a), (v, b)):
        if np.sum(weight * d**2) <= max(1e-10 * np.sum(weight * (r - floor) ** 2), 1e-30):
            return 0.0
    return 1 - np.sum(weight * u * v) / np.sqrt(np.sum(weight * u**2) * np.sum(weight * v**2))


def affinity_kl(p, q, keep, temperature):
    log_a = log_softmax(p @ p.T / temperature + np.log(keep))
    log_b = log_softmax(q @ q.T / temperature + np.log(keep))
    return temperature**2 * keep @ kl_divergence(log_a, log_b) / keep.sum()


RELATIONS = {
    "class_map/kl": class_map_kl,
    "class_map/corr": class_map_corr,
    "affinity/mse": affinity_mse,
    "affinity/corr": affinity_corr,
    "affinity/kl": affinity_kl,
}


def pooled(maps, keep, stride):
    """Weighted means of maps [H,W,C] over windows, and mean weights; one window at a time."""
    height, width = (-(-n // stride) for n in keep.shape)
    out = [np.zeros((height, width, m.shape[-1])) for m in maps]
    weight = np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        window = np.s_[i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
        m = keep[window]
        weight[i, j] = m.sum() / stride**2
        for o, x in zip(out, maps, strict=True):
            if m.sum() > 0:
                o[i, j] = np.sum(x[window] * m[..., None], axis=(0, 1)) / m.sum()
    return out, weight


def _relation(student, teacher, keep, name, temperature, cosine, stride, classes, on):
    """The loss of one image, from [H,W,C], [H,W,C] and [H,W]."""
    counted = np.ones(student.shape[-1], bool)
    if classes == "present":
        counted = np.isin(np.arange(len(counted)), teacher[keep > 0].argmax(-1))
    if name.startswith("class_map"):
        kept = keep > 0

        def one(c):
            return RELATIONS[name](student[kept], teacher[kept], keep[kept], temperature, c)

        return np.mean([one(c) for c in np.flatnonzero(counted)])
    student, teacher = (np.where(keep[..., None] > 0, x, 0.0) for x in (student, teacher))
    q, p = (student, teacher) if on == "features" else (softmax(student), softmax(teacher))
    (p, q), keep = pooled([p[..., counted], q[..., counted]], keep, stride)
    if cosine:
        p, q = (x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-300) for x in (p, q))
    kept = keep > 0
    extra = ()
    if name == "affinity/corr":
        extra = (1 / len(counted) if on == "probs" and counted.all() and not cosine else 0.0,)
    return RELATIONS[name](p[kept], q[kept], keep[kept], temperature, *extra)


def relation_loss(
    student,
    teacher,
    keep,
    name,
    temperature=1.0,
    min_pixels=2,
    *,
    cosine=False,
    stride=1,
    classes="all",
    on="probs",
):
    """Mean over images with enough pixels of the distance between their kept pixels."""
    student, teacher, keep = (np.asarray(a, np.float64) for a in (student, teacher, keep))
    values = []
    for y, z, m in zip(student, teacher, keep, strict=True):
        if np.sum(m > 0) >= max(min_pixels, 1):
            values.append(_relation(y, z, m, name, temperature, cosine, stride, classes, on))
    return np.mean(values) if values else 0.0


def directional_derivative(function, point, direction, step=1e-5):
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
        out[index] = directional_derivative(function, point, direction, step)
    return out
