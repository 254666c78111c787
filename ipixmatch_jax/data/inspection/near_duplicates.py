"""Images of different splits that show the same scene: video frames, augmented copies."""

from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.grouping import similar_pairs
from ipixmatch_jax.data.inspection.findings import WARNING, Facts, Finding

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
