"""Uploads are decoded in a separate process, within limits of memory and time."""

import contextlib
import io
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import Pixels
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.serve.decoder import Decoder, decode
from ipixmatch_jax.serve.upload_limits import Limits, TooLarge, checked_size
from tests.references.photos import file_of, image_of

LIMITS = Limits(pixels=4_000_000, side=128)


@pytest.fixture(scope="module")
def child():
    with contextlib.closing(Decoder(LIMITS, Pixels(), True)) as found:
        yield found


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_child_decodes_as_this_process_does(child, kind):
    data = file_of(image_of(60, 90), kind)
    want = decode(data, LIMITS, Pixels(), True)
    found = child(data)
    assert found.size == (60, 90)
    np.testing.assert_array_equal(found.image, want.image)
    # A working photo after a broken one.
    with pytest.raises(DataError, match="the photo: cannot be read as an image"):
        child(data[:40])
    np.testing.assert_array_equal(child(data).image, want.image)


def test_errors_keep_their_kind(child):
    with pytest.raises(TooLarge, match="megapixels"):
        child(file_of(np.zeros((2100, 2100), np.uint8)))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is the system's")
def test_the_child_cannot_take_more_than_its_share_of_memory():
    code = (
        "import numpy as np\n"
        "from ipixmatch_jax.data import Pixels\n"
        "from ipixmatch_jax.serve.decoder import _limit_resources\n"
        "from ipixmatch_jax.serve.upload_limits import Limits\n"
        f"_limit_resources(Limits(pixels={LIMITS.pixels}), Pixels())\n"
        "np.empty(100_000_000, np.uint8)\n"
        "try:\n    np.empty(2_000_000_000, np.uint8)\nexcept MemoryError:\n    print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "refused", done.stderr


def test_a_photo_that_takes_too_long():
    slow = Limits(pixels=4_000_000, side=128, seconds=0.01)
    with contextlib.closing(Decoder(slow, Pixels(), True)) as child:
        begin = time.monotonic()
        with pytest.raises(DataError, match=r"takes more than 0.01 s"):
            child(file_of(image_of(60, 90)))
        assert time.monotonic() - begin < 5


def test_a_child_that_dies_is_replaced(child):
    data = file_of(image_of(60, 90))
    child(data)
    os.kill(child._child.pid, 9)
    child._child.wait()
    assert child(data).size == (60, 90)


def test_jpeg_files_of_very_many_scans_are_refused():
    data = file_of(image_of(64, 64), "JPEG", progressive=True)
    assert checked_size(data, LIMITS) == (64, 64)
    with pytest.raises(TooLarge, match="scans; at most 100"):
        checked_size(data + b"\xff\xda" * 100, LIMITS)


def test_the_child_knows_the_missing_data_of_the_data_set():
    pixels = Pixels(1, ((0.0, 4000.0),), nodata=(65535.0,))
    image = np.full((64, 64), 4000, np.uint16)
    image[:32] = 65535
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "TIFF")
    with contextlib.closing(Decoder(LIMITS, pixels, True)) as child:
        found = child(stream.getvalue()).image
    assert not found[:31].any() and (found[33:] == 255).all()
