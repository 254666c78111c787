"""Class ids that went through JPEG are refused; masks with straight or blocky edges are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ipixmatch_jax.data.files.jpeg_traces import (
    all_on_blocks,
    edge_positions,
    jpeg_ratio,
    on_blocks,
)
from ipixmatch_jax.data.files.mask_values import Said, describe_masks
from ipixmatch_jax.errors import DataError


def drawn(seed, kind="ellipse", step=1, count=25):
    """Shapes of the ids 0..3 at multiples of `step` pixels."""
    rng = np.random.default_rng(seed)
    picture = Image.new("L", (240, 180))
    for number in range(count):
        x, y = rng.integers(0, 200 // step), rng.integers(0, 150 // step)
        width, height = rng.integers(1, max(2, 60 // step), 2)
        box = (x * step, y * step, (x + width) * step - 1, (y + height) * step - 1)
        getattr(ImageDraw.Draw(picture), kind)(tuple(map(int, box)), fill=number % 4)
    return np.asarray(picture)


def compressed(mask, quality):
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def save(root, masks):
    paths = [str(root / f"m{number}.png") for number in range(len(masks))]
    for path, mask in zip(paths, masks, strict=True):
        Image.fromarray(mask).save(path)
    return paths


@pytest.mark.parametrize("quality", [90, 95, 98])
def test_ids_from_jpeg_are_refused(quality, tmp_path):
    masks = [compressed(drawn(seed), quality) for seed in range(6)]
    # The ids are still small numbers: their values do not tell that some pixels are wrong.
    assert max(mask.max() for mask in masks) <= 5
    paths = save(tmp_path, masks)
    with pytest.raises(
        DataError, match=r"m0.png.*0: .*saved as JPEG once.*export .*data.masks=ids"
    ):
        describe_masks(paths)
    assert describe_masks(paths, Said(style="ids"))["num_classes"] >= 4


def test_a_few_compressed_masks_among_others_are_named(tmp_path):
    masks = [drawn(seed) for seed in range(12)]
    for number in (3, 7, 8):
        masks[number] = compressed(masks[number], 90)
    with pytest.raises(DataError, match="m3.png, and 2 other masks .*JPEG"):
        describe_masks(save(tmp_path, masks))


@pytest.mark.parametrize("kind", ["ellipse", "rectangle"])
@pytest.mark.parametrize("step", [1, 4, 16])
def test_masks_that_were_never_compressed_pass(kind, step, tmp_path):
    masks = [drawn(seed, kind, step) for seed in range(6)]
    ratios = [ratio for ratio in map(jpeg_ratio, masks) if ratio is not None]
    assert min(ratios, default=1.0) > 0.55
    assert describe_masks(save(tmp_path, masks))["num_classes"] == 4


@pytest.mark.parametrize("size", [4, 8, 16])
def test_enlarged_masks_pass(size):
    """Pixels enlarged to blocks lie on the grid of JPEG, too."""
    for seed in range(4):
        blocks = np.kron(drawn(seed)[::size, ::size], np.ones((size, size), np.uint8))
        mixed = np.maximum(blocks[:180, :240], drawn(seed + 9, count=6)[: len(blocks)])
        for mask in (blocks, mixed):
            ratio = jpeg_ratio(mask)
            assert ratio is None or ratio > 0.55


def test_small_or_empty_masks_give_no_evidence():
    assert jpeg_ratio(np.zeros((200, 200), np.uint8)) is None
    assert jpeg_ratio(drawn(0)[:20, :20]) is None
    assert jpeg_ratio(drawn(0)[:3, :200]) is None


def from_jpeg(seed, quality, side):
    small = Image.fromarray(drawn(seed)).resize((side, side), Image.Resampling.NEAREST)
    return compressed(np.asarray(small), quality)


@pytest.mark.parametrize("quality, side", [(30, 240), (40, 180), (60, 64), (75, 64), (80, 64)])
def test_strong_compression_and_small_masks_are_told_by_all_edges(quality, side, tmp_path):
    masks = [from_jpeg(seed, quality, side) for seed in range(16)]
    # Each alone has too few uneven blocks for a ratio below the limit, or none at all.
    assert on_blocks(np.sum([edge_positions(mask) for mask in masks], axis=0))
    with pytest.raises(DataError, match=r"m\d.png.*0: .*JPEG.*data.masks=ids"):
        describe_masks(save(tmp_path, masks))


def test_edges_by_their_position_in_blocks():
    ids = np.zeros((16, 24), np.uint8)
    ids[:, 8:] = 1
    ids[3, 20:] = 2
    # One long border between blocks; two rows of 4 pixels, and a column of 1, within them.
    assert edge_positions(ids).tolist() == [0, 0, 1, 2, 0, 0, 0, 1]


def test_few_edges_and_plain_shapes_give_no_evidence():
    few = np.array([0, 0, 0, 0, 0, 0, 0, 150])
    assert not on_blocks(few) and not all_on_blocks(few)
    for seed in range(20):
        assert not on_blocks(edge_positions(drawn(seed, count=60)))
    tiles = sum(edge_positions(drawn(seed, "rectangle", 8)) for seed in range(6))
    assert not on_blocks(tiles) and all_on_blocks(tiles)


def starting_on_blocks(seed, classes=4):
    """Rectangles of any size whose upper left corners lie on the grid of JPEG."""
    rng = np.random.default_rng(seed)
    picture = Image.new("L", (240, 180))
    for number in range(25):
        x, y = (int(8 * rng.integers(0, end)) for end in (28, 20))
        width, height = (int(length) for length in rng.integers(5, 60, 2))
        box = (x, y, x + width, y + height)
        ImageDraw.Draw(picture).rectangle(box, fill=number % classes)
    return np.asarray(picture)


def stripes(seed, classes=4):
    rng = np.random.default_rng(seed)
    ids = np.zeros((180, 240), np.uint8)
    for number in range(20):
        start = 8 * rng.integers(0, 28)
        ids[:, start : start + rng.integers(1, 12)] = number % classes
    return ids


def tiles_and_shapes(seed, classes=4):
    tiles = np.kron(drawn(seed)[::8, ::8], np.ones((8, 8), np.uint8))[:180, :240]
    return np.minimum(np.maximum(tiles, drawn(seed + 9, count=6)), classes - 1)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("draw", [starting_on_blocks, stripes, tiles_and_shapes])
def test_shapes_that_start_on_the_grid_pass(draw, classes, tmp_path):
    masks = [draw(seed, classes) for seed in range(12)]
    # A third of their edges or more lie between blocks: alone, that is no sign of JPEG.
    edges = sum(edge_positions(mask) for mask in masks)
    assert edges[-1] > 0.33 * edges.sum() and max(edges[:-1]) < 0.2 * edges.sum()
    assert describe_masks(save(tmp_path, masks))["num_classes"] == classes


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("quality", [65, 60, 40, 30, 10])
def test_strong_compression_leaves_tiles(quality, classes, tmp_path):
    """In the end every block of 8x8 pixels has one id."""
    masks = [compressed(np.minimum(drawn(seed), classes - 1), quality) for seed in range(8)]
    with pytest.raises(
        DataError, match="saved as JPEG once|of one class|no pixel is of classes|smoothed edges"
    ):
        describe_masks(save(tmp_path, masks))


@pytest.mark.parametrize("step", [16, 24])
def test_larger_tiles_pass(step, tmp_path):
    masks = [drawn(seed, "rectangle", step) for seed in range(8)]
    assert all_on_blocks(sum(map(edge_positions, masks)))
    assert describe_masks(save(tmp_path, masks))["num_classes"] == 4


@pytest.mark.parametrize("quality", [97, 98, 99, 100])
def test_weak_compression_of_rectangles_on_the_grid_leaves_stray_ids(quality, tmp_path):
    masks = [compressed(starting_on_blocks(seed, 2), quality) for seed in range(8)]
    with pytest.raises(DataError, match="have the id 2, never more than 3 in a row"):
        describe_masks(save(tmp_path, masks))


@pytest.mark.parametrize("draw, quality", [
    (starting_on_blocks, 75), (starting_on_blocks, 85), (starting_on_blocks, 95), (drawn, 75),
    (drawn, 85), (drawn, 98),
])  # fmt: skip
def test_two_ids_from_jpeg_are_refused(draw, quality, tmp_path):
    masks = [compressed(np.minimum(draw(seed), 1), quality) for seed in range(12)]
    with pytest.raises(DataError, match="saved as JPEG once"):
        describe_masks(save(tmp_path, masks))
