"""Tiles belong to their image: in one group of the hold-out, and in one split."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.grouping import group_keys
from ipixmatch_jax.data.tiles import holds, tile_pairs
from tests.data.conftest import ArraySource
from tests.data.test_grouping import noisy, scene


def photo(seed, side=96):
    return noisy(scene(seed, side), seed, 6)


def tiles_of(image, side=48):
    return {
        f"{top}_{left}": image[top : top + side, left : left + side]
        for top in range(0, len(image), side)
        for left in range(0, len(image), side)
    }


@pytest.mark.parametrize(
    "name", ["img_001_0_0", "img_001-tile3", "img_001_x0_y512", "tiles/img_001.crop_2"]
)
def test_a_tile_is_found_by_its_name_and_its_pixels(name):
    images = [photo(1), photo(1)[20:70, 30:80], photo(2)]
    assert tile_pairs(["val/img_001", name, "img_002"], images.__getitem__) == [(0, 1)]
    # Another photo whose name begins with the same letters.
    assert not tile_pairs(["img_001", name], [photo(1), photo(3)[:50, :50]].__getitem__)
    # The next frame of a video, and a name that goes on with a word.
    assert not tile_pairs(["img_001", name], [photo(1), photo(1)].__getitem__)
    assert not tile_pairs(["img_001", "img_001_left"], images.__getitem__)


def test_a_tile_survives_jpeg(tmp_path):
    image = photo(4)
    Image.fromarray(image[13:77, 5:69]).save(tmp_path / "t.jpg", quality=75)
    assert holds(image, np.asarray(Image.open(tmp_path / "t.jpg")))


@pytest.mark.parametrize("place", [(0, 130), (1003, 700), (1020, 1400), (1180, 1950)])
def test_a_tile_of_a_large_image(place):
    image = noisy(scene(5, 2048), 5, 25)[:1240]
    top, left = place
    assert holds(image, image[top : top + 60, left : left + 90])
    assert not holds(image, photo(6, 120)[:60, :90])


def test_tiles_are_held_out_with_their_image():
    images, ids = [], []
    for seed in range(3):
        image = photo(seed)
        images += [image, *tiles_of(image).values()]
        ids += [f"p{seed}", *(f"p{seed}_{place}" for place in tiles_of(image))]
    source = ArraySource(images)
    source.ids = tuple(ids)
    keys, notes = group_keys(source, "auto")
    assert keys == [f"p{n // 5}" for n in range(15)]
    assert "near-duplicates or tiles of others, in 3 groups" in notes[0]


@pytest.mark.parametrize(("image_split", "tile_split"), [
    ("train", "val"), ("val", "train"), ("unlabeled", "val"), ("val", "unlabeled"),
    ("train", "train"),
])  # fmt: skip
def test_inspect_names_images_whose_tiles_are_in_another_split(
    image_split, tile_split, tmp_path, make_config
):
    def put(split, name, image):
        for kind in ("images", "masks")[: 1 if split == "unlabeled" else 2]:
            path = tmp_path / split / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            ids = (image[..., 0] > image[..., 1]).astype(np.uint8)
            Image.fromarray(image if kind == "images" else ids).save(path)

    for split, first in (("train", 10), ("val", 20)):
        for seed in range(first, first + 3):
            put(split, f"q{seed}", photo(seed))
    put(image_split, "img_1", photo(1))
    for place, tile in tiles_of(photo(1)).items():
        put(tile_split, f"img_1_{place}", tile)
    found = describe_folder(str(tmp_path))
    config = make_config(**{"labeled": "", "unlabeled": "", "val": "", **found})
    messages = [f.message for f in inspect_dataset(config, 0).findings if f.kind == "tiles"]
    assert len(messages) == (image_split != tile_split)
    for text in messages:
        assert "img_1.png" in text and "like 3 other" in text and "into one split" in text


def grid(seed, name, side=40):
    """Six tiles of a photo of 80 x 120, without the photo: (name, tile)."""
    rough = np.random.default_rng(seed).integers(0, 256, (17, 25, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(rough).resize((120, 80), Image.Resampling.BICUBIC))
    return [
        (name.format(seed, row, column), image[row * side :, column * side :][:side, :side])
        for row in range(2)
        for column in range(3)
    ]


@pytest.mark.parametrize("name", ["img{}_{}_{}", "p{}_r{}_c{}", "t{}-tile-{}-{}"])
def test_tiles_without_their_image_are_held_out_together(name):
    tiles = [tile for seed in range(4) for tile in grid(seed, name)]
    source = ArraySource([image for _, image in tiles])
    source.ids = tuple(ids for ids, _ in tiles)
    keys, notes = group_keys(source, "auto")
    assert [len(set(keys[n : n + 6])) for n in (0, 6, 12, 18)] == [1, 1, 1, 1]
    assert len(set(keys)) == 4 and "tiles of others, in 4 groups" in notes[0]
    # Frames of videos have such names, too.
    source = ArraySource([photo(seed, 48) for seed in range(24)])
    source.ids = tuple(ids for ids, _ in tiles)
    assert len(set(group_keys(source, "auto")[0])) == 24


def test_inspect_names_tiles_of_one_image_in_two_splits(tmp_path, make_config):
    for seed in range(4):
        for number, (name, tile) in enumerate(grid(seed, "img{}_{}_{}")):
            for kind, content in (("images", tile), ("masks", (tile[..., 0] > 99).astype("u1"))):
                path = tmp_path / ("val" if number == 4 else "train") / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.ascontiguousarray(content)).save(path)
    found = describe_folder(str(tmp_path))
    config = make_config(**{"labeled": "", "unlabeled": "", "val": "", **found})
    (finding,) = [f for f in inspect_dataset(config, 0).findings if f.kind == "tiles"]
    assert "a tile of the same image as" in finding.message and finding.split == "val"
    assert "img0_1_1.png" in finding.message and "like 3 other val images" in finding.message
