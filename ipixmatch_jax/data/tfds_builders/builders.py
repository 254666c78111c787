"""One TFDS builder for every data set that this package reads from files."""

import io
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data.catalog import assemble
from ipixmatch_jax.data.datasets.tfds import directory
from ipixmatch_jax.data.records import IGNORE, UnlabeledSource
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.paths import AnyPath, as_path, is_remote

# What stands for the mask of an unlabeled image, which has none.
_NO_MASK = np.full((1, 1), IGNORE, np.uint8)
# Formats that TFDS and every reader of it decode.
_KEPT = (".jpg", ".jpeg", ".png")


class SceneBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes the splits `labeled`, `unlabeled`, `val` and `test` of a data set.

    Features: `image` (the file's own bytes where it is a JPEG or PNG), `segmentation_mask` (PNG of
    class ids, 255 = ignore; one ignored pixel for unlabeled images) and `id`.

    Args:
        data: `config.data` of the data set.
        options: of `tfds.core.GeneratorBasedBuilder`: `data_dir`, ….
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, data: ConfigDict, **options: Any):
        self._dataset, problems = assemble(data, 0)
        if problems:
            raise DataError("\n".join(problems[:5]))
        super().__init__(**{"file_format": "array_record", **options})

    def _info(self) -> tfds.core.DatasetInfo:
        picture = tfds.features.Image(shape=(None, None, 3))
        mask = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        features = {"image": picture, "segmentation_mask": mask, "id": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            # The order of the lists is kept, and ids are not hashed.
            disable_shuffling=True,
        )

    def _split_generators(self, manager: Any) -> dict[str, Iterator]:
        names = ("labeled", "unlabeled", "val", "test")
        sources = {name: getattr(self._dataset, name) for name in names}
        return {name: self._generate_examples(s) for name, s in sources.items() if len(s)}

    def _generate_examples(self, source: UnlabeledSource) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, record_id in enumerate(source.ids):
            mask = source.mask(index) if hasattr(source, "mask") else _NO_MASK
            yield (
                index,
                {
                    "image": _picture(source, index),
                    "segmentation_mask": _png(mask),
                    "id": record_id,
                },
            )


class VocSbd(SceneBuilder):
    """Pascal VOC 2012 with SBD, from `data.name='voc'`."""


class CityscapesTrainIds(SceneBuilder):
    """Cityscapes with the 19 train ids, from `data.name='cityscapes'`."""


class FolderScenes(SceneBuilder):
    """A folder of images and masks, from `data.name='folder'`."""


BUILDERS = {"voc": VocSbd, "cityscapes": CityscapesTrainIds, "folder": FolderScenes}


def _picture(source: UnlabeledSource, index: int) -> bytes:
    path = source.files(index)[0]
    if path.lower().endswith(_KEPT):
        return as_path(path).read_bytes()
    return _png(source[index]["image"])


def _png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def _upload(folder: AnyPath, target: Any) -> None:
    # The description comes last: with it a data set counts as prepared.
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in sorted(paths, key=lambda path: path.name == "dataset_info.json"):
        (target / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())


def prepare(data: ConfigDict, data_dir: str, *, shards: int = 0) -> str:
    """Writes a data set to a TFDS directory.

    Args:
        data: `config.data`; its name is one of `BUILDERS`.
        data_dir: local folder or bucket (`gs://…`), to which a temporary folder is copied: array
            records can be read there, but not be written.
        shards: files of each split, so that the hosts of a pod read different ones; 0 leaves the
            number to TFDS.

    Returns:
        NAME for `data.name='tfds:NAME'`.

    Raises:
        DataError: the data set has problems.
    """
    if is_remote(data_dir):
        with tempfile.TemporaryDirectory() as folder:
            name = prepare(data, folder, shards=shards)
            _upload(pathlib.Path(folder), as_path(data_dir))
        return name
    builder = BUILDERS[data.name](data=data, data_dir=directory(data_dir))
    config = tfds.download.DownloadConfig(num_shards=shards or None)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    return builder.name
