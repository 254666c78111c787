"""`splits.json` of a run: which images it trains and validates on, and what changed later."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.folder import splits_path, write_whole

SPLITS = ("labeled", "unlabeled", "val")
_SHOWN = 5

# {"ids": [...], "content": [a hash per id] if that was cheap}
Split = Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class RunSplits:
    """The images of a run.

    Attributes:
        kept: the images that the run uses, by split.
        found: the images that the config described at the last start, by split. They differ from
            `kept` if the data changed and the change was accepted.
        retired: ids that were validation images once and are gone; they must never train.
        accepted: one line per accepted change.
    """

    kept: Mapping[str, Split]
    found: Mapping[str, Split]
    retired: Sequence[str] = ()
    accepted: Sequence[str] = ()

    def known_ids(self) -> dict[str, Sequence[str]]:
        """Ids by split, and `retired`."""
        return {**{name: self.kept[name]["ids"] for name in SPLITS}, "retired": self.retired}


def read_splits(workdir: AnyPath) -> RunSplits | None:
    """The images of the run in `workdir`; None for runs of older versions.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = splits_path(workdir)
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text())
        kept = {name: _checked(saved[name]) for name in SPLITS}
        found = {name: _checked(saved.get("found", saved)[name]) for name in SPLITS}
        return RunSplits(kept, found, tuple(saved["retired"]), tuple(saved["accepted"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected the ids of the "
            "run's images as training wrote them; put the file back, or use another --workdir"
        ) from None


def _checked(split: Any) -> Split:
    if not all(isinstance(name, str) for name in split["ids"]):
        raise ValueError("an id is no text")
    if len(split.get("content", split["ids"])) != len(split["ids"]):
        raise ValueError("content has another length than ids")
    return split


def write_splits(workdir: AnyPath, splits: RunSplits) -> None:
    """Writes `splits.json`."""
    saved: dict[str, Any] = {name: splits.kept[name] for name in SPLITS}
    if splits.found != splits.kept:
        saved["found"] = {name: splits.found[name] for name in SPLITS}
    saved |= {"retired": list(splits.retired), "accepted": list(splits.accepted)}
    write_whole(splits_path(workdir), json.dumps(saved, indent=1) + "\n")


def split_changes(before: Mapping[str, Split], now: Mapping[str, Split]) -> list[str]:
    """One line per split in which two descriptions of a data set differ, with a few ids."""
    lines = []
    for name in SPLITS:
        parts = list(_parts(before[name], now[name]))
        if parts:
            lines.append(f"{name}: " + ", ".join(parts))
    return lines


def _parts(before: Split, now: Split) -> Iterator[str]:
    old, new = list(before["ids"]), list(now["ids"])
    old_ids, new_ids = set(old), set(new)
    yield from _some("added", [name for name in new if name not in old_ids])
    yield from _some("removed", [name for name in old if name not in new_ids])
    if "content" in before and "content" in now:
        known = dict(zip(old, before["content"], strict=True))
        pairs = zip(new, now["content"], strict=True)
        yield from _some("with other content", [n for n, c in pairs if known.get(n, c) != c])
    if old != new and sorted(old) == sorted(new):
        yield "the same images in another order"


def _some(what: str, ids: Sequence[str]) -> Iterator[str]:
    if ids:
        shown = ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")
        yield f"{len(ids)} {what} ({shown})"
