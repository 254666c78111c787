"""Label Studio's brush labels as files: task-1-annotation-2-by-3-tag-CLASS-0.png, or NPY.

Written for the export "Brush labels to PNG" (NumPy) of Label Studio 1.x. The names give the number
of the task only, so a JSON export (or JSON-MIN) of the same project must lie in the folder, too.
"""

import posixpath
import re
from collections import defaultdict
from urllib.parse import unquote, urlparse

from ipixmatch_jax.data.files.images import IMAGE_SUFFIXES
from ipixmatch_jax.data.importers.annotations import Sheet, collect
from ipixmatch_jax.data.importers.contents import read_json
from ipixmatch_jax.data.importers.drawing import background_first
from ipixmatch_jax.data.importers.found import Choices, Classes, Found, some
from ipixmatch_jax.data.importers.image_index import ImageIndex
from ipixmatch_jax.data.importers.label_studio import LabelStudio
from ipixmatch_jax.data.importers.mask_parts import drawn_parts
from ipixmatch_jax.data.importers.tree import FolderTree
from ipixmatch_jax.errors import DataError

_NAME = re.compile(r"(?:^|/)task-(\d+)-annotation-(\d+)-by-[^/]*-tag-([^/]+)-\d+\.(?:png|npy)$")


class LabelStudioFiles:
    """One file per task and label."""

    name = "label-studio-files"
    source = "Label Studio brush labels (PNG or NumPy, 1.x)"

    def sniff(self, tree: FolderTree) -> str:
        files = _files(tree)
        # The full JSON holds the brush labels themselves.
        if not files or LabelStudio().sniff(tree):
            return ""
        return f"masks named by task and label: {some(list(files), 2)}"

    def read(self, tree: FolderTree, choices: Choices) -> Found:
        files, images = _files(tree), _images_of_tasks(tree)
        if not images:
            raise DataError(
                f"{tree.root}: {next(iter(files))} names the task of its image, not the image; "
                "expected a JSON export of the same Label Studio project next to it; export JSON, "
                "too (it holds the brush labels itself)"
            )
        of_task: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        annotations = defaultdict(set)
        for path, (task, annotation, label) in files.items():
            of_task[task][label].append(tree.path("", path))
            annotations[task].add(annotation)
        several = [task for task, found in annotations.items() if len(found) > 1]
        if several:
            raise DataError(
                f"{tree.root}: tasks with several annotations: {some(several)}; expected one per "
                "task; delete the others in Label Studio"
            )
        names, table = background_first(sorted({label for _, _, label in files.values()}))
        index = ImageIndex(tree)
        sheets, unknown = [], [task for task in of_task if task not in images]
        for task, labels in of_task.items():
            path = index.find(images.get(task, ""))
            if not path:
                continue
            parts = [(table[label], paths) for label, paths in labels.items()]
            mask = drawn_parts(tree.path("", path), parts)
            sheets.append(Sheet("", images[task], None, mask=mask))
        found = collect(tree, sheets, None, choices, Classes(names))
        # Mask files are no unlabeled images.
        found.items = [item for item in found.items if not _NAME.search(item.image)]
        found.notes = [note for note in found.notes if "not in the annotations" not in note]
        lost = [task for task in of_task if task in images and not index.find(images[task])]
        for tasks, reason in ((unknown, "not in the JSON"), (lost, "whose image is not here")):
            if tasks:
                found.warnings.append(f"masks of {len(tasks)} tasks {reason}: {some(tasks)}")
        return found


def _files(tree: FolderTree) -> dict[str, tuple[str, str, str]]:
    """Path -> (task, annotation, label)."""
    matches = {path: _NAME.search(path) for path in tree.with_ending(".png", ".npy")}
    return {path: match.groups() for path, match in matches.items() if match}


def _images_of_tasks(tree: FolderTree) -> dict[str, str]:
    """Number of the task -> file name of its image, from JSON and JSON-MIN."""
    names = {}
    for path in tree.with_ending(".json"):
        try:
            content = read_json(tree.path("", path))
        except DataError:
            continue
        for task in content if isinstance(content, list) else ():
            if not isinstance(task, dict) or "id" not in task:
                continue
            found = _image_name(task.get("data", task))
            if found:
                names[str(task["id"])] = found
    return names


def _image_name(data: dict) -> str:
    for text in data.values() if isinstance(data, dict) else ():
        if not isinstance(text, str):
            continue
        parsed = urlparse(text)
        name = parsed.query.partition("d=")[2] if "d=" in parsed.query else parsed.path
        name = posixpath.basename(unquote(name))
        if name.lower().endswith(IMAGE_SUFFIXES):
            return name
    return ""
