"""Training steps of FixMatch, UniMatch and UniMatch V2 in PyTorch, written from the papers.

`v` holds a step's views, boxes and channel masks as tensors, images [B,3,H,W].
"""

import torch
from torch.nn import functional as F


def mixed(box, inside, outside):
    """`inside` in the box [B,H,W], for images and maps with channels second."""
    if inside.dim() == 4:
        box = box[:, None]
    return torch.where(box, inside, outside)


def pseudo_loss(logits, labels, valid, threshold):
    """Cross-entropy of confident pixels, divided by the number of valid ones."""
    confidence, label = labels.softmax(1).max(1)
    losses = F.cross_entropy(logits, label, reduction="none")
    return (losses * ((confidence >= threshold) & valid)).sum() / valid.sum()


def supervised_loss(logits, mask):
    return F.cross_entropy(logits, mask, ignore_index=255)


def fixmatch(student, teacher, v, threshold, joint):
    with torch.no_grad():
        teacher.eval()
        own, partner = teacher(v["weak"]), teacher(v["weak_mix"])
    student.train()
    strong = mixed(v["box_0"], v["strong_mix_0"], v["strong_0"])
    if joint:
        labeled, seen = student(torch.cat([v["labeled"], strong])).chunk(2)
    else:
        labeled = student(v["labeled"])
        norms = [m for m in student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 0.0  # strong views do not feed the running statistics
        seen = student(strong)
        for norm in norms:
            norm.momentum = 0.1
    labels = mixed(v["box_0"], partner, own)
    valid = mixed(v["box_0"], v["valid_mix"], v["valid"])
    terms = [pseudo_loss(seen, labels, valid, threshold)]
    supervised = supervised_loss(labeled, v["mask"])
    return supervised, terms, supervised + terms[0]


def unimatch(student, teacher, v, threshold):
    with torch.no_grad():
        student.eval()
        partner = student(v["weak_mix"])
    student.train()
    size = v["labeled"].shape[2:]
    features = student.backbone(torch.cat([v["labeled"], v["weak"]]))
    # Dropout of whole channels, half of them, the others times 2.
    dropped = [f * 2 * kept[:, :, None, None] for f, kept in zip(features, v["kept"], strict=True)]
    both = [torch.cat(pair) for pair in zip(features, dropped, strict=True)]
    labeled, weak, _, perturbed = student.decode(both, size).chunk(4)
    own = weak.detach()
    strong = [mixed(v[f"box_{j}"], v[f"strong_mix_{j}"], v[f"strong_{j}"]) for j in (0, 1)]
    seen = student(torch.cat(strong)).chunk(2)
    terms = []
    for j in (0, 1):
        labels = mixed(v[f"box_{j}"], partner, own)
        valid = mixed(v[f"box_{j}"], v["valid_mix"], v["valid"])
        terms.append(pseudo_loss(seen[j], labels, valid, threshold))
    terms.append(pseudo_loss(perturbed, own, v["valid"], threshold))
    supervised = supervised_loss(labeled, v["mask"])
    total = (supervised + 0.25 * terms[0] + 0.25 * terms[1] + 0.5 * terms[2]) / 2
    return supervised, terms, total


def unimatch_v2(student, teacher, v, threshold):
    with torch.no_grad():
        teacher.eval()
        own = teacher(v["weak"])
    student.train()
    labeled = student(v["labeled"])
    strong = [mixed(v[f"box_{j}"], v[f"strong_{j}"].flip(0), v[f"strong_{j}"]) for j in (0, 1)]
    features = student.backbone(torch.cat(strong))
    scaled = []
    for f, kept in zip(features, v["kept"], strict=True):
        first = torch.where(v["whole"], 1.0, 2 * kept)
        second = torch.where(v["whole"], 1.0, 2 - 2 * kept)
        scaled.append(f * torch.cat([first, second])[:, :, None, None])
    seen = student.decode(scaled, v["labeled"].shape[2:]).chunk(2)
    terms = []
    for j in (0, 1):
        labels = mixed(v[f"box_{j}"], own.flip(0), own)
        valid = mixed(v[f"box_{j}"], v["valid"].flip(0), v["valid"])
        terms.append(pseudo_loss(seen[j], labels, valid, threshold))
    supervised = supervised_loss(labeled, v["mask"])
    return supervised, terms, (supervised + (terms[0] + terms[1]) / 2) / 2
