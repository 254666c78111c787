"""What is doubtful about class names: text of another encoding, and an object as the background."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from ipixmatch_jax.data.files.mask_checks import percent
from ipixmatch_jax.data.importers.coco_names import COCO_NAMES
from ipixmatch_jax.data.inspection.findings import WARNING, Facts, Finding
from ipixmatch_jax.data.records import IGNORE, is_background

# Encodings of two bytes per character, some of whose texts are valid UTF-8.
_CODE_PAGES = ("gb2312", "big5", "euc_kr")
_SHOWN = 4
# Things that are never the ground of a photo; besides those of COCO.
_THINGS = frozenset(
    "nucleus nuclei cell cells tumor tumour lesion polyp crack defect ship boat plane airplane"
    " vehicle pedestrian vessel weed fruit hand face pet animal instrument tool object"
    " foreground".split()
).union(COCO_NAMES)
# Masks that are judged; share of their pixels and of their border that class 0 covers at least, and
# share of the masks in which it covers most of the border.
_LEAST, _COVERED, _ALONG, _MOSTLY = 4, 0.6, 0.75, 0.9


def unreadable_names(names: Sequence[str]) -> list[Finding]:
    """A warning about names that are no text, or text in another encoding."""
    found = {name: reason for name in names if (reason := _doubt(name))}
    if not found:
        return []
    shown = "; ".join(f"{name!r}: {reason}" for name, reason in [*found.items()][:_SHOWN])
    text = (
        f"{len(found)} of {len(names)} class names may be text of another encoding: {shown}; "
        "expected UTF-8; save the file of the class names as UTF-8, or set data.class_names"
    )
    return [Finding(WARNING, "class-names", "", "", text)]


def _doubt(name: str) -> str:
    """Why a name is likely text of another encoding; ''."""
    for page in ("cp1252", "latin-1") if not name.isascii() else ():
        try:
            plain = name.encode(page).decode("utf-8")
        except UnicodeError:
            continue
        return f"{plain!r} as UTF-8 that was read as {page}"
    if any(unicodedata.category(char) in ("Cc", "Cn", "Co", "Cs") or char == "\ufffd"
           for char in name):  # fmt: skip
        return "characters that cannot be printed"
    strange = any(len(_scripts(word)) > 1 for word in re.split(r"[\W\d_]+", name))
    if not strange and not _accents_alone(name):
        return ""
    for page in _CODE_PAGES:
        try:
            text = name.encode().decode(page)
        except UnicodeError:
            continue
        if all(char.isascii() or unicodedata.category(char) == "Lo" for char in text):
            return f"{text!r} in {page}"
    return ""


def _scripts(word: str) -> set[str]:
    """The scripts of the letters beyond ASCII: LATIN, GREEK, CYRILLIC, …"""
    letters = [char for char in word if not char.isascii() and char.isalpha()]
    scripts = {unicodedata.name(char, "?").split()[0] for char in letters}
    # Japanese mixes its scripts.
    return scripts - {"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "MICRO"}


def _accents_alone(name: str) -> bool:
    """True if every letter is a Latin one with an accent, as in hardly any word."""
    letters = [char for char in name if char.isalpha()]
    return len(letters) > 1 and not any(map(str.isascii, letters)) and _scripts(name) == {"LATIN"}


def object_as_ground(names: Sequence[str], facts: Mapping[str, Sequence[Facts]]) -> list[Finding]:
    """A warning if class 0 has no name of a background, and covers what is around the objects.

    It has the name of an object, or another class has that of the background.

    Args:
        names: class names.
        facts: facts per split; records without mask are not judged.
    """
    first = re.split(r"[^a-z ]+", names[0].lower().replace("_", " "))[0].strip() if names else ""
    masks = [fact for own in facts.values() for fact in own if fact.small_mask is not None]
    later = next(filter(is_background, names[1:]), "")
    if len(masks) < _LEAST or not (later or {first, first.removesuffix("s")} & _THINGS):
        return []
    total = np.sum([fact.histogram[:IGNORE] for fact in masks], axis=0)
    share = float(total[0] / max(total.sum(), 1))
    along = np.array([_along_border(fact.small_mask) for fact in masks])
    if share < _COVERED or (along > 0.5).mean() < _MOSTLY or along.mean() < _ALONG:
        return []
    file = masks[0].files[-1]
    fault = (
        f"the class names list {later} further down; expected the name of id 0 first; put {later} "
        "in front of the names"
        if later
        else "the class names do not list one, and each may stand one place too early; expected "
        "the name of id 0 first; put a line `background` in front of the names"
    )
    text = (
        f"{file}, and the other masks: class {names[0]} is id 0 and covers {percent(share)} of the "
        f"pixels and {percent(float(along.mean()))} of the borders of the masks, as a background "
        f"does; {fault}, unless 0 really is {names[0]}"
    )
    return [Finding(WARNING, "class-names", "", file, text)]


def _along_border(mask: np.ndarray) -> float:
    """The share of class 0 in the border of a mask [H,W]."""
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    border = border[border != IGNORE]
    return float((border == 0).mean()) if len(border) else 0.0
