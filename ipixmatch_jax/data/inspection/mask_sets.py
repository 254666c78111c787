"""What is suspicious about the masks of a split together, though each alone looks right."""

from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.catalog import no_foreground
from ipixmatch_jax.data.files.jpeg_traces import all_on_blocks
from ipixmatch_jax.data.files.mask_checks import histogram_text, percent
from ipixmatch_jax.data.inspection.findings import ERROR, WARNING, Facts, Finding
from ipixmatch_jax.data.records import IGNORE, Dataset

# Masks of class 0 alone: fewest, and share of the masks of a split.
_LEAST_PLAIN, _MOST_PLAIN = 2, 0.2
# Masks of two classes that are exchanged in a split: fewest, and share that agrees in each split.
_LEAST_EXCHANGED, _EXCHANGED = 3, 0.9
# Masks without gaps in their ids: fewest masks, and the least highest id.
_LEAST_RANKED, _HIGHEST_RANKED = 6, 3


def of_classes(
    dataset: Dataset,
    counts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    facts: Mapping[str, Sequence[Facts]],
) -> list[Finding]:
    """Classes without a labeled pixel, and splits whose masks are not class ids.

    Args:
        dataset: the data set, for its class names.
        counts: per split, (pixels per value, images with the value), int64 [256] each.
        facts: facts per split.
    """
    found = []
    for split in ("labeled", "val", "test"):
        pixels, _ = counts[split]
        if not facts[split]:
            continue
        file = facts[split][0].files[-1]
        # Few val or test images may show no foreground by chance.
        chance = split != "labeled" and pixels[IGNORE] < 0.02 * pixels.sum()
        binary = [] if chance else no_foreground(pixels, file)
        found += [Finding(ERROR, "binary-mask", split, file, text) for text in binary]
        if not binary:
            found += _absent(split, dataset.class_names, counts, file)
            found += plain_masks(split, dataset.class_names, facts[split])
    return found + ranked_masks([fact for split in facts.values() for fact in split])


def _absent(
    split: str,
    names: Sequence[str],
    counts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    file: str,
) -> list[Finding]:
    pixels, _ = counts[split]
    absent = [index for index in range(len(names)) if not pixels[index]]
    if not absent:
        return []

    def listed(classes: list[int]) -> str:
        return ", ".join(f"{names[index]} ({index})" for index in classes)

    found = []
    place = f"{file}, and the other {split} masks"
    if split == "labeled":
        other = [one for one in absent if counts["val"][0][one] or counts["test"][0][one]]
        if other:
            images = sum(int(counts[one][1][other].sum()) for one in ("val", "test"))
            found.append(
                Finding(
                    WARNING, "absent-class", split, file,
                    f"{place}: no pixel is of class {listed(other)}, which val or test masks hold "
                    f"({images} times): it cannot be learned, and its IoU will be 0; label some of "
                    "it, or move images to training",
                )
            )  # fmt: skip
        absent = [one for one in absent if one not in other]
        hint = "check data.class_names and the masks"
    else:
        hint = f"its IoU cannot be measured; draw other {split} images if it matters"
    if absent:
        found.append(
            Finding(
                WARNING, "absent-class", split, file,
                f"{place}: no pixel is of class {listed(absent)}; expected some of every class; "
                f"{hint}",
            )
        )  # fmt: skip
    return found


def ranked_masks(facts: Sequence[Facts]) -> list[Finding]:
    """A warning if the ids of each mask run from 0 without a gap, up to several numbers.

    So do masks whose classes a program numbered image by image, and classes that lie in others.
    """
    held = [(set(np.flatnonzero(f.histogram[:IGNORE]).tolist()), f) for f in facts
            if f.histogram is not None]  # fmt: skip
    held = [(ids, fact) for ids, fact in held if ids]
    highest = sorted({max(ids) for ids, _ in held})
    if len(held) < _LEAST_RANKED or len(highest) < 3 or highest[-1] < _HIGHEST_RANKED:
        return []
    if any(len(ids) != max(ids) + 1 for ids, _ in held):
        return []
    file = max(held, key=lambda one: max(one[0]))[1].files[-1]
    text = (
        f"{file}, and the other masks: in each one the ids run from 0 without a gap, up to "
        f"{highest[0]} in some and {highest[-1]} in others; if a program numbered the classes of "
        "each image by itself, the same id means other classes in other masks; compare a few; "
        "nothing is wrong if each class comes only with those before it"
    )
    return [Finding(WARNING, "ranked-masks", "labeled", file, text)]


def plain_masks(split: str, names: Sequence[str], facts: Sequence[Facts]) -> list[Finding]:
    """A warning if many masks hold class 0 alone, as masks that were never drawn do."""
    plain = [f for f in facts if f.histogram is not None and f.histogram[0] == f.histogram.sum()]
    if len(plain) < max(_LEAST_PLAIN, _MOST_PLAIN * len(facts)):
        return []
    file = plain[0].files[-1]
    text = (
        f"{file}, and {len(plain) - 1} other {split} masks of {len(facts)}, hold class {names[0]} "
        "alone; if their images show other classes, draw them, or remove these masks: images "
        "without a mask are unlabeled"
    )
    return [Finding(WARNING, "plain-masks", split, file, text, plain[0].index)]


def exchanged_classes(names: Sequence[str], facts: Mapping[str, Sequence[Facts]]) -> list[Finding]:
    """Warnings if the commoner of two classes is the rarer one in all masks of another split."""
    shares = {
        split: np.array([f.histogram[1] / max(f.histogram[:2].sum(), 1) for f in own])
        for split, own in facts.items() if split != "unlabeled" and len(names) == 2
    }  # fmt: skip
    found = []
    for split in ("val", "test"):
        both = [shares.get("labeled", ()), shares.get(split, ())]
        if min(map(len, both)) < _LEAST_EXCHANGED:
            continue
        means = [float(own.mean()) for own in both]
        sides = [
            np.mean((own > 0.5) == (mean > 0.5)) for own, mean in zip(both, means, strict=True)
        ]
        if min(sides) >= _EXCHANGED and (means[0] - 0.5) * (means[1] - 0.5) < 0:
            text = (
                f"{facts[split][0].files[-1]}, and the other {split} masks: {names[1]} covers "
                f"{percent(means[1])} of their pixels, and {percent(means[0])} of those of the "
                "labeled masks: the classes may be exchanged in one of the splits; expected one "
                "meaning of the values; compare the masks of both splits with their photos, and "
                "invert those of the split that is wrong"
            )
            found.append(Finding(WARNING, "exchanged", split, facts[split][0].files[-1], text))
    return found


def of_edges(facts: Sequence[Facts]) -> list[Finding]:
    """Labeled masks whose edges all lie on a grid of 4x4 or 8x8 pixels."""
    edges = np.sum([fact.edges for fact in facts], axis=0) if facts else np.zeros(8, int)
    if not all_on_blocks(edges, 4):
        return []
    eighth = all_on_blocks(edges, 8)
    histogram = np.sum([fact.histogram for fact in facts], axis=0)
    held = {int(value): int(histogram[value]) for value in np.flatnonzero(histogram)}
    file = facts[0].files[-1]
    return [
        Finding(
            WARNING, "blocks", "labeled", file,
            f"{file}, and the other labeled masks: nearly all edges lie on every "
            f"{'eighth' if eighth else 'fourth'} row or column ({histogram_text(held)}): masks "
            "that were enlarged, drawn in tiles, or saved as "
            f"{'JPEG' if eighth else 'WebP'} with strong compression, which moves edges and loses "
            "small objects; compare them with the photos; if it was compression, export them as "
            "PNG again",
        )
    ]  # fmt: skip
