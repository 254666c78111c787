"""Segmentation data sets prepared by TFDS, read without TensorFlow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data.files import images, masks
from ipixmatch_jax.data.records import IGNORE, NONE, Record, Splits, UnlabeledRecord
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.keys import Key, Table

OPTIONS: Table = {
    "dataset": Key("", "name in TFDS, with config and version if there are several"),
    "image_key": Key("image", "feature that holds the image"),
    "mask_key": Key("segmentation_mask", "feature that holds the mask"),
    # With a key all records are read at the start.
    "id_key": Key("", "feature that names a record; empty: its position"),
    "mask_offset": Key(
        0, "added to every mask value except 255; results below 0 become 255", least=-255, most=255
    ),
}


class TfdsImages:
    """Images of one split; masks, if present, are never decoded.

    Args:
        records: random access to dicts of features with encoded images.
        ids: the record ids.
        image_key: name of the image feature.
    """

    def __init__(self, records: Sequence[dict[str, Any]], ids: Sequence[str], image_key: str):
        self.ids = tuple(ids)
        self._records = records
        self._image_key = image_key
        self._sizes: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def _name(self, index: int, key: str) -> str:
        return f"record {self.ids[index]!r}, feature {key!r}"

    def size(self, index: int) -> tuple[int, int]:
        if index not in self._sizes:
            encoded = self._records[index][self._image_key]
            name = self._name(index, self._image_key)
            self._sizes[index] = images.image_size(encoded, name)
        return self._sizes[index]

    def _image(self, index: int, features: dict[str, Any]) -> np.ndarray:
        name = self._name(index, self._image_key)
        return images.read_image(features[self._image_key], name)

    def __getitem__(self, index: int) -> UnlabeledRecord:
        return {"id": self.ids[index], "image": self._image(index, self._records[index])}


class TfdsScenes(TfdsImages):
    """Images and masks of one split; every mask is checked as it is read."""

    def __init__(
        self,
        records: Sequence[dict[str, Any]],
        ids: Sequence[str],
        image_key: str,
        *,
        mask_key: str,
        mask_offset: int,
        num_classes: int,
    ):
        super().__init__(records, ids, image_key)
        self._mask_key = mask_key
        self._mask_offset = mask_offset
        self._num_classes = num_classes

    def __getitem__(self, index: int) -> Record:
        features = self._records[index]
        image = self._image(index, features)
        name = self._name(index, self._mask_key)
        mask = masks.read_class_ids(features[self._mask_key], name)
        masks.check_same_size(image.shape[:2], mask.shape, self._name(index, self._image_key), name)
        mask = shift_classes(mask, self._mask_offset)
        masks.check_mask(mask, self._num_classes, name)
        return {"id": self.ids[index], "image": image, "mask": mask}


def shift_classes(mask: np.ndarray, offset: int) -> np.ndarray:
    """Adds `offset` to all values except 255; below 0 becomes 255. uint8 [H,W] to uint8 [H,W]."""
    if offset == 0:
        return mask
    shifted = mask.astype(np.int16) + offset
    return (
        np.where((mask == IGNORE) | (shifted < 0), IGNORE, shifted).clip(0, IGNORE).astype(np.uint8)
    )


def build(data: ConfigDict, seed: int, problems: list[str]) -> Splits:
    """The labeled, unlabeled, validation and test splits of a prepared data set.

    `data.root` is the TFDS data directory ('' for the default one), local or `gs://`; the data set
    is `data.tfds.dataset`, or NAME where `data.name` is `tfds:NAME`; `data.labeled`,
    `data.unlabeled`, `data.val` and `data.test` are TFDS split specifications such as
    'train[:10%]'.

    Args:
        data: `config.data`.
        seed: unused; the splits define which images are labeled.
        problems: unreadable splits are described here and left out.

    Raises:
        ConfigError: `data.tfds.dataset` is empty.
        DataError: the data set is not prepared, or lacks a feature.
    """
    options = data.tfds
    name = data.name.removeprefix("tfds").removeprefix(":") or options.dataset
    builder = _builder(name, data.root)
    mask_features = {
        "mask_key": options.mask_key,
        "mask_offset": int(options.mask_offset),
        "num_classes": int(data.num_classes),
    }
    _check_features(builder, {"image_key": options.image_key, "mask_key": options.mask_key})
    if options.id_key:
        _check_features(builder, {"id_key": options.id_key}, encoded=False)

    def records(split: str) -> tuple[Sequence[dict[str, Any]], list[str]]:
        try:
            return _read_split(builder, data[split], options)
        except DataError as error:
            problems.append(f"data.{split}: {error}")
            return [], []

    def scenes(split: str) -> TfdsScenes:
        return TfdsScenes(*records(split), options.image_key, **mask_features)

    return Splits(
        labeled=scenes("labeled"),
        unlabeled=TfdsImages(*records("unlabeled"), options.image_key) if data.unlabeled else NONE,
        val=scenes("val"),
        test=scenes("test") if data.test else NONE,
    )


def _builder(name: str, root: str) -> Any:
    # Imported here: it takes seconds, and other data sources do not need it.
    import tensorflow_datasets as tfds

    if not name:
        raise ConfigError(
            "data.tfds.dataset is empty; expected the name of a TFDS data set, such as 'cityscapes'"
        )
    data_dir = {"data_dir": directory(root)} if root else {}
    try:
        return tfds.core.read_only_builder.builder_from_files(name, **data_dir)
    except (tfds.core.registered.DatasetNotFoundError, OSError, ValueError):
        where = data_dir.get("data_dir", "the default TFDS directory")
        argument = f", data_dir={data_dir['data_dir']!r}" if data_dir else ""
        raise DataError(
            f"{where}: no prepared TFDS data set {name!r}; expected data.root to be the TFDS data "
            f"directory; prepare it once with tfds.builder({name!r}{argument})"
            ".download_and_prepare(file_format='array_record') (for many data sets this step, and "
            "only this one, needs tensorflow)"
        ) from None


def directory(root: str) -> str:
    """A data directory as TFDS takes it: `~` expanded, URLs such as `gs://…` as they are."""
    return root if "://" in root else str(Path(root).expanduser())


def _check_features(builder: Any, keys: dict[str, str], encoded: bool = True) -> None:
    import tensorflow_datasets as tfds

    features = builder.info.features
    for option, key in keys.items():
        if key not in features:
            raise DataError(
                f"data.tfds.{option}={key!r}: {builder.info.full_name} has no such feature; "
                f"expected one of {', '.join(sorted(features))}"
            )
        if encoded and not isinstance(features[key], tfds.features.Image):
            pictures = [k for k in sorted(features) if isinstance(features[k], tfds.features.Image)]
            raise DataError(
                f"data.tfds.{option}={key!r}: this feature of {builder.info.full_name} is "
                f"{type(features[key]).__name__}; expected an image feature; there "
                f"{'is' if len(pictures) == 1 else 'are'}: {', '.join(pictures) or 'none'}"
            )


def _read_split(
    builder: Any, spec: str, options: ConfigDict
) -> tuple[Sequence[dict[str, Any]], list[str]]:
    """The records of a split, with encoded images, and their ids."""
    import tensorflow_datasets as tfds

    if not spec:
        raise DataError("empty; expected a TFDS split such as 'train[:10%]'")
    # TFDS's own decoding returns palette masks as colors if OpenCV is installed.
    skip = tfds.decode.SkipDecoding()
    keys = {options.image_key, options.mask_key}
    try:
        parts = tfds.core.ReadInstruction.from_spec(spec).to_absolute(builder.info.splits)
        records = builder.as_data_source(split=spec, decoders=dict.fromkeys(keys, skip))
    except NotImplementedError:
        raise DataError(
            f"{builder.data_dir}: prepared as {builder.info.file_format}, which cannot be read at "
            "random; expected array_record; prepare it again with file_format='array_record'"
        ) from None
    except (ValueError, AssertionError, KeyError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(
            f"split {spec!r} of {builder.info.full_name}: {reason}; expected a part of "
            f"{', '.join(sorted(builder.info.splits))}"
        ) from None
    if options.id_key:
        return records, [_text(records[i][options.id_key]) for i in range(len(records))]
    # Positions in the whole split, so that overlapping parts share ids.
    return records, [
        f"{part.splitname}/{position:06d}"
        for part in parts
        for position in _positions(part, builder)
    ]


def _positions(part: Any, builder: Any) -> range:
    total = builder.info.splits[part.splitname].num_examples
    return range(part.from_ or 0, total if part.to is None else part.to)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
