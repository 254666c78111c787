"""The images of a run: recorded at its first start, compared at every other one, and kept."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax.config import read_snapshot
from ipixmatch_jax.data import (
    Dataset,
    content_hashes,
    is_eight_bit,
    keep_splits,
    other_classes,
    renamed_classes,
)
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import AnyPath, is_remote
from ipixmatch_jax.workdir.folder import config_path, splits_path
from ipixmatch_jax.workdir.splits import SPLITS, RunSplits, Split, read_splits, split_changes

_SHOWN = 5


def describe_splits(dataset: Dataset) -> dict[str, Split]:
    """The ids of each split, with hashes of the files where that is cheap."""
    described = {}
    for name in SPLITS:
        source = getattr(dataset, name)
        split: dict[str, Any] = {"ids": [str(one) for one in source.ids]}
        content = content_hashes(source)
        described[name] = split if content is None else {**split, "content": content}
    return described


def settle_images(
    dataset: Dataset, workdir: AnyPath, *, begun_at: int | None, accept: bool
) -> tuple[Dataset, RunSplits, list[str]]:
    """The images with which a run starts or goes on; writes nothing.

    Args:
        dataset: the data set that the config describes now.
        workdir: folder of the run.
        begun_at: step of the last checkpoint; None if there is none, so that nothing binds the run.
        accept: `data.changed` is 'accept'.

    Returns:
        The data set to use, what `splits.json` shall hold, and remarks.

    Raises:
        ConfigError: the run had other images, and `accept` is not set; names them.
    """
    found = describe_splits(dataset)
    known = read_splits(workdir) if begun_at is not None else None
    if known is None:
        notes = [] if begun_at is None else [_unrecorded(workdir)]
        return dataset, RunSplits(found, found), notes
    changes = split_changes(known.found, found)
    if not changes:
        kept = keep_splits(dataset, known.known_ids(), train_new=False)
        return kept, known, [f"data change accepted {line}" for line in known.accepted]
    if not accept:
        raise ConfigError(
            f"{workdir} holds a run with other images:\n"
            + "\n".join(f"  - {line}" for line in changes)
            + "\nput the images back; or continue with --config.data.changed=accept: the run keeps "
            "its own validation images, new labeled and unlabeled images train; or use another "
            "--workdir"
        )
    kept = keep_splits(dataset, known.known_ids())
    used = describe_splits(kept)
    retired = [*known.retired, *_missing(known.kept["val"]["ids"], kept.val.ids)]
    line = f"at step {begun_at}: " + "; ".join(changes + _effects(dataset, kept, known))
    accepted = (*known.accepted, line)
    notes = [f"data change accepted {one}" for one in accepted]
    return kept, RunSplits(used, found, tuple(retired), accepted), notes


def _unrecorded(workdir: AnyPath) -> str:
    return (
        f"{splits_path(workdir)} does not exist: an older version began this run. The images of "
        "this start are recorded now; whether the run had the same before is not known"
    )


def _missing(ids: Sequence[str], now: Sequence[str]) -> list[str]:
    there = set(now)
    return [name for name in ids if name not in there]


def _effects(found: Dataset, kept: Dataset, known: RunSplits) -> list[str]:
    """What keeping the run's own splits did to the images that were found."""
    before = {name for split in ("labeled", "val") for name in known.kept[split]["ids"]}
    training, validating = set(kept.labeled.ids), set(kept.val.ids)
    stays = {
        "labeled": [name for name in found.val.ids if name in training & before],
        "val": [name for name in found.labeled.ids if name in validating],
    }
    drawn = [name for name in found.val.ids if name in training - before]
    known_ids = training | before | validating | set(known.retired)
    near = [name for name, _ in found.groups if name not in known_ids]
    told = {*stays["labeled"], *stays["val"], *drawn, *near}
    texts = [text for split, ids in stays.items() for text in _some(f"kept in {split}", ids)]
    for name in SPLITS:
        unused = _missing(getattr(found, name).ids, getattr(kept, name).ids)
        texts += _some(f"not used for {name}", [one for one in unused if one not in told])
    texts += _some("would be held out in a new run and train here", drawn)
    return texts + _some("left out as near-duplicates of validation images", near)


def _some(what: str, ids: Sequence[str]) -> list[str]:
    shown = ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")
    return [f"{len(ids)} {what} ({shown})"] if ids else []


def own_validation(
    dataset: Dataset, config: ConfigDict, workdir: AnyPath, *, own: bool = True
) -> tuple[Dataset, list[str], dict[str, Any]]:
    """A run's data set for evaluating it: with the run's own validation images, if they are there.

    Args:
        dataset: the data set that the config describes now.
        config: its `data` may name another place, or another list of validation images.
        workdir: folder of the run.
        own: false if `dataset.val` was chosen otherwise and stays as it is.

    Returns:
        The data set, remarks, and what belongs in the file of the evaluation.
    """
    known = read_splits(workdir)
    if known is None:
        return dataset, [], {}
    facts = {"data_changed": list(known.accepted)} if known.accepted else {}
    names = known.kept["val"]["ids"]
    there = {*dataset.labeled.ids, *dataset.val.ids}
    notes = []
    if own and _same_val_key(config, workdir) and there.issuperset(names):
        others = len(set(dataset.val.ids) ^ set(names))
        dataset = keep_splits(dataset, known.known_ids())
        if others:
            notes.append(
                f"the data set has changed since training: {others} images are in or out of its "
                f"validation split now; evaluated on the run's own {len(names)} images"
            )
    labeled = known.kept["labeled"]
    stored = any("content" in known.kept[split] for split in ("val", "labeled"))
    contents = content_hashes(dataset.val) if stored else None
    content_of = dict(zip(map(str, dataset.val.ids), contents, strict=True)) if contents else {}
    redrawn = _redrawn(known.kept["val"], content_of)
    if redrawn:
        facts["other_content"] = redrawn
        notes.append(
            f"warning: {len(redrawn)} of the {len(dataset.val)} images or their masks are other "
            f"files than in training ({', '.join(redrawn[:_SHOWN])}); the mIoU is not comparable "
            "with the run's own"
        )
    trained = sorted(set(labeled["ids"]) & set(dataset.val.ids))
    if trained:
        notes.append(
            f"warning: {len(trained)} of the {len(dataset.val.ids)} images have the ids of images "
            f"on which this run trained ({', '.join(trained[:_SHOWN])}); the mIoU flatters"
        )
    copies = _copies(labeled, content_of, trained)
    if copies:
        notes.append(
            f"warning: {len(copies)} of the {len(dataset.val.ids)} images are copies, under other "
            f"names and with equal masks, of images on which this run trained "
            f"({', '.join(copies[:_SHOWN])}); the mIoU flatters"
        )
    if trained or copies:
        facts["trained_on"] = sorted([*trained, *copies])
    return dataset, notes, facts


def folder_remarks(
    config: ConfigDict, workdir: AnyPath, dataset: Dataset, *, own: bool = True
) -> list[str]:
    """Remarks on the classes and images of the folder that a run is evaluated on.

    Args:
        config: its `data.root` may be another folder than the run's.
        workdir: folder of the run.
        dataset: the data set that is evaluated.
        own: false if `dataset.val` is another split.

    Raises:
        DataError: it is another folder than the run's, and numbers the classes otherwise.
    """
    if not config_path(workdir).exists():
        return []
    trained_on = read_snapshot(workdir).get("data", {}).get("root", "")
    if _whole(trained_on) == _whole(config.data.root):
        return renamed_classes(config.data)
    remarks = other_classes(config.data)
    others = len(dataset.labeled)
    if own and dataset.groups and others:
        remarks.append(
            f"{config.data.root}: of {others + len(dataset.val)} images with masks a hold-out "
            f"chooses {len(dataset.val)}, which are evaluated; --split labeled evaluates the other "
            f"{others}"
        )
    if len(config.data.value_range) and is_eight_bit(dataset.val):
        remarks.append(
            f"warning: {config.data.root} has images of 8 bits, and the run was trained on images "
            "of more: the network sees another scale; the mIoU is not comparable with the run's own"
        )
    return remarks


def _whole(root: str) -> str:
    return root if is_remote(root) else os.path.realpath(os.path.expanduser(root))


def _redrawn(before: Split, content_of: Mapping[str, str]) -> list[str]:
    """Ids of images that the run validated on, and whose files have another content now."""
    if "content" not in before:
        return []
    known = dict(zip(before["ids"], before["content"], strict=True))
    return [name for name, content in content_of.items() if known.get(name, content) != content]


def _copies(labeled: Split, content_of: Mapping[str, str], known: Sequence[str]) -> list[str]:
    """Ids, other than those in `known`, whose files are those of images of the labeled split."""
    there = set(labeled.get("content", ()))
    return sorted(
        name for name, content in content_of.items() if content in there and name not in known
    )


def _same_val_key(config: ConfigDict, workdir: AnyPath) -> bool:
    if not config_path(workdir).exists():
        return False
    return read_snapshot(workdir).get("data", {}).get("val", "") == config.data.val
