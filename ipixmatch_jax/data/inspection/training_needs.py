"""Conditions of a training run that follow from the data: checked before anything is compiled."""

import os
import shutil
from dataclasses import dataclass, field

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.files.file_records import channels_of, equal_files
from ipixmatch_jax.data.records import Dataset, Source
from ipixmatch_jax.data.stratify import class_presence
from ipixmatch_jax.errors import DataError

_SHARED_MEMORY = "/dev/shm"
# Headers read, spread over the labeled images.
_SIZES = 64
# A crop this many times as large as every image is worth a remark.
_MUCH = 1.2
# Pools of more files are not searched for copies.
_LARGEST_COMPARED = 20_000
# More masks are not read to look for absent classes, and no more classes are named.
_MOST_MASKS = 200
_SHOWN = 6
# A worker process holds one batch ready and fills another.
_BATCHES_PER_WORKER = 2


@dataclass
class Needs:
    """What a run lacks.

    Attributes:
        problems: the run would fail, one line each.
        remarks: the run would do something unexpected, one line each.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """Problems first."""
        return [*self.problems, *self.remarks]


def training_needs(config: ConfigDict, dataset: Dataset, *, uses_unlabeled: bool) -> Needs:
    """Compares a data set with the sizes of the batches, the crop and the shared memory.

    Args:
        config: the whole config.
        dataset: the data set; headers of a few images are read.
        uses_unlabeled: whether the method of the config uses unlabeled images.
    """
    needs = Needs()
    labeled, unlabeled = len(dataset.labeled), len(dataset.unlabeled)
    wanted = int(config.unlabeled_batch_size) if uses_unlabeled else 0
    if wanted and not unlabeled:
        way = "put photos without masks next to the labeled ones or in unlabeled/"
        if config.data.labeled and not config.data.unlabeled:
            way = "set data.unlabeled=rest (every image in no other split) or to a list"
        needs.problems.append(
            f"method.name={config.method.name} uses unlabeled images, and there are none; {way}, "
            "or set method.name=supervised"
        )
    elif unlabeled and unlabeled < wanted:
        needs.remarks.append(
            f"{unlabeled} unlabeled images are fewer than unlabeled_batch_size={wanted}: a batch "
            "holds some of them several times; add unlabeled images, or set a smaller batch"
        )
    if 0 < labeled < config.batch_size:
        needs.remarks.append(
            f"{labeled} labeled images are fewer than batch_size={config.batch_size}: a batch "
            f"holds some of them several times; set batch_size={labeled} or smaller, or label more"
        )
    _check_learns(config, needs)
    _check_crop(config.data, dataset.labeled, needs)
    _check_shared_memory(config, dataset, wanted, needs)
    return needs


def check_training_needs(config: ConfigDict, dataset: Dataset, *, uses_unlabeled: bool) -> Needs:
    """`training_needs` at the start of a run.

    Raises:
        DataError: the run would fail.
    """
    needs = training_needs(config, dataset, uses_unlabeled=uses_unlabeled)
    _check_classes(dataset, needs)
    if needs.problems:
        raise DataError("\n".join(needs.problems))
    if uses_unlabeled:
        _check_copies(dataset, needs)
    return needs


def _check_learns(config: ConfigDict, needs: Needs) -> None:
    """Keys at 0 that leave nothing to learn."""
    if config.optimizer.learning_rate == 0:
        needs.remarks.append("optimizer.learning_rate=0: the network stays as it is")
    warmup, total = config.optimizer.warmup_steps, config.total_steps
    if warmup >= total:
        needs.remarks.append(
            f"optimizer.warmup_steps={warmup} are not fewer than total_steps={total}: the learning "
            f"rate only rises, to {min(1.0, total / warmup):.2g} of optimizer.learning_rate; set "
            f"optimizer.warmup_steps={total // 10} or a larger total_steps"
        )
    weights = config.supervised.class_weights
    if len(weights) and not any(weights):
        needs.problems.append(
            "supervised.class_weights are all 0: no label would count; expected one above 0"
        )


def _check_classes(dataset: Dataset, needs: Needs) -> None:
    """A remark on classes that no labeled mask holds; a problem if the masks hold none at all.

    Not looked for in many masks, which would have to be read.
    """
    labeled = dataset.labeled
    if not hasattr(labeled, "mask") or not 0 < len(labeled) <= _MOST_MASKS:
        return
    names = dataset.class_names
    broken: list[str] = []
    present = class_presence(labeled, len(names), broken).any(0)
    if broken:
        return  # training names the file when it meets it
    absent = [name for name, held in zip(names, present, strict=True) if not held]
    if len(absent) == len(names):
        needs.problems.append(
            f"the {len(labeled)} labeled masks hold only ignored pixels (255); expected class ids: "
            "nothing could be learned; see --mode inspect"
        )
    elif absent:
        shown = ", ".join(absent[:_SHOWN]) + (", …" if len(absent) > _SHOWN else "")
        needs.remarks.append(
            f"no labeled mask holds the classes {shown} ({len(absent)} of {len(names)}): they are "
            "not learned, and count in the mIoU where they are predicted or true; label some, or "
            "correct data.num_classes and data.class_names"
        )


def _check_copies(dataset: Dataset, needs: Needs) -> None:
    """A remark if unlabeled files copy the user's validation or test images.

    Not looked for in large pools: training starts on a million files without opening one.
    """
    unlabeled = getattr(dataset.unlabeled, "image_paths", ())
    own = getattr(dataset.labeled, "own", False)
    if not own or not 0 < len(unlabeled) <= _LARGEST_COMPARED:
        return
    for source, what in ((dataset.val, "validation"), (dataset.test, "test")):
        copies = equal_files(getattr(source, "image_paths", ()), unlabeled)
        if copies:
            one, other = copies[0]
            needs.remarks.append(
                f"{len(copies)} unlabeled files are copies of {what} images, such as {other} of "
                f"{one}: training sees these images, if without their masks; remove the copies "
                "unless this is meant"
            )


def _check_crop(data: ConfigDict, source: Source, needs: Needs) -> None:
    """A remark if the crop is larger than every labeled image, scaled as far as it goes."""
    if not hasattr(source, "size") or not len(source):
        return
    picked = np.linspace(0, len(source) - 1, min(_SIZES, len(source))).round().astype(int)
    sizes = []
    for index in picked.tolist():
        try:
            sizes.append(source.size(index))
        except DataError:
            continue
    if not sizes:
        return
    height, width = np.max(sizes, axis=0).tolist()
    most = max(map(float, data.scale_range))
    crop = tuple(map(int, data.crop_size))
    if crop[0] > height * most or crop[1] > width * most:
        needs.remarks.append(
            f"data.crop_size={crop} (height, width) is larger than every labeled image, even "
            f"scaled by {most:g} (largest {height}x{width}): the rest of each crop is padding; set "
            f"data.crop_size=({height},{width}) or smaller"
        )
    elif crop[0] > _MUCH * height and crop[1] > _MUCH * width:
        needs.remarks.append(
            f"data.crop_size={crop} (height, width) is larger than every labeled image (largest "
            f"{height}x{width}): a crop shows an enlarged image or padding; set data.crop_size="
            f"({height},{width}) or smaller"
        )


def _check_shared_memory(config: ConfigDict, dataset: Dataset, wanted: int, needs: Needs) -> None:
    workers = int(config.data.workers)
    if not workers or not os.path.isdir(_SHARED_MEMORY):
        return
    height, width = map(int, config.data.crop_size)
    # Image and valid of all records, the mask of labeled ones; mix is a second unlabeled batch.
    image = height * width * (channels_of(dataset.labeled) + 1)
    batch = config.batch_size * (image + height * width) + 2 * wanted * image
    needed = _BATCHES_PER_WORKER * workers * batch
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if needed > free:
        needs.problems.append(
            f"data.workers={workers} processes pass batches of {batch / 2**20:.0f} MiB through "
            f"{_SHARED_MEMORY}, which has {free / 2**20:.0f} MiB free; {needed / 2**20:.0f} MiB "
            "are needed; enlarge it (docker run --shm-size), or set data.workers=0 and more "
            "data.threads"
        )
