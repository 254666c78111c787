"""Common mask styles are read correctly, or refused with the key to set."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw, ImageFilter

from ipixmatch_jax.data.files.mask_values import Said, describe_masks
from ipixmatch_jax.data.files.masks import Masks
from ipixmatch_jax.errors import DataError

COLORS = ((0, 0, 0), (255, 0, 0), (0, 0, 255))


def ids(seed, classes=3, size=(40, 56)):
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    for class_id in range(1, classes):
        y, x = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 16)
        mask[y : y + 10, x : x + 14] = class_id
    return mask


def save(root, arrays, ending=".png", **options):
    paths = []
    for number, array in enumerate(arrays):
        picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
        paths.append(str(root / f"m{number}{ending}"))
        picture.save(paths[-1], **options)
    return paths


def reader_of(found):
    colors = None
    if found.get("masks") in ("colors", "nearest"):
        colors = tuple((color, index) for index, color in enumerate(found["palette"]))
    return Masks(
        found["num_classes"],
        colors=colors,
        style=found.get("masks", "ids"),
        values=found.get("mask_values", ()),
    )


def read_all(paths, said=None):
    reader = reader_of(describe_masks(paths, said))
    return [reader.read(path, path) for path in paths]


def check(paths, truth, said=None):
    for read, expected in zip(read_all(paths, said), truth, strict=True):
        np.testing.assert_array_equal(read, expected)


def refused(paths, *parts, said=None):
    with pytest.raises(DataError) as error:
        describe_masks(paths, said)
    for part in parts:
        assert part in str(error.value), str(error.value)


def test_plain_ids_stay_ids(tmp_path):
    masks = [ids(seed) for seed in range(4)]
    masks[0][:2] = 255
    found = describe_masks(save(tmp_path, masks))
    assert found["num_classes"] == 3 and not found.get("mask_values") and "masks" not in found


def test_0_255_and_0_1_in_one_set_are_asked_about(tmp_path):
    truth = [ids(seed, 2) for seed in range(6)]
    paths = save(tmp_path, [mask * (255 if n % 2 else 1) for n, mask in enumerate(truth)])
    refused(paths, "m1.png", "0 and 255 alone", "m0.png", "data.masks=binary", "255: 6.2 %")
    check(paths, truth, Said(style="binary"))


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (0, 128), (0, 127, 254), (0, 60, 120),
                                    (0, 85, 170, 255), (0, 65535)])  # fmt: skip
def test_brightness_is_read_by_its_levels(tmp_path, values):
    truth = [ids(seed, len(values)) for seed in range(5)]
    dtype = np.uint16 if max(values) > 255 else np.uint8
    # A file that lacks the last class does not reach the full brightness.
    truth[1][truth[1] == len(values) - 1] = 0
    check(save(tmp_path, [np.array(values, dtype)[mask] for mask in truth]), truth)


def test_0_128_255_may_mean_two_things(tmp_path):
    truth = [ids(seed) for seed in range(4)]
    paths = save(tmp_path, [np.array((0, 128, 255), np.uint8)[mask] for mask in truth])
    refused(paths, "data.mask_values=(0, 128) if 255 means ignore, or (0, 128, 255)", "128: ")
    check(paths, truth, Said(values=(0, 128, 255)))
    check(paths, truth, Said(names=("a", "b", "c")))
    ignored = [np.where(mask == 2, 255, mask) for mask in truth]
    check(paths, ignored, Said(values=(0, 128)))


def test_files_stretched_one_by_one(tmp_path):
    levels = [(0, 255), (0, 128, 255), (0, 85, 170, 255)]
    masks = [np.array(one, np.uint8)[ids(n, len(one))] for n, one in enumerate(levels)]
    refused(save(tmp_path, masks), "stretched by itself", "85: ")


def test_uneven_brightness_and_sparse_ids_are_asked_about(tmp_path):
    paths = save(tmp_path, [np.array((0, 17, 200), np.uint8)[ids(n)] for n in range(3)])
    refused(paths, "3 values up to 200", "data.mask_values=(0, 17, 200)", "data.masks=ids")
    assert describe_masks(paths, Said(style="ids"))["num_classes"] == 201
    assert describe_masks(paths, Said(num_classes=201))["num_classes"] == 201


def smooth(mask):
    small = Image.fromarray(mask * np.uint8(255))
    return small.resize((90, 66), Image.Resampling.BILINEAR)


def test_smoothed_gray_edges(tmp_path):
    paths = save(tmp_path, [smooth(ids(seed, 2)) for seed in range(4)])
    refused(paths, "smoothed edges", "data.masks=binary", "0: ")
    for read, seed in zip(read_all(paths, Said(style="binary")), range(4), strict=True):
        assert set(np.unique(read)) == {0, 1}
        assert abs(read.mean() - ids(seed, 2).mean()) < 0.01


def test_antialiased_circles(tmp_path):
    masks = []
    for seed in range(3):
        big = Image.new("L", (400, 400))
        ImageDraw.Draw(big).ellipse((60 + 9 * seed, 70, 300, 290), fill=255)
        masks.append(big.resize((100, 100), Image.Resampling.LANCZOS))
    refused(save(tmp_path, masks), "smoothed edges")


def test_jpeg_masks(tmp_path):
    truth = [ids(seed, 2) for seed in range(3)]
    paths = save(tmp_path, [mask * np.uint8(255) for mask in truth], ".jpg", quality=90)
    assert describe_masks(paths)["masks"] == "binary"
    for said in (None, Said(style="binary")):
        for read, mask in zip(read_all(paths, said), truth, strict=True):
            assert (read != mask).mean() < 0.01


def test_jpeg_renamed_to_png_is_smoothed(tmp_path):
    paths = save(tmp_path, [ids(0, 2) * np.uint8(255)], ".jpg", quality=60)
    png = save(tmp_path, [Image.open(paths[0]).convert("L")])
    refused(png, "smoothed edges")


def test_lossy_webp(tmp_path):
    truth = [ids(seed, 2) for seed in range(2)]
    pictures = [Image.fromarray(mask * np.uint8(127)).convert("RGB") for mask in truth]
    refused(save(tmp_path, pictures, ".webp", quality=80), "WebP")
    pictures = [Image.fromarray(mask * np.uint8(255)).convert("RGB") for mask in truth]
    for read, mask in zip(read_all(save(tmp_path, pictures, ".webp", quality=80)), truth,
                          strict=True):  # fmt: skip
        assert (read != mask).mean() < 0.01
    check(save(tmp_path, [Image.fromarray(m).convert("RGB") for m in truth], ".webp",
               lossless=True, exact=True), truth)  # fmt: skip


@pytest.mark.parametrize("smoothing", ["blur", "jpeg"])
def test_blurred_colors_need_nearest(tmp_path, smoothing):
    truth = [ids(seed, size=(120, 160)) for seed in range(2)]
    pictures = [Image.fromarray(np.array(COLORS, np.uint8)[mask]) for mask in truth]
    if smoothing == "jpeg":
        paths = save(tmp_path, pictures, ".jpg", quality=92, subsampling=0)
    else:
        paths = save(tmp_path, [p.filter(ImageFilter.GaussianBlur(1)) for p in pictures])
    refused(paths, "colors", "data.masks=nearest", "(0, 0, 0): ")
    read = read_all(paths, Said(style="nearest", palette=COLORS))
    for mask, expected in zip(read, truth, strict=True):
        known = mask != 255
        assert known.mean() > 0.9 and (mask[known] == expected[known]).all()
    with pytest.raises(DataError, match="data.masks=nearest"):
        read_all(paths, Said(palette=COLORS))


def with_palette(mask, colors):
    picture = Image.fromarray(mask)
    picture.putpalette([channel for color in colors for channel in color])
    return picture


def test_palettes_in_another_order_are_read_by_color(tmp_path):
    truth, pictures = [ids(seed) for seed in range(4)], []
    for number, mask in enumerate(truth):
        swap = number % 2
        stored = np.array((0, 2, 1) if swap else (0, 1, 2), np.uint8)[mask]
        colors = (COLORS[0], COLORS[2], COLORS[1]) if swap else COLORS
        pictures.append(with_palette(stored, colors))
    paths = save(tmp_path, pictures)
    # Without class names, colors are sorted: black, blue, red.
    check(paths, [np.array((0, 2, 1))[mask] for mask in truth])
    check(paths, truth, Said(names=("none", "cat", "dog"), palette=COLORS))
    refused(paths, "3 class names without colors", said=Said(names=("none", "cat", "dog")))
    # A later file in another order, such as one of validation, is refused by name.
    reader = Masks(3, palette=COLORS)
    reader.read(paths[0], "m0")
    with pytest.raises(DataError, match=r"m1: mask value 1 shows \(0, 0, 255\).*class 2"):
        reader.read(paths[1], "m1")


def test_palettes_with_other_colors_are_asked_about(tmp_path):
    truth = ids(0, 2)
    paths = save(tmp_path, [with_palette(truth, COLORS[:2]), with_palette(truth, COLORS[::2])])
    refused(paths, "value 1 shows", "data.masks='colors'", "data.masks=ids")
    check(paths, [truth] * 2, Said(style="ids"))


def test_equal_palettes_are_ids_and_give_colors(tmp_path):
    truth = [ids(seed) for seed in range(3)]
    paths = save(tmp_path, [with_palette(mask, COLORS) for mask in truth])
    assert describe_masks(paths)["palette"] == COLORS
    check(paths, truth)


def test_names_without_colors_are_not_handed_out(tmp_path):
    paths = save(tmp_path, [np.array(COLORS, np.uint8)[ids(0)]])
    refused(paths, "(255, 0, 0): ", "NAME RED GREEN BLUE", said=Said(names=("none", "cat", "dog")))


def test_three_equal_channels_with_255(tmp_path):
    truth = [ids(seed) for seed in range(3)]
    for mask in truth:
        mask[0] = 255
    check(save(tmp_path, [np.repeat(mask[..., None], 3, -1) for mask in truth]), truth)
    check(save(tmp_path, [Image.fromarray(m).convert("RGBA") for m in truth]), truth)
    deep = np.repeat(truth[0][..., None], 3, -1)
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb")
    check([str(tmp_path / "a.tif")], truth[:1])


def test_a_gray_mask_in_a_colored_set(tmp_path):
    colored = np.array(COLORS, np.uint8)[ids(0)]
    black = np.zeros_like(colored)
    assert describe_masks(save(tmp_path, [colored, black]))["palette"] == (
        (0, 0, 0), (0, 0, 255), (255, 0, 0)
    )  # fmt: skip
    refused(save(tmp_path, [colored, ids(1)]), "one style in all", "m1.png")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_low_bit_gray_png_keeps_its_integers(tmp_path, bits):
    truth = ids(0, 2 if bits == 1 else 4)
    paths = [str(tmp_path / "m.png")]
    write_gray_png(paths[0], truth, bits)
    check(paths, [truth])


def write_gray_png(path, mask, bits):
    """A gray PNG of `bits` per sample, chunk by chunk: Pillow writes none of 2 and 4 bits."""
    rows = b""
    for row in mask:
        together = np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()
        rows += b"\0" + np.packbits(together).tobytes()

    write_png(path, mask.shape, bits, 0, rows)


def write_png(path, size, bits, kind, rows):
    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", size[1], size[0], bits, kind, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack"])
@pytest.mark.parametrize("dtype", [np.uint8, bool, np.uint16])
def test_tiff_photometric_does_not_invert(tmp_path, photometric, dtype):
    truth = ids(0, 2 if dtype is bool else 3)
    path = str(tmp_path / "m.tif")
    tifffile.imwrite(path, truth.astype(dtype), photometric=photometric)
    check([path], [truth])


def test_pages_of_a_tiff(tmp_path):
    path = str(tmp_path / "m.tif")
    tifffile.imwrite(path, np.stack([ids(0), ids(1)]), photometric="minisblack")
    refused([path], "m.tif", "2 pages", "one page")


def test_overviews_are_no_pages(tmp_path):
    path = str(tmp_path / "m.tif")
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(ids(0), photometric="minisblack", subifds=0)
        tiff.write(ids(0)[::2, ::2], photometric="minisblack", subfiletype=1)
    check([path], [ids(0)])


def test_alpha_only_masks(tmp_path):
    truth = [ids(seed, 2) for seed in range(3)]
    pictures = []
    for mask in truth:
        rgba = np.full((*mask.shape, 4), 40, np.uint8)
        rgba[..., 3] = mask * 255
        pictures.append(rgba)
    paths = save(tmp_path, pictures)
    found = describe_masks(paths)
    assert found["masks"] == "alpha" and found["class_names"] == ("background", "foreground")
    check(paths, truth)
    with pytest.raises(DataError, match="transparency.*data.masks=alpha"):
        Masks(2).read(paths[0], "m")


@pytest.mark.parametrize("dtype, nodata", [(np.int16, -1), (np.int32, -9999), (np.uint16, 65535),
                                           (np.float32, np.nan)])  # fmt: skip
def test_no_data_is_ignored(tmp_path, dtype, nodata):
    truth = [ids(seed) for seed in range(2)]
    paths = []
    for number, mask in enumerate(truth):
        stored = mask.astype(dtype)
        stored[:3], mask[:3] = nodata, 255
        for ending, write in ((".npy", np.save), (".tif", tifffile.imwrite)):
            paths.append(str(tmp_path / f"m{number}{ending}"))
            write(paths[-1], stored)
    check(paths, [truth[0]] * 2 + [truth[1]] * 2)


def test_the_no_data_tag_of_gdal(tmp_path):
    truth = ids(0)
    stored = truth.copy()
    stored[:3], truth[:3] = 99, 255
    path = str(tmp_path / "m.tif")
    tifffile.imwrite(path, stored, extratags=[(42113, "s", 0, "99", True)])
    check([path], [truth])


def test_numbers_that_are_no_ids(tmp_path):
    path = str(tmp_path / "m.npy")
    np.save(path, ids(0).astype(np.float32))
    check([path], [ids(0)])
    np.save(path, np.random.default_rng(0).random((8, 8)))
    refused([path], "m.npy", "not whole numbers")
    both = ids(0).astype(np.int32)
    both[0], both[1] = -1, -2
    np.save(path, both)
    refused([path], "-2, -1", "at most one negative")
    np.save(path, np.arange(1000).reshape(20, 50) * 37)
    refused([path], "m.npy", "data.mask_values")


def test_no_foreground_is_an_error(tmp_path):
    refused(save(tmp_path, [np.zeros((9, 9), np.uint8)] * 2), "no pixel is of classes 1..254")
    refused(save(tmp_path, [np.full((9, 9), 255, np.uint8)] * 2), "no pixel is of classes 1..254")


def test_classes_of_every_split_count(tmp_path):
    paths = save(tmp_path, [ids(0, 3), ids(1, 5)])
    assert describe_masks(paths)["num_classes"] == 5


def test_many_thin_classes_are_not_smoothing(tmp_path):
    """Ids of a street scene: common classes, and rare ones in small blobs."""
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(3):
        mask = np.repeat(np.arange(4, dtype=np.uint8) * 6, 40)[:, None].repeat(200, 1)
        for class_id in range(1, 18):
            y, x = rng.integers(0, 150), rng.integers(0, 190)
            mask[y : y + 6, x : x + 5] = class_id
        masks.append(mask)
    assert describe_masks(save(tmp_path, masks))["num_classes"] == 19


def deep_colors(path, colors):
    """A 16-bit RGB PNG, chunk by chunk."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colors)
    write_png(path, colors.shape[:2], 16, 2, rows)


def test_16_bit_colors(tmp_path):
    truth = ids(0)
    colors = np.array(COLORS, np.uint16)[truth] * 257
    deep_colors(tmp_path / "m.png", colors)
    check([str(tmp_path / "m.png")], [np.array((0, 2, 1))[truth]])
    deep_colors(tmp_path / "m.png", np.repeat(truth[..., None], 3, -1).astype(np.uint16))
    check([str(tmp_path / "m.png")], [truth])
    colors[0, 0] = 65534
    deep_colors(tmp_path / "m.png", colors)
    refused([str(tmp_path / "m.png")], "16-bit colors")


@pytest.mark.parametrize("values", [(0, 255), (255, 3), (3, 300)])
def test_ignored_values_next_to_any_class_value(tmp_path, values):
    """255 may be a class, and a class may have a value that the type of a file cannot hold."""
    stored = np.array([[values[0], 7, values[0]]], np.uint8)
    stored = np.where(stored == 7, stored, min(values)).astype(np.uint8)
    truth = [values.index(min(values)), 255, values.index(min(values))]
    [path] = save(tmp_path, [stored])
    reader = Masks(2, values=values, ignored=(7,))
    np.testing.assert_array_equal(reader.read(path, path), [truth])
    if max(values) == 255:
        [path] = save(tmp_path, [np.where(stored == 7, stored, np.uint8(255))])
        np.testing.assert_array_equal(
            reader.read(path, path), [[values.index(255), 255, values.index(255)]]
        )
