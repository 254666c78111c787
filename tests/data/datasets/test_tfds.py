"""A TFDS data set, prepared here without TensorFlow and read back."""

import io
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import load_dataset, train_batches
from ipixmatch_jax.data.datasets.tfds import shift_classes
from ipixmatch_jax.errors import ConfigError, DataError

# TFDS wants a builder's code in a package.
BUILDER = """
import tensorflow_datasets as tfds

class TinyScenes(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    FILES = ""

    def _info(self):
        features = tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "name": tfds.features.Text(),
        })
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, manager):
        parts = {"train": (0, 8), "validation": (8, 11)}
        return {name: self._generate_examples(*part) for name, part in parts.items()}

    def _generate_examples(self, first, last):
        for number in range(first, last):
            yield number, {
                "image": f"{self.FILES}/{number}.png",
                "segmentation_mask": f"{self.FILES}/{number}_mask.png",
                "name": f"scene {number}",
            }
"""


def scene(number):
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8)
    return image, rng.integers(1, 4, (10 + number, 12), dtype=np.uint8)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The TFDS data directory, prepared in a separate process, as users do."""
    files = tmp_path_factory.mktemp("files")
    for number in range(11):
        image, mask = scene(number)
        Image.fromarray(image).save(files / f"{number}.png")
        colored = Image.fromarray(mask)
        colored.putpalette([(11 * i + 90) % 256 for i in range(768)])
        colored.save(files / f"{number}_mask.png")
    package = tmp_path_factory.mktemp("code") / "tiny_scenes_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "builder.py").write_text(BUILDER)
    data_dir = tmp_path_factory.mktemp("tfds")
    script = f"""
        import sys
        sys.path.insert(0, {str(package.parent)!r})
        from tiny_scenes_package.builder import TinyScenes
        TinyScenes.FILES = {str(files)!r}
        TinyScenes(data_dir={str(data_dir)!r}, file_format="array_record").download_and_prepare()
        assert "tensorflow" not in sys.modules
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return data_dir


@pytest.fixture
def tfds_config(prepared, make_config):
    def make(**changes):
        section = {"dataset": "tiny_scenes", **changes.pop("tfds", {})}
        return make_config(
            **{
                "name": "tfds",
                "root": str(prepared),
                "labeled": "train[:25%]",
                "unlabeled": "train[25%:]",
                "val": "validation",
                "tfds": section,
                **changes,
            }
        )

    return make


def test_round_trip(tfds_config):
    dataset = load_dataset(tfds_config(), 0)
    assert (len(dataset.labeled), len(dataset.unlabeled), len(dataset.val)) == (2, 6, 3)
    for source, first in ((dataset.labeled, 0), (dataset.val, 8)):
        for index in range(len(source)):
            image, mask = scene(first + index)
            record = source[index]
            np.testing.assert_array_equal(record["image"], image)
            np.testing.assert_array_equal(record["mask"], mask)
            assert source.size(index) == mask.shape
    record = dataset.unlabeled[3]
    assert set(record) == {"id", "image"}
    np.testing.assert_array_equal(record["image"], scene(5)[0])
    assert "tensorflow" not in sys.modules


def test_ids(tfds_config):
    dataset = load_dataset(tfds_config(), 0)
    assert dataset.labeled.ids == ("train/000000", "train/000001")
    assert dataset.unlabeled.ids[0] == "train/000002" and dataset.val.ids[0] == "validation/000000"
    dataset = load_dataset(tfds_config(tfds={"id_key": "name"}, labeled="train[:2]+train[5:6]"), 0)
    assert dataset.labeled.ids == ("scene 0", "scene 1", "scene 5")
    np.testing.assert_array_equal(dataset.labeled[2]["image"], scene(5)[0])
    dataset = load_dataset(tfds_config(val="validation[:2]", test="validation[2:]"), 0)
    assert dataset.test.ids == ("validation/000002",) and len(dataset.val) == 2


def test_joined_parts_without_ids(tfds_config):
    dataset = load_dataset(tfds_config(labeled="train[:2]+train[5:6]"), 0)
    assert dataset.labeled.ids == ("train/000000", "train/000001", "train/000005")
    np.testing.assert_array_equal(dataset.labeled[2]["image"], scene(5)[0])


def test_mask_offset(tfds_config):
    dataset = load_dataset(tfds_config(tfds={"mask_offset": -1}, num_classes=3), 0)
    np.testing.assert_array_equal(dataset.labeled[0]["mask"], scene(0)[1] - 1)
    values = np.array([[0, 1, 2, 255]], np.uint8)
    assert shift_classes(values, -1).tolist() == [[255, 0, 1, 255]]
    assert shift_classes(values, 3).tolist() == [[3, 4, 5, 255]]
    assert shift_classes(values, 254).tolist() == [[254, 255, 255, 255]]


def test_feeds_training(tfds_config):
    config = tfds_config()
    batches = train_batches(
        load_dataset(config, 0), config, batch_size=2, unlabeled_batch_size=2, seed=0
    )
    batch = next(batches)
    batches.close()
    assert batch["labeled"]["mask"].shape == (2, 16, 16)
    assert batch["mix"]["image"].shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"tfds": {"dataset": "other"}}, "no prepared TFDS data set 'other'.*download_and_prepare"),
        ({"root": "/nowhere"}, "/nowhere.*no prepared"),
        ({"tfds": {"dataset": "tiny_scenes:2.0.0"}}, "no prepared TFDS data set"),
        ({"tfds": {"mask_key": "label"}}, "mask_key='label'.*image, name, segmentation_mask"),
        ({"tfds": {"image_key": "name"}}, "image_key='name'.*Text.*image, segmentation_mask"),
        ({"tfds": {"id_key": "file"}}, "id_key='file'.*no such feature"),
        ({"labeled": "trian[:3]"}, "data.labeled: split 'trian.*train, validation"),
        ({"val": "train[:"}, "data.val: split"),
        ({"val": ""}, "data.val: empty"),
        ({"labeled": "train[:0]"}, "data.labeled: split"),
        ({"val": "train[1:]"}, "labeled and in the val split: train/000001"),
    ],
)
def test_faults(tfds_config, changes, message):
    with pytest.raises(DataError, match=message):
        load_dataset(tfds_config(**changes), 0)


def test_no_name(tfds_config):
    with pytest.raises(ConfigError, match="data.tfds.dataset is empty"):
        load_dataset(tfds_config(tfds={"dataset": ""}), 0)


def test_mask_value_names_the_record(tfds_config):
    dataset = load_dataset(tfds_config(num_classes=3), 0)
    with pytest.raises(DataError, match="record 'train/000000'.*mask value 3"):
        dataset.labeled[0]


def test_prepared_in_another_format(tfds_config, prepared, tmp_path):
    source = prepared / "tiny_scenes" / "1.0.0"
    target = tmp_path / "tiny_scenes" / "1.0.0"
    target.mkdir(parents=True)
    for path in source.iterdir():
        content = path.read_bytes()
        if path.name == "dataset_info.json":
            content = content.replace(b"array_record", b"tfrecord")
        (target / path.name.replace("array_record", "tfrecord")).write_bytes(content)
    with pytest.raises(DataError, match="file_format='array_record'"):
        load_dataset(tfds_config(root=str(tmp_path)), 0)


def test_mask_bytes_of_unlabeled_are_never_decoded():
    from ipixmatch_jax.data.datasets.tfds import TfdsImages

    stream = io.BytesIO()
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(stream, "PNG")
    records = [{"image": stream.getvalue(), "segmentation_mask": b"broken"}]
    source = TfdsImages(records, ["a"], "image")
    assert source[0]["image"].shape == (3, 4, 3) and source.size(0) == (3, 4)
