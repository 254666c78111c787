"""Which folders of images an annotation file belongs to, by its own name."""

import os
import re

from ipixmatch_jax.data.importers.places import place_of

# Words in the names of annotation files that name no part of a data set.
_ANNOTATION_WORDS = frozenset(
    "instances instance annotations annotation annots labels label coco via region data json"
    " project export default result results polygons segmentation segmentations".split()
)


def parts_of(source: str, *, several: bool) -> list[str]:
    """Names that may be that of the part of a data set which an annotation file describes: siteA.

    Args:
        source: the annotation file: annotations/siteA.json or annotations/siteA/1.json.
        several: the file describes several images; the name of one that does not is the image's.
    """
    folder, _, name = source.rpartition("/")
    groups = [part for part in place_of(folder).group.split("/") if part]
    if not several:
        return groups
    words = [word for word in re.split(r"[_\-. ]", os.path.splitext(name)[0]) if word]
    while words and words[0].lower() in _ANNOTATION_WORDS:
        words.pop(0)
    while words and words[-1].lower() in _ANNOTATION_WORDS:
        words.pop()
    start = name.find(words[0]) if words else 0
    stem = name[start : name.rfind(words[-1]) + len(words[-1])] if words else ""
    return [*groups, stem] if stem else groups
