"""Decodes uploads in a process of its own, with limits on its memory and time."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import threading
from typing import IO, Any

import numpy as np

from ipixmatch_jax.data import Pixels, resize_image
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.photo_reader import read_photo
from ipixmatch_jax.serve.upload_limits import (
    NAME,
    Limits,
    TooLarge,
    checked_size,
    predicted_size,
)

# Memory of the process besides what a photo at the limit needs: 12 bytes for each value.
_SPARE_BYTES = 512_000_000
_BYTES_PER_VALUE = 12


@dataclasses.dataclass(frozen=True)
class Decoded:
    """An upload, ready for the network.

    Attributes:
        size: (H, W) of the photo.
        image: uint8 [h, w, D], shrunk to the size at which it is predicted.
    """

    size: tuple[int, int]
    image: np.ndarray


def decode(data: bytes, limits: Limits, pixels: Pixels, rounded: bool) -> Decoded:
    """Checks and reads an upload, in this process.

    Args:
        data: the bytes of the file.
        limits: limits of the upload.
        pixels: channels and value range of the training images.
        rounded: round the sides (see `predicted_size`).

    Raises:
        DataError: not a photo, a damaged one, or one that does not fit the network.
        TooLarge: a photo above a limit; it was not decoded.
    """
    size = checked_size(data, limits)
    at = predicted_size(size, limits.side, rounded)
    return Decoded(size, resize_image(read_photo(data, pixels, NAME, at_least=at), at))


class Decoder:
    """`decode` in a child process, which is started when needed and ends with this one.

    A photo that takes too long, too much memory or crashes a decoder costs this process nothing.
    Its calls must not overlap.

    Args:
        limits, pixels, rounded: see `decode`.
    """

    def __init__(self, limits: Limits, pixels: Pixels, rounded: bool):
        self._limits = limits
        facts = {
            "limits": dataclasses.asdict(limits),
            "pixels": (pixels.channels, pixels.value_range, pixels.nodata),
            "rounded": rounded,
        }
        self._facts = json.dumps(facts)
        self._child: subprocess.Popen | None = None

    def __call__(self, data: bytes) -> Decoded:
        """Decodes an upload.

        Raises:
            DataError: see `decode`, and photos that take too long or too much memory.
        """
        child = self._running()
        late = threading.Event()

        def stop() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(self._limits.seconds, stop)
        timer.start()
        try:
            child.stdin.write(len(data).to_bytes(8, "big") + data)
            child.stdin.flush()
            answer = json.loads(child.stdout.readline())
            image = child.stdout.read(answer.get("bytes", 0))
        except (OSError, ValueError):
            self.close()
            reason = f"takes more than {self._limits.seconds:g} s" if late.is_set() else "fails"
            raise DataError(f"{NAME}: decoding it {reason}; save it again as PNG") from None
        finally:
            timer.cancel()
        if "error" in answer:
            raise (TooLarge if answer["too_large"] else DataError)(answer["error"])
        array = np.frombuffer(image, np.uint8).reshape(answer["shape"])
        return Decoded(tuple(answer["size"]), array)

    def _running(self) -> subprocess.Popen:
        if self._child is None or self._child.poll() is not None:
            self.close()
            # Its own import path: the folder in which the server was started is not on it.
            root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
            code = f"import sys; sys.path.insert(0, {root!r}); " + (
                "from ipixmatch_jax.serve.decoder import work; work()"
            )
            threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
            self._child = subprocess.Popen(
                [sys.executable, "-c", code, self._facts],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=os.environ | threads, start_new_session=True,
            )  # fmt: skip
        return self._child

    def close(self) -> None:
        """Ends the child process."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for stream in (self._child.stdin, self._child.stdout):
                with contextlib.suppress(OSError):
                    stream.close()
            self._child = None


def work() -> None:
    """The child process: reads uploads from stdin until it ends, and writes what they hold."""
    facts = json.loads(sys.argv[1])
    limits, rounded = Limits(**facts["limits"]), facts["rounded"]
    channels, value_range, nodata = facts["pixels"]
    # `limits` take the place of data.max_pixels.
    pixels = Pixels(channels, tuple(map(tuple, value_range)), tuple(nodata), limits.pixels)
    _limit_resources(limits, pixels)
    # What a decoder prints must not get between the answers.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while length := sys.stdin.buffer.read(8):
        data = sys.stdin.buffer.read(int.from_bytes(length, "big"))
        _answer(output, data, limits, pixels, rounded)


def _answer(output: IO[bytes], data: bytes, limits: Limits, pixels: Pixels, rounded: bool) -> None:
    image = b""
    answer: dict[str, Any]
    try:
        found = decode(data, limits, pixels, rounded)
        image = found.image.tobytes()
        answer = {"size": found.size, "shape": found.image.shape, "bytes": len(image)}
    except DataError as error:
        answer = {"error": str(error), "too_large": isinstance(error, TooLarge)}
    except MemoryError:
        answer = {"error": f"{NAME}: decoding it takes too much memory", "too_large": True}
    except Exception as error:  # whatever a decoder raises for a damaged file
        text = f"{NAME}: cannot be read as an image ({type(error).__name__})"
        answer = {"error": text, "too_large": False}
    output.write(json.dumps(answer).encode() + b"\n" + image)
    output.flush()


def _limit_resources(limits: Limits, pixels: Pixels) -> None:
    try:
        import resource
    except ImportError:  # not on Windows; the limit on time holds there too
        return
    statm = pathlib.Path("/proc/self/statm")  # on Linux; elsewhere the sum is a little smaller
    used = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0
    needed = limits.pixels * max(4, pixels.channels) * _BYTES_PER_VALUE + _SPARE_BYTES
    bounds = {
        resource.RLIMIT_AS: used + needed,
        resource.RLIMIT_FSIZE: 0,  # it writes no file
        resource.RLIMIT_CORE: 0,
    }
    for kind, bound in bounds.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (bound, bound))
