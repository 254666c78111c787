"""Images of different splits that show the same scene: video frames, augmented copies."""

from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.grouping import copies_of, similar_pairs
from ipixmatch_jax.data.inspection.findings import OVERLAPS, WARNING, Facts, Finding

# Comparing takes the square of the number of images; of more, some are compared.
_MOST = 4000
_MEASURED = "the score looks better than on new scenes"
_CHOSEN = "the checkpoint is chosen on scenes of the test"
_CONSEQUENCES = {
    ("labeled", "val"): _MEASURED,
    ("labeled", "test"): _MEASURED,
    ("val", "test"): _CHOSEN,
}


def near_duplicates(
    facts: Mapping[str, Sequence[Facts]],
) -> tuple[list[Finding], frozenset[tuple[str, str]]]:
    """Findings about scenes in two splits, and the pairs of files that show one scene.

    Args:
        facts: facts per split; records without thumbnail are not compared.
    """
    records = [
        (split, record)
        for split, found in facts.items()
        for record in found
        if record.thumbnail is not None
    ]
    records = records[:: max(1, -(-len(records) // _MOST))]
    if len(records) < 2:
        return [], frozenset()
    thumbnails = np.stack([record.thumbnail for _, record in records]).astype(np.float32)
    pairs = set()
    across: dict[tuple[str, str], dict[str, Facts]] = {}
    for one, other in similar_pairs(thumbnails):
        (split, first), (second_split, second) = records[one], records[other]
        pairs.add(tuple(sorted((first.files[0], second.files[0]))))
        # Equal pixels are reported as such.
        if split != second_split and first.image_hash != second.image_hash:
            across.setdefault((split, second_split), {}).setdefault(second.files[0], first)
    return [_finding(splits, found) for splits, found in across.items()], frozenset(pairs)


def unlabeled_copies(
    facts: Mapping[str, Sequence[Facts]], near: Sequence[Finding] = ()
) -> list[Finding]:
    """Findings about unlabeled images that are copies of validation or test images.

    Equal pixels are reported as such.

    Args:
        facts: facts per split.
        near: findings of `near_duplicates`; splits that they name, as those of videos, are left
            out: neighboring frames are as similar as copies, and the finding says what to do.
    """
    told = {finding.split for finding in near}
    free = [fact for fact in facts["unlabeled"] if fact.thumbnail is not None]
    found = []
    for split in sorted({"val", "test"} - told, reverse=True):
        own = [fact for fact in facts[split] if fact.thumbnail is not None][:_MOST]
        if not own or not free:
            continue
        small, others = (
            np.stack([fact.thumbnail for fact in records]).astype(np.float32)
            for records in (own, free)
        )
        copies = {
            other: index
            for index, other in copies_of(small, others)
            if own[index].image_hash != free[other].image_hash
        }
        if copies:
            other = min(copies)
            more = f", like {len(copies) - 1} other unlabeled images" if len(copies) > 1 else ""
            file, twin = free[other].files[0], own[copies[other]].files[0]
            found.append(
                Finding(
                    WARNING, "near-duplicate", "unlabeled", file,
                    f"{file} (unlabeled): a copy of {twin} ({split}){more}, encoded again, resized "
                    f"or turned; {OVERLAPS[frozenset({'unlabeled', split})]}; remove it from the "
                    "unlabeled images",
                    free[other].index,
                )
            )  # fmt: skip
    return found


def _finding(splits: tuple[str, str], found: dict[str, Facts]) -> Finding:
    first, second = splits
    file, twin = next(iter(found.items()))
    more = f", like {len(found) - 1} other {second} images" if len(found) > 1 else ""
    return Finding(
        WARNING,
        "near-duplicate",
        second,
        file,
        f"{file}: shows the same scene as {twin.files[0]} ({first}){more}: "
        "video frames or augmented copies; "
        f"{_CONSEQUENCES.get(splits, _MEASURED)}; put all images of a scene into one split",
    )
