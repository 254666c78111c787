"""Masks that are no class ids, or other ids than they seem, are refused with the key to set."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from ipixmatch_jax.data.files.mask_values import Said, describe_masks
from ipixmatch_jax.errors import DataError
from tests.data.files.test_mask_values import check, ids, read_all, refused, save


@pytest.mark.parametrize("values", [(0, 1), (0, 85, 170, 255), (0, 127, 254), (0, 200)])
def test_jpeg_masks_of_other_values_are_refused(values, tmp_path):
    levels = np.array(values, np.uint8)
    masks = [levels[ids(seed, len(values), size=(96, 128))] for seed in range(3)]
    paths = save(tmp_path, masks, ".jpg", quality=90)
    refused(paths, "a JPEG", "data.masks=binary", "0: ")


def test_a_small_class_between_black_and_white_is_no_edge_of_jpeg(tmp_path):
    masks = [ids(seed, 2, size=(96, 128)) * np.uint8(255) for seed in range(3)]
    for mask in masks:
        mask[40:48, 60:64] = 128
    refused(save(tmp_path, masks, ".jpg", quality=90), "a JPEG", "data.masks=binary")


def test_small_ids_are_not_black(tmp_path):
    """0 and 1 saved as JPEG, and ids 0, 1, 2, are not all background."""
    paths = save(tmp_path, [ids(0, 3)])
    with pytest.raises(DataError, match="1: .*2: .*expected background and foreground alone"):
        read_all(paths, Said(style="binary"))
    paths = save(tmp_path, [ids(seed, 2) for seed in range(3)], ".jpg", quality=95)
    with pytest.raises(DataError, match="expected background and foreground alone"):
        read_all(paths, Said(style="binary"))


def test_one_class_alone_is_refused(tmp_path):
    refused(save(tmp_path, [np.full((40, 50), 3, np.uint8)] * 2), "one class (3: 100 %)",
            "data.masks=ids")  # fmt: skip


def test_ids_of_single_pixels_are_named(tmp_path):
    masks = [ids(seed, size=(96, 128)) for seed in range(3)]
    masks[1][5, 5:8] = 7
    paths = save(tmp_path, masks)
    refused(paths, "m1.png: 3 pixels in 1 of 3 masks have the id 7", "data.masks=ids")
    assert describe_masks(paths, Said(style="ids"))["num_classes"] == 8
    masks[1][6, 8] = masks[1][5, 8] = 7
    assert describe_masks(save(tmp_path, masks), Said(names=tuple("abcdefgh")))


def test_gray_photos_are_no_masks(tmp_path):
    photos = [np.random.default_rng(seed).integers(0, 255, (96, 128), np.uint8) for seed in (0, 1)]
    refused(save(tmp_path, photos), "gray photos, and no class ids", "data.folder.train_masks")


def test_255_may_be_the_background(tmp_path):
    masks = [ids(seed) for seed in range(3)]
    for mask in masks:
        mask[mask == 0] = 255
        mask[mask < 255] -= 1
    paths = save(tmp_path, masks)
    refused(paths, "data.masks=ids if it means ignore", "data.mask_values=(255, 0, 1)")
    check(paths, [ids(seed) for seed in range(3)], Said(values=(255, 0, 1)))
    check(paths, masks, Said(style="ids"))


def test_evenly_spaced_ids_next_to_255_are_asked_about(tmp_path):
    masks = [ids(seed) * np.uint8(10) for seed in range(3)]
    masks[0][:3] = 255
    refused(save(tmp_path, masks), "data.mask_values=(0, 10, 20) if 255 means ignore")


@pytest.mark.parametrize("shifted", [(3,), (1, 4, 5)])
def test_ids_that_begin_at_one_in_some_files(shifted, tmp_path):
    masks = [ids(seed, 3) for seed in range(6)]
    paths = save(tmp_path, [m + np.uint8(n in shifted) for n, m in enumerate(masks)])
    refused(paths, "shifted by one", "from 1 to 3", "from 0 to 2", "data.masks=ids")
    assert describe_masks(paths, Said(style="ids"))["num_classes"] == 4
    # A mask without background that goes no higher than the others is none of them.
    full = [np.maximum(m, 1) if n in shifted else m for n, m in enumerate(masks)]
    other = tmp_path / "full"
    other.mkdir()
    assert describe_masks(save(other, full))["num_classes"] == 3


def test_white_objects_next_to_ids_with_thin_ignored_borders(tmp_path):
    masks = [ids(seed, 2) for seed in range(6)]
    for mask in masks:
        mask[0] = 255
    white = [m if n % 3 else (ids(n, 4) > 0) * np.uint8(255) for n, m in enumerate(masks)]
    paths = save(tmp_path, white)
    refused(paths, "0 and 255 alone", "ids with 2.5 % of 255", "data.masks=ids")
    # The same share of 255 in all masks is ignored.
    wide = [m.copy() for m in masks]
    for mask in wide:
        mask[:10] = 255
    wide[0][10:] = 0
    other = tmp_path / "wide"
    other.mkdir()
    assert describe_masks(save(other, wide))["num_classes"] == 2


def test_binary_masks_of_two_depths_name_the_key_that_reads_both(tmp_path):
    masks = [ids(seed, 2) for seed in range(4)]
    deep = [
        m.astype(np.uint16) * 65535 if n % 2 else m * np.uint8(255) for n, m in enumerate(masks)
    ]
    paths = save(tmp_path, deep)
    refused(paths, "expected one style", "set data.masks=binary to read both")
    check(paths, masks, Said(style="binary"))


def test_photos_are_not_called_smoothed_masks(tmp_path):
    """data.masks=binary would turn gray photos into masks of light and shadow."""
    rng = np.random.default_rng(0)
    photos = [rng.integers(40, 220, (64, 80)).astype(np.uint8) for _ in range(3)]
    with pytest.raises(DataError) as error:
        describe_masks(save(tmp_path, photos))
    assert "gray photos" in str(error.value) and "binary" not in str(error.value)
    colored = tmp_path / "colored"
    colored.mkdir()
    shown = [rng.integers(0, 256, (128, 128, 3)).astype(np.uint8) for _ in range(2)]
    refused(save(colored, shown), "photos in place of masks", "train_images and train_masks")


def test_tiff_files_that_agree_only_as_viewers_show_them(tmp_path):
    def write(stored):
        for number, path in enumerate(paths):
            # The object touches the border.
            mask = np.zeros((40, 56), np.uint8)
            mask[: 8 + number, 10 : 30 + number] = 255
            white = bool(number % 2)
            photometric = "miniswhite" if white else "minisblack"
            tifffile.imwrite(path, stored(mask, white), photometric=photometric)

    paths = [str(tmp_path / f"m{number}.tif") for number in range(6)]
    write(lambda mask, white: 255 - mask if white else mask)
    with pytest.raises(DataError, match="m1.tif, and 2 other masks .*WhiteIsZero.*masks=binary"):
        describe_masks(paths)
    # ImageJ stores the object as 255 in both kinds.
    write(lambda mask, white: mask)
    assert describe_masks(paths)["mask_values"] == (0, 255)


def test_bitmaps_with_palettes_of_white_and_black(tmp_path):
    """One bit: a program writes white first, another one black, and viewers show the same."""
    paths = []
    for number in range(6):
        mask = np.zeros((40, 56), np.uint8)
        mask[: 8 + number, 10 : 30 + number] = 1
        picture = Image.fromarray(mask.astype(bool))
        if number % 2:
            picture = Image.fromarray(1 - mask, "P")
            picture.putpalette([255, 255, 255, 0, 0, 0])
        paths.append(str(tmp_path / f"m{number}.png"))
        picture.save(paths[-1], bits=1)
    with pytest.raises(DataError, match="m1.png, and 2 other masks are shown with 0 as white"):
        describe_masks(paths)
    # White first in all files: read as stored.
    assert describe_masks(paths[1::2])["num_classes"] == 2
