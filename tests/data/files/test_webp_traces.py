"""Class ids that went through lossy WebP are refused; other masks are not."""

import io

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.files.mask_facts import mask_facts
from ipixmatch_jax.data.files.mask_values import Said, describe_masks
from ipixmatch_jax.data.files.webp_traces import saved_as_webp
from ipixmatch_jax.errors import DataError
from tests.data.files.test_jpeg_traces import (
    drawn,
    save,
    starting_on_blocks,
    stripes,
    tiles_and_shapes,
)


def compressed(mask, quality):
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "WEBP", quality=quality)
    return np.asarray(Image.open(file))[..., 0]


def traces(masks, root):
    return saved_as_webp([mask_facts(path) for path in save(root, masks)], 10**9)


@pytest.mark.parametrize("quality", [30, 60, 75, 80, 90, 95, 100])
def test_ids_from_webp_are_refused(quality, tmp_path):
    clean = [drawn(seed) for seed in range(6)]
    masks = [compressed(mask, quality) for mask in clean]
    assert np.mean([mask != true for mask, true in zip(masks, clean, strict=True)]) > 0.01
    paths = save(tmp_path, masks)
    with pytest.raises(DataError, match=r"m0.png.*0: .*lossy WebP once.*PNG.*data.masks=ids"):
        describe_masks(paths)
    assert describe_masks(paths, Said(style="ids"))["num_classes"] >= 4


def test_two_ids_from_webp_are_refused(tmp_path):
    masks = [compressed(np.minimum(drawn(seed), 1), 95) for seed in range(6)]
    with pytest.raises(DataError, match="lossy WebP once"):
        describe_masks(save(tmp_path, masks))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("draw", [starting_on_blocks, stripes, tiles_and_shapes])
def test_shapes_that_start_on_the_grid_pass(draw, classes, tmp_path):
    assert not traces([draw(seed, classes) for seed in range(8)], tmp_path)


@pytest.mark.parametrize("step", [1, 2, 4, 16])
@pytest.mark.parametrize("kind", ["ellipse", "rectangle"])
def test_masks_that_were_never_compressed_pass(kind, step, tmp_path):
    assert not traces([drawn(seed, kind, step) for seed in range(6)], tmp_path)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_enlarged_masks_pass(size, tmp_path):
    blocks = [np.kron(drawn(seed), np.ones((size, size), np.uint8)) for seed in range(6)]
    assert not traces(blocks, tmp_path)


def test_small_and_even_masks_give_no_evidence(tmp_path):
    assert not traces([np.zeros((200, 200), np.uint8)] * 3, tmp_path)
    assert not traces([compressed(drawn(0), 90)[:16, :200], drawn(1)[:3, :200]], tmp_path)
