"""A user's folder: its labeled and validation images, and images of every kind."""

import shutil

import numpy as np
import pytest
import tifffile
from ml_collections import ConfigDict
from PIL import Image

from ipixmatch_jax.data import inspect_dataset, load_dataset, read_image, with_statistics
from ipixmatch_jax.data.catalog import assemble
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.files.images import Pixels, image_size
from ipixmatch_jax.data.statistics import measure
from ipixmatch_jax.errors import ConfigError, DataError

COLORS = ((0, 0, 0), (200, 10, 10), (10, 200, 10))


def ids_mask(seed, classes=3, size=(12, 16)):
    return np.random.default_rng(seed).integers(0, classes, size, dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


@pytest.fixture
def photos(tmp_path, make_config):
    """20 images in four formats, 10 of them with a mask, and 5 in unlabeled/."""
    rng = np.random.default_rng(0)
    for number in range(20):
        suffix = ("png", "jpg", "webp", "tiff")[number % 4]
        image = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        save(tmp_path / f"images/p{number:02d}.{suffix}", image)
        if number < 10:
            save(tmp_path / f"masks/p{number:02d}.png", ids_mask(number))
    for number in range(5):
        save(tmp_path / f"unlabeled/deep/x{number}.png", np.full((9, 9, 3), number, np.uint8))
    return tmp_path


def config_of(root, make_config, **changes):
    found = describe_folder(str(root))
    return make_config(labeled="", unlabeled="", val="", **{**found, **changes})


def test_images_with_a_mask_are_labeled_and_others_are_not(photos, make_config):
    config = config_of(photos, make_config)
    assert config.num_classes == 3 and config.channels == 3 and config.masks == "ids"
    dataset = load_dataset(config, 0)
    held = set(dataset.val.ids)
    assert 1 <= len(held) <= 4 and len(dataset.labeled) == 10 - len(held)
    assert held | set(dataset.labeled.ids) == {f"p{n:02d}" for n in range(10)}
    own = [name for name in dataset.unlabeled.ids if not name.startswith("unlabeled/")]
    assert own == [f"p{n:02d}" for n in range(10, 20)]
    assert [n for n in dataset.unlabeled.ids if n not in own] == [
        f"unlabeled/deep/x{n}" for n in range(5)
    ]
    for source in (dataset.labeled, dataset.val, dataset.unlabeled):
        for index in range(len(source)):
            assert source[index]["image"].shape[:2] == source.size(index)
    # Seeds of runs do not move the hold-out; its own seed does.
    assert set(load_dataset(config, 5).val.ids) == held
    others = [
        set(load_dataset(config_of(photos, make_config, folder={
            **describe_folder(str(photos))["folder"], "holdout_seed": seed}), 0).val.ids)
        for seed in range(1, 6)
    ]  # fmt: skip
    assert any(other != held for other in others)


def test_folder_of_validation_images(photos, make_config):
    for kind in ("images", "masks"):
        (photos / "train").mkdir(exist_ok=True)
        (photos / kind).rename(photos / "train" / kind)
    save(photos / "val/images/p00.png", np.full((12, 16, 3), 3, np.uint8))
    save(photos / "val/masks/p00.png", ids_mask(77))
    dataset = load_dataset(config_of(photos, make_config), 0)
    # The same name in another folder is another image.
    assert dataset.val.ids == ("val/p00",) and len(dataset.labeled) == 10


def test_list_of_labeled_and_the_rest(photos, make_config):
    (photos / "labeled.txt").write_text("p00\np03\n")
    (photos / "val.txt").write_text("images/p04.png masks/p04.png\n")
    config = config_of(photos, make_config)
    config.labeled, config.unlabeled, config.val = "labeled.txt", "rest", "val.txt"
    config.folder.val_images, config.folder.val_masks = "images", "masks"
    dataset = load_dataset(config, 0)
    assert dataset.labeled.ids == ("p00", "p03") and dataset.val.ids == ("images/p04",)
    rest = [name for name in dataset.unlabeled.ids if "/" not in name]
    assert rest == [f"p{n:02d}" for n in range(20) if n not in (0, 3, 4)]


def test_lists_of_val_and_test_alone(photos, make_config):
    """Test images are not labeled, no matter if the lists hold ids or file names."""
    (photos / "val.txt").write_text("p04\np05\n")
    (photos / "test.txt").write_text("images/p06.webp masks/p06.png\n")
    config = config_of(photos, make_config)
    config.val, config.test = "val.txt", "test.txt"
    dataset = load_dataset(config, 0)
    assert dataset.labeled.ids == tuple(f"p{n:02d}" for n in (0, 1, 2, 3, 7, 8, 9))
    assert len(dataset.test) == 1 and len(dataset.unlabeled) == 15
    assert {finding.kind for finding in inspect_dataset(config, 0).findings} == {"blank"}
    # Two lists that give one image different names are both wrong.
    (photos / "labeled.txt").write_text("p00\np06\n")
    config.labeled, config.unlabeled = "labeled.txt", "rest"
    with pytest.raises(DataError, match=r"p06\.webp \(labeled\) and .*p06\.webp \(test\)"):
        load_dataset(config, 0)
    errors = [finding.message for finding in inspect_dataset(config, 0).errors]
    assert len(errors) == 1 and "the same image as" in errors[0]


def test_weights_of_pools(photos, make_config):
    found = describe_folder(str(photos))["folder"]
    config = config_of(photos, make_config, folder={**found, "unlabeled_weights": (3.0, 1.0)})
    assert load_dataset(config, 0).unlabeled_pools == ((10, 0.75), (5, 0.25))
    config.folder.unlabeled_weights = (1.0,)
    with pytest.raises(ConfigError, match="unlabeled_weights=.*expected 2 positive"):
        load_dataset(config, 0)


def test_adding_masks_moves_no_training_image_into_validation(tmp_path, make_config):
    rng = np.random.default_rng(3)
    before: set[str] = set()
    for number in range(60):
        save(tmp_path / f"images/{number:02d}.png", rng.integers(0, 256, (6, 6, 3), np.uint8))
        mask = np.zeros((6, 6), np.uint8)
        mask[0] = 1 if number % 10 == 0 else 0
        mask[1] = 2 if number % 2 else 0
        save(tmp_path / f"masks/{number:02d}.png", mask)
        if number < 4:
            continue
        dataset = load_dataset(config_of(tmp_path, make_config, num_classes=3), 0)
        assert not before & set(dataset.val.ids)
        before = set(dataset.labeled.ids)
    assert 6 <= len(dataset.val) <= 20


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_colored_masks(photos, make_config, mode):
    truth = {}
    for number in range(10):
        ids = ids_mask(number)
        truth[f"p{number:02d}"] = ids
        picture = Image.fromarray(np.array(COLORS, np.uint8)[ids])
        if mode == "P":
            # The palette's order is not that of the classes.
            indices = Image.fromarray((2 - ids).astype(np.uint8))
            indices.putpalette([c for color in COLORS[::-1] for c in color])
            picture = indices
        picture.save(photos / f"masks/p{number:02d}.png")
    lines = "".join(f"thing {i} {r} {g} {b}\n" for i, (r, g, b) in enumerate(COLORS))
    (photos / "classes.txt").write_text(lines)
    found = describe_folder(str(photos))
    assert found["class_names"] == ("thing 0", "thing 1", "thing 2")
    assert tuple(found["palette"]) == COLORS
    dataset = load_dataset(config_of(photos, make_config, masks="colors"), 0)
    for index, name in enumerate(dataset.labeled.ids):
        np.testing.assert_array_equal(dataset.labeled[index]["mask"], truth[name])


def test_colors_are_read_from_the_masks_and_unknown_ones_named(photos, make_config):
    for number in range(10):
        save(photos / f"masks/p{number:02d}.png", np.array(COLORS, np.uint8)[ids_mask(number)])
    found = describe_folder(str(photos))
    assert found["masks"] == "colors" and set(found["palette"]) == set(COLORS)
    assert found["palette"][0] == (0, 0, 0) and found["class_names"][0] == "#000000"
    config = config_of(photos, make_config, palette=COLORS)
    stray = np.array(COLORS, np.uint8)[ids_mask(0)]
    stray[0, :4] = (7, 8, 9)
    save(photos / "masks/p00.png", stray)
    with pytest.raises(DataError, match=r"p00\.png: color \(7, 8, 9\) in 2\.1 %.*ignore_colors"):
        load_dataset(config, 0)
    config.ignore_colors = ((7, 8, 9),)
    dataset, _ = assemble(config, 0)
    masks = {s.ids[i]: s[i]["mask"] for s in (dataset.labeled, dataset.val) for i in range(len(s))}
    assert masks["p00"][0, :5].tolist()[:4] == [255] * 4
    config.palette = ()
    with pytest.raises(ConfigError, match="data.palette"):
        load_dataset(config, 0)


def test_palette_of_the_masks_gives_the_colors(photos, make_config):
    for number in range(10):
        mask = Image.fromarray(ids_mask(number))
        mask.putpalette([c for color in COLORS for c in color])
        mask.save(photos / f"masks/p{number:02d}.png")
    dataset = load_dataset(config_of(photos, make_config), 0)
    assert dataset.palette.tolist() == [list(color) for color in COLORS]


def test_binary_masks_of_0_and_255(photos, make_config):
    for number in range(10):
        save(photos / f"masks/p{number:02d}.png", ids_mask(number, 2) * 255)
    config = config_of(photos, make_config)
    assert config.num_classes == 2 and config.class_names == ("background", "foreground")
    dataset = load_dataset(config, 0)
    index = dataset.labeled.ids.index(dataset.labeled.ids[0])
    number = int(dataset.labeled.ids[index][1:])
    np.testing.assert_array_equal(dataset.labeled[index]["mask"], ids_mask(number, 2))


@pytest.mark.parametrize("damage, message", [
    (lambda root: shutil.rmtree(root / "masks"), "no images with masks recognized"),
    (lambda root: [p.rename(p.with_name(f"{3 * chr(97 + n)}.png"))
                   for n, p in enumerate((root / "masks").iterdir())],
     "25 images, such as .*none with a mask.*\n.*10 masks have no image of the same name"),
    (lambda root: (root / "classes.json").write_text("{"), "classes.json: cannot be read"),
])  # fmt: skip
def test_what_describes_nothing(photos, damage, message):
    damage(photos)
    with pytest.raises(DataError, match=message):
        describe_folder(str(photos))


def whole(data):
    return ConfigDict({"data": data, "seed": 0})


def labeled_folder(root, images, write):
    for number, image in enumerate(images):
        (root / "images").mkdir(exist_ok=True, parents=True)
        write(root / "images" / f"{number}", image)
        save(root / f"masks/{number}.png", ids_mask(number, 3, image.shape[:2]))


def write_npy(path, image):
    np.save(path.with_suffix(".npy"), image)


def write_tiff(path, image):
    tifffile.imwrite(
        path.with_suffix(".tif"), image, photometric="minisblack", planarconfig="contig"
    )


def write_planar_tiff(path, image):
    tifffile.imwrite(
        path.with_suffix(".tif"), np.moveaxis(image, -1, 0), photometric="minisblack",
        planarconfig="separate",
    )  # fmt: skip


@pytest.mark.parametrize("write", [write_npy, write_tiff, write_planar_tiff])
def test_multi_band_16_bit(tmp_path, make_config, write):
    rng = np.random.default_rng(0)
    offsets = np.array([100, 2000, 9000, 40000, 500])
    images = [
        (rng.integers(0, 1000, (14, 18, 5)) * (1 + np.arange(5)) + offsets).astype(np.uint16)
        for _ in range(6)
    ]
    labeled_folder(tmp_path, images, write)
    config = config_of(tmp_path, make_config)
    assert config.channels == 5
    unmeasured, _ = assemble(config, 0)
    with pytest.raises(DataError, match="uint16 pixels.*data.statistics=measure"):
        unmeasured.labeled[0]
    config = with_statistics(whole(config)).data
    dataset = load_dataset(config, 0)
    names = dataset.labeled.ids
    stored = np.stack([images[int(name)] for name in names]).astype(np.float64)
    low, high = np.quantile(stored.reshape(-1, 5), (0.001, 0.999), axis=0)
    np.testing.assert_allclose(np.array(config.value_range).T, [low, high], rtol=1e-9)
    expected = ((stored - low) / (high - low)).clip(0, 1) * 255
    read = np.stack([dataset.labeled[i]["image"] for i in range(len(names))])
    assert read.dtype == np.uint8 and np.abs(read - expected).max() <= 0.5 + 1e-6
    # Measured on what the network will see.
    pixels = read.reshape(-1, 5).astype(np.float64) / 255
    np.testing.assert_allclose(config.mean, pixels.mean(0), atol=1e-6)
    np.testing.assert_allclose(config.std, pixels.std(0), atol=1e-6)
    assert dataset.labeled.size(0) == (14, 18)


def test_gray_16_bit_png_and_statistics_of_channels(tmp_path, make_config):
    images = [np.full((8, 8), 1000 * (n + 1), np.uint16) for n in range(5)]
    for image in images:
        image[0] = 60_000
    labeled_folder(tmp_path, images, lambda path, i: Image.fromarray(i).save(f"{path}.png"))
    config = config_of(tmp_path, make_config)
    assert config.channels == 1
    config = with_statistics(whole(config)).data
    image = load_dataset(config, 0).labeled[0]["image"]
    assert image.shape == (8, 8, 1) and image[0].min() == 255 and image[4, 4, 0] < 30


def test_rgb_of_8_bits_needs_no_statistics(photos, make_config):
    config = config_of(photos, make_config)
    assert measure(config, 0) == {} and with_statistics(whole(config)).data is config
    config.statistics = "measure"
    measured = with_statistics(whole(config)).data
    dataset = load_dataset(config, 0)
    pixels = np.concatenate(
        [dataset.labeled[i]["image"].reshape(-1, 3) for i in range(len(dataset.labeled))]
    )
    np.testing.assert_allclose(measured.mean, (pixels / 255.0).mean(0), atol=1e-6)
    assert measured.value_range == () and config.mean == ()
    config.mean, config.std = (0.5,) * 3, (0.2,) * 3
    assert with_statistics(whole(config)).data.mean == (0.5,) * 3


@pytest.mark.parametrize("channels, mode", [(1, "RGB"), (1, "L"), (4, "RGBA"), (4, "RGB"),
                                            (3, "L"), (3, "RGBA")])  # fmt: skip
def test_eight_bit_modes_and_channels(tmp_path, channels, mode):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8))
    picture.convert(mode).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png", pixels=Pixels(channels))
    assert read.shape == (5, 6, channels) and read.dtype == np.uint8
    expected = picture.convert(mode).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    np.testing.assert_array_equal(read.squeeze(), np.asarray(expected))


@pytest.mark.parametrize("array, message", [
    (np.zeros((4, 5, 7), np.uint8), r"7 band\(s\); expected 3; set data.channels=7"),
    (np.zeros((3, 4, 5), np.uint8), "first axis seems to be the bands"),
    (np.zeros((2, 3, 4, 5), np.uint8), r"uint8\[2, 3, 4, 5\]; expected numbers"),
    (np.array([[None]]), "cannot be read"),
    (np.zeros((0, 3), np.uint8), r"uint8\[0, 3, 1\]"),
])  # fmt: skip
def test_arrays_that_are_no_image(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / "a.npy")


def test_values_that_are_not_finite_become_0(tmp_path):
    image = np.full((4, 5, 1), 10.0, np.float32)
    image[0, 0], image[1, 1], image[2, 2] = np.nan, np.inf, -5.0
    np.save(tmp_path / "a.npy", image)
    read = read_image(tmp_path / "a.npy", pixels=Pixels(1, ((0.0, 20.0),)))
    assert read[0, 0, 0] == 0 and read[2, 2, 0] == 0 and read[3, 3, 0] == 128
    assert image_size(tmp_path / "a.npy", "a") == (4, 5)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-7])
    with pytest.raises(DataError, match=r"a\.npy: cannot be read"):
        read_image(tmp_path / "a.npy", pixels=Pixels(1, ((0.0, 20.0),)))


@pytest.mark.parametrize(("others", "channels"), [("RGB", 3), ("L", 1), ("P", 3)])
def test_colors_next_to_deep_gray_stay_colors(tmp_path, others, channels):
    rng = np.random.default_rng(0)
    for number in range(6):
        image = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        if number == 0:
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        save(tmp_path / f"images/p{number}.png", np.asarray(image))
        if number and others != "RGB":
            image.convert(others).save(tmp_path / f"images/p{number}.png")
        save(tmp_path / f"masks/p{number}.png", ids_mask(number))
    assert describe_folder(str(tmp_path))["channels"] == channels
