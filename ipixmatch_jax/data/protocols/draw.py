"""New splits: labeled images drawn from a data set, written as lists."""

import os
from pathlib import Path

from ml_collections import ConfigDict

from ipixmatch_jax.data.catalog import load_dataset
from ipixmatch_jax.data.stratify import class_presence, draw
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import as_path


def make(
    data: ConfigDict, count: int, seed: int, folder: Path, *, stratify: bool = False
) -> list[Path]:
    """Draws `count` labeled images of a data set's labeled ones and writes its lists.

    Args:
        data: `config.data`; images are drawn from its labeled split.
        count: number of images to draw; the others become unlabeled.
        seed: seed of the draw.
        folder: labeled.txt, unlabeled.txt and val.txt are written here.
        stratify: keep every class's share of images.

    Raises:
        DataError: the data set cannot be read, or holds fewer images.
    """
    dataset = load_dataset(data, seed)
    source, problems = dataset.labeled, []
    presence = class_presence(source, dataset.num_classes, problems) if stratify else None
    if problems:
        raise DataError("\n".join(problems[:5]))
    chosen = set(draw(count, len(source), seed, presence).tolist())
    root = str(as_path(data.root).expanduser()) if data.root else None
    labeled = [_line(source, i, root) for i in range(len(source)) if i in chosen]
    rest = [_line(source, i, root) for i in range(len(source)) if i not in chosen]
    known = set(source.ids)
    rest += [
        _line(dataset.unlabeled, i, root)
        for i, name in enumerate(dataset.unlabeled.ids)
        if name not in known
    ]
    lists = {
        "labeled": labeled,
        "unlabeled": rest,
        "val": [_line(dataset.val, i, root) for i in range(len(dataset.val))],
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.txt" for name in lists]
    for path, rows in zip(paths, lists.values(), strict=True):
        path.write_text("".join(f"{row}\n" for row in rows))
    return paths


def _line(source, index: int, root: str | None) -> str:
    """`IMAGE MASK` if the record is in files below the root, else its id."""
    files = source.files(index) if hasattr(source, "files") else ()
    if root is None or len(files) != 2:
        return source.ids[index]
    return " ".join(os.path.relpath(path, root).replace(os.sep, "/") for path in files)
