"""The registry of importers, and the choice of the one that fits a folder."""

from ipixmatch_jax.data.importers.folders import Folders, layout_words
from ipixmatch_jax.data.importers.found import Choices, Found, Importer
from ipixmatch_jax.data.importers.tree import FolderTree, scan
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.registry import Registry

IMPORTERS: Registry[Importer] = Registry("data.folder.format")
# Formats with marks of their own are tried first; plain folders are the last resort.
_SPECIFIC = ()
for _importer in (*_SPECIFIC, Folders()):
    IMPORTERS.register(_importer.name)(_importer)

# Keys of `config.data.folder` that change how a folder is read.
CHOICE_KEYS = (
    "format", "train_images", "train_masks", "val_images", "val_masks", "test_images",
    "test_masks", "mask_tail", "mask_prefix", "unannotated",
)  # fmt: skip
_PLACES = ("train_images", "train_masks", "val_images", "val_masks", "test_images", "test_masks")


def recognize(tree: FolderTree, choices: Choices) -> tuple[Importer, str]:
    """The importer that reads a folder, and the reason.

    Args:
        tree: the folder.
        choices: keys of `config.data.folder` that the user has set; `format` names the importer,
            folders of images or masks choose `folders`.

    Raises:
        DataError: no importer recognises the folder, or several do.
        ConfigError: `format` is unknown.
    """
    if choices.get("format"):
        return IMPORTERS[choices["format"]], "data.folder.format"
    if any(choices.get(key) for key in (*_PLACES, "mask_tail", "mask_prefix")):
        return IMPORTERS["folders"], "the folders that you named"
    claims = [(one, reason) for one in _SPECIFIC if (reason := one.sniff(tree))]
    if len(claims) > 1:
        options = "; ".join(f"data.folder.format={one.name} ({reason})" for one, reason in claims)
        raise DataError(f"{tree.root}: can be read in {len(claims)} ways; set one of: {options}")
    if claims:
        return claims[0]
    folders = IMPORTERS["folders"]
    reason = folders.sniff(tree)
    if not reason:
        raise _unknown(tree)
    return folders, reason


def read_folder(root: AnyPath, choices: Choices) -> tuple[Importer, str, Found]:
    """Recognises and reads a folder.

    Args:
        root: the folder.
        choices: keys of `config.data.folder` that the user has set.

    Returns:
        The importer, the reason why it was chosen, and what it read; counts of hidden files and
        broken links are among the remarks.

    Raises:
        DataError: the folder is not recognised or cannot be read.
        ConfigError: `choices['format']` is unknown.
    """
    tree = scan(root)
    importer, reason = recognize(tree, choices)
    found = importer.read(tree, choices)
    if tree.skipped:
        shown = ", ".join(tree.skipped[:3]) + (", …" if len(tree.skipped) > 3 else "")
        found.notes.append(
            f"{len(tree.skipped)} hidden or helper files and folders skipped: {shown}"
        )
    if tree.broken:
        shown = ", ".join(tree.broken[:3]) + (", …" if len(tree.broken) > 3 else "")
        found.warnings.append(f"{len(tree.broken)} symbolic links lead nowhere: {shown}")
    return importer, reason, found


def _unknown(tree: FolderTree) -> DataError:
    """The error for a folder that no importer recognises: shows its content."""
    kinds: dict[str, int] = {}
    for _, names in tree.below(""):
        for name in names:
            ending = name.rpartition(".")[2].lower() if "." in name else "(no ending)"
            kinds[ending] = kinds.get(ending, 0) + 1
    counts = ", ".join(f"{n} .{kind}" for kind, n in sorted(kinds.items(), key=lambda k: -k[1])[:6])
    tops = sorted({folder.split("/")[0] for folder in tree.files if folder})
    inside = (
        f"folders {', '.join(tops[:8])}{', …' if len(tops) > 8 else ''}" if tops else "no folder"
    )
    return DataError(
        f"{tree.root}: no images with masks recognised; found {counts or 'no file'} in {inside}; "
        f"{layout_words()}; known formats (data.folder.format): {', '.join(IMPORTERS.names())}"
    )
