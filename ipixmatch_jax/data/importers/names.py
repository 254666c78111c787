"""The usual names of folders of images, masks, splits and previews."""

import itertools
import re
import unicodedata
from collections.abc import Iterable

# Words, in lower case. A folder name is split into words at separators and at capital letters.
_IMAGES = frozenset(
    "image images img imgs jpegimages photo photos picture pictures pics rgb input inputs"
    " frames tiles originals original leftimg8bit rgbleft".split()
)
_MASKS = frozenset(
    "mask masks msk label labels lbl annotation annotations annot annots ann gt groundtruth"
    " segmentation segmentations segmentationclass seg segs trimap trimaps target targets"
    " semseg semantic semantics gtfine labelids gts manual manual1 gtleft truth colormap"
    " colormaps".split()
)
_PREVIEWS = frozenset(
    "visualization visualizations visualisation vis viz overlay overlays preview previews"
    " segmentationclassvisualization segmentationobject instances instance panoptic depth"
    " dsm ndsm dem dtm disparity depthleft scribbles polygons thumbnails".split()
)
_COLORS = frozenset("color colour colored coloured colormap colourmap colormask rgb".split())
_SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "validate": "val", "dev": "val", "eval": "val", "evaluation": "val", "holdout": "val",
    "trn": "train", "validierung": "val",
    "vld": "val", "validacion": "val", "validazione": "val",
    "test": "test", "testing": "test", "tst": "test",
    "unlabeled": "unlabeled", "unlabelled": "unlabeled", "unannotated": "unlabeled",
    "unlabel": "unlabeled", "unlab": "unlabeled",
}  # fmt: skip
# Short words, in names that say images or masks as well: imagesTr, labelsTs, DUTS-TE-Image.
_SHORT_SPLITS = {"tr": "train", "ts": "test", "te": "test"}
# Words that lists have beside that of their split: train_list, val_ids, list_test.
_LIST_WORDS = frozenset(
    "list lists id ids set sets split splits file files filename filenames name names path paths"
    " image images img imgs data dataset index fold pair pairs df csv".split()
)
# Words for what was replaced by something newer.
_OLDER = frozenset("old older backup backups bak outdated deprecated obsolete archive archived"
                   " previous before unused trash".split())  # fmt: skip
_NEWER = frozenset("corrected correction corrections fixed fix new newer revised reviewed clean"
                   " cleaned updated update refined edited final improved".split())  # fmt: skip
_BANDS = frozenset("red green blue nir swir".split())
_EDGES = frozenset("edge edges".split())
_LABELED = frozenset("labeled labelled".split())
# Words joined without a separator: trainannot, valmasks.
_JOINED = re.compile(
    r"^(train|training|val|valid|validation|test|testing)(images?|imgs?|annots?|masks?|labels?|gt)$"
)
# CamVid as CVAT exports it: default and defaultannot.
_ANNOT = re.compile(r"^(\w{3,})(annots?)$")
# Words that turn those after them around: no_labels, without_masks.
_NEGATIONS = frozenset("no non not without".split())
# Words that begin a purpose: images_for_segmentation are images, and to_label has no masks.
_PURPOSES = frozenset("to for".split())
_DRAWING = frozenset(
    "label annotate annotated annotating annotation labeled labelled labeling labelling".split()
)
# Roles that only a whole name tells: DRIVE, and CIHP of human parsing.
_WHOLE_NAMES = {
    "1st_manual": "mask", "2nd_manual": "mask", "category_ids": "mask", "human_ids": "preview",
    "instance_ids": "preview",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def words(name: str) -> list[str]:
    """The words of a folder name, lower case: `Training_GroundTruth` gives training, ground, truth.

    Digits that follow a word are dropped (train2017); known compounds stay whole.
    """
    found = []
    for part in re.split(r"[_\-\s.()]+", name):
        lower = part.lower()
        if lower in _IMAGES | _MASKS | _PREVIEWS or lower in _SPLITS:
            found.append(lower)
            continue
        joined = _JOINED.match(lower)
        joined = joined or _ANNOT.match(lower)
        if joined:
            found += joined.groups()
            continue
        found += [word.lower() for word in _WORD.findall(part) if not word.isdigit()]
    return found


def role(name: str) -> str:
    """`image`, `mask`, `preview` or '' for one folder name."""
    if name.lower() in _WHOLE_NAMES:
        return _WHOLE_NAMES[name.lower()]
    parts = words(name)
    negated = _negated(parts)
    if negated is not None:
        parts = parts[:negated]
    purpose = next((i for i, part in enumerate(parts) if i and part in _PURPOSES), None)
    if purpose is not None:
        parts = parts[:purpose]
    if "with" in parts[1:]:
        # frames-with-annotations are images.
        parts = parts[: parts.index("with")]
    if len(parts) > 1 and parts[-1] == "ref" and all(part in _SPLITS for part in parts[:-1]):
        # ACDC: train_ref has photos of the same places in good weather, without masks.
        return "preview"
    if len(parts) > 1 and parts[-1] in ("dataset", "datasets"):
        # The name of a data set: semantic_drone_dataset.
        return ""
    for kind, known in (("preview", _PREVIEWS), ("mask", _MASKS), ("image", _IMAGES)):
        # The last word counts most: label_images are masks, mask_preview is a preview.
        if any(part in known for part in parts):
            return kind
    return ""


def _negated(parts: list[str]) -> int | None:
    """The position from which on a name says that masks are missing, or None."""
    for position, (word, after) in enumerate(itertools.pairwise(parts)):
        if word in _NEGATIONS and after in _MASKS | _DRAWING:
            return position
    purpose = len(parts) == 2 and parts[0] in _PURPOSES and parts[1] in _DRAWING
    return 0 if purpose else None


def is_only_mask(name: str) -> bool:
    """True if the name consists of words for masks and splits only, such as train_masks."""
    return all(word in _MASKS or word in _SPLITS for word in words(name))


def shows_colors(folder: str) -> bool:
    """True if a word of a folder's path says that its masks are in color: color_labels."""
    parts = (part for name in folder.split("/") for part in words(name))
    return any(part.rstrip("s") in _COLORS for part in parts)


def split(name: str) -> str:
    """`train`, `val`, `test`, `unlabeled` or '' for one folder name."""
    parts = words(name)
    if _negated(parts) is not None:
        return "unlabeled"
    found = {own for word in parts if (own := _split_of(word))}
    if any(word in _IMAGES | _MASKS for word in parts):
        found |= {_SHORT_SPLITS[word] for word in parts if word in _SHORT_SPLITS}
    if "unlabeled" in found:
        return "unlabeled"
    return found.pop() if len(found) == 1 else ""


def leading_split(stem: str) -> str:
    """The split that a file name begins with: `test` for test_1, testA_1 and Test 1; or ''."""
    found = _WORD.match(stem)
    word = found.group().lower() if found else ""
    return _SPLITS.get(word, "") if found and len(found.group()) < len(stem) else ""


def split_of_path(folder: str, default: str = "train") -> str:
    """The split that the outermost folder of a path names; `default` if none does."""
    return next((found for part in folder.split("/") if (found := split(part))), default)


def with_split(name: str, split: str) -> str:
    """The id of an image: its name, with the split as a prefix in validation and test."""
    return name if split in ("train", "unlabeled") else f"{split}/{name}"


def is_only_split(name: str) -> bool:
    """True if the name consists of split words only, such as train, val2017 or stage1_train."""
    parts = words(name)
    return bool(parts) and all(map(_split_of, parts))


def _split_of(word: str) -> str:
    """The split of a word such as test, testset or testdata; or ''."""
    bare = re.sub("(?:data)?sets?$|data$", "", word)
    return _SPLITS.get(word) or _SPLITS.get(bare, "")


def split_of_list(stem: str) -> str:
    """The split that the name of a list tells with words for lists alone: train_list; or ''.

    `labeled`, next to `unlabeled`, lists the images to train on (UniMatch).
    """
    parts = words(stem)
    if not _LABELED.isdisjoint(parts) and _LABELED.union(_LIST_WORDS).issuperset(parts):
        return "train"
    known = all(_split_of(word) or word in _LIST_WORDS for word in parts)
    return split(stem) if known else ""


def are_bands(folders: Iterable[str]) -> bool:
    """True if most of several folders have the name of a band of color: train_red, train_nir."""
    found = [not _BANDS.isdisjoint(words(folder.rpartition("/")[2])) for folder in folders]
    return sum(found) > 1 and 2 * sum(found) > len(found)


def shows_edges(folder: str) -> bool:
    """True if a word of a folder's path says that its masks are edges alone: GT_Edge."""
    parts = (part for name in folder.split("/") for part in words(name))
    return any(part in _EDGES for part in parts)


def version(name: str) -> str:
    """`old` for a folder of what was replaced (backup), `new` for corrected, v2 and the like."""
    parts = words(name)
    if not _OLDER.isdisjoint(parts):
        return "old"
    return "new" if not _NEWER.isdisjoint(parts) or re.fullmatch(r"v\d+", name.lower()) else ""


def split_of_array(name: str) -> str:
    """The split that an NPY file lists, by its name: train.npy; or ''."""
    stem, _, ending = name.rpartition(".")
    return split_of_list(stem.lower()) if ending.lower() == "npy" else ""


def folded(name: str) -> str:
    """A name without differences of case and Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)$")
_ROBOFLOW = re.compile(r"(.+)_(?:jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9A-Za-z]+$", re.IGNORECASE)


def without_upload_prefix(name: str) -> str:
    """A file name without the 8 hexadecimal digits that Label Studio gives uploaded files."""
    match = _UPLOADED.match(name)
    return match.group(1) if match else name


def before_roboflow(stem: str) -> str:
    """The name of a photo before Roboflow renamed it to `photo_jpg.rf.HASH`; '' for others."""
    match = _ROBOFLOW.match(stem)
    return match.group(1) if match else ""


# Parts of file names that say that a file is a mask.
MASK_AFFIXES = frozenset(
    "mask masks msk label labels lbl gt seg segmentation annotation annot groundtruth truth target"
    " labelids labeltrainids manual manual1 color_mask trimap semantic semantics semseg".split()
)
# Those that follow a name without a separator, too: photomask.png next to photo.png.
_JOINED_TAIL = re.compile(r"(.+?)(masks?|labels?|gt|seg|annotation)$", re.IGNORECASE)


def joined(stem: str) -> tuple[str, str]:
    """(photo, mask) of photomask; ('', '') of names without such a tail."""
    found = _JOINED_TAIL.match(stem)
    return found.groups() if found else ("", "")
