"""Common code of the benchmark data sets: fixed folders, named splits, split lists."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from ipixmatch_jax.data.datasets.folder import columns, data_root
from ipixmatch_jax.data.datasets.mask_keys import pixels_of
from ipixmatch_jax.data.files.file_records import FileImages, FileScenes
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.data.files.split_lists import read_list, short_id
from ipixmatch_jax.data.records import Splits
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import as_path, join, names_in, walk

_SHOWN = 3


@dataclass(frozen=True)
class Benchmark:
    """The layout of a benchmark on disk.

    Attributes:
        holds: content of its root folder, for messages.
        class_names: in the order of the class ids.
        palette: a color for each class; () to have them generated.
        images: possible paths of an id's image, relative to the root.
        masks: possible paths of its mask; the first that exists is used.
        splits: named split -> its ids, or None if the name is unknown; problems are appended.
        split_names: the names that `splits` knows.
        reader: how masks are read.
    """

    holds: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    images: Callable[[str], Sequence[str]]
    masks: Callable[[str], Sequence[str]]
    splits: Callable[[str, list[str]], list[str] | None]
    split_names: tuple[str, ...]
    reader: Masks


class Tree:
    """The files below a root; every folder is listed once."""

    def __init__(self, root: Path):
        self.root = root
        self._folders: dict[str, frozenset[str]] = {}

    def names(self, folder: str) -> frozenset[str]:
        """The names in a folder; none if it does not exist."""
        if folder not in self._folders:
            self._folders[folder] = frozenset(names_in(join(self.root, folder)))
        return self._folders[folder]

    def first(self, places: Sequence[str]) -> str | None:
        """The first of the paths that exists, or None."""
        for place in places:
            folder, name = os.path.split(place)
            if name in self.names(folder):
                return str(join(self.root, place))
        return None


class _Builder:
    def __init__(self, benchmark: Benchmark, data: ConfigDict, problems: list[str]):
        self.benchmark, self.data, self.problems = benchmark, data, problems
        self.root = data_root(data, benchmark.holds)
        self.tree = Tree(self.root)

    def ids(self, split: str) -> list[str]:
        """The ids of `data.labeled` or another split: a list file or a name."""
        spec = self.data[split]
        if spec.endswith(".txt"):
            entries = read_list(join(self.root, spec), f"data.{split}", self.problems)
            return [short_id(entry.image or entry.id) for entry in entries]
        named = self.benchmark.splits(spec, self.problems)
        if named is None:
            raise ConfigError(
                f"data.{split}={spec!r}; expected a list file (.txt) relative to {self.root}, or "
                f"one of {', '.join(self.benchmark.split_names)}"
            )
        return named

    def rows(self, split: str, ids: list[str], kinds: tuple[str, ...]) -> list[tuple[str, ...]]:
        places = {"image": self.benchmark.images, "mask": self.benchmark.masks}
        rows, missing = [], {kind: [] for kind in kinds}
        for record_id in ids:
            files = [self.tree.first(places[kind](record_id)) for kind in kinds]
            for kind, file in zip(kinds, files, strict=True):
                if file is None:
                    missing[kind].append(record_id)
            if None not in files:
                rows.append((record_id, *files))
        for kind, names in missing.items():
            if names:
                expected = " or ".join(places[kind](names[0]))
                self.problems.append(
                    f"{self.root}: no {kind} for {len(names)} of {len(ids)} ids of data.{split}: "
                    f"{', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}; expected "
                    f"{expected}; set data.root to the folder with {self.benchmark.holds}"
                )
        return rows


def build_benchmark(
    make: Callable[[Path, ConfigDict], Benchmark], data: ConfigDict, problems: list[str]
) -> Splits:
    """The splits of a benchmark; `data.unlabeled='rest'` is its training set less the labeled.

    Args:
        make: (root, `config.data`) -> the benchmark.
        data: `config.data`.
        problems: every problem with lists and files is appended here; the sources leave it out.

    Raises:
        ConfigError: a split that is neither a list nor a name, or another number of classes.
        DataError: the root is missing.
    """
    benchmark = make(as_path(data.root).expanduser(), data)
    if len(benchmark.class_names) != data.num_classes:
        raise ConfigError(
            f"data.num_classes={data.num_classes}; expected {len(benchmark.class_names)} for "
            f"data.name={data.name!r}"
        )
    builder = _Builder(benchmark, data, problems)
    labeled, val = builder.ids("labeled"), builder.ids("val")
    test = builder.ids("test") if data.test else []
    unlabeled: list[str] = []
    if data.unlabeled == "rest":
        taken = {*labeled, *val, *test}
        pool = benchmark.splits(benchmark.split_names[0], problems) or []
        unlabeled = [record_id for record_id in pool if record_id not in taken]
    elif data.unlabeled:
        unlabeled = builder.ids("unlabeled")
    pixels = pixels_of(data)

    def scenes(split: str, ids: list[str]) -> FileScenes:
        rows = builder.rows(split, ids, ("image", "mask"))
        return FileScenes(*columns(rows, 3), pixels, benchmark.reader)

    image_rows = builder.rows("unlabeled", unlabeled, ("image",))
    return Splits(
        labeled=scenes("labeled", labeled),
        unlabeled=FileImages(*columns(image_rows, 2), pixels),
        val=scenes("val", val),
        class_names=benchmark.class_names,
        palette=benchmark.palette,
        test=scenes("test", test),
    )


def ids_in(folder: Path, problems: list[str], *, endings: tuple[str, ...]) -> list[str]:
    """The short ids of all files below a folder with these endings, sorted by path."""
    found = []
    for _, names in walk(folder, endings):
        found += [short_id(name) for name in names if name.endswith(endings)]
    if not found:
        problems.append(f"{folder}: holds no {' or '.join(endings)} file; expected some")
    return found


def first_words(path: Path, key: str, problems: list[str]) -> list[str]:
    """The first word of every line of an official list."""
    entries = read_list(path, key, problems)
    return list(dict.fromkeys(entry.id.split()[0] for entry in entries))
