"""Output in any encoding, to readers that end, and to full disks."""

import io
import os
import subprocess
import sys

import pytest

from ipixmatch_jax.cli.terminal import guarded_output

TEXT = "├─ mIoU 43.2 – Straße → 3×2 … \udcff"


def stream(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("ascii", r"+- mIoU 43.2 - Stra\xdfe -> 3x2 ... \udcff"),
        ("latin-1", r"+- mIoU 43.2 - Straße -> 3×2 ... \udcff"),
        ("cp1252", r"+- mIoU 43.2 – Straße -> 3×2 … \udcff"),
        ("utf-8", r"├─ mIoU 43.2 – Straße → 3×2 … \udcff"),
    ],
)
def test_only_characters_that_the_encoding_lacks_are_replaced(monkeypatch, encoding, printed):
    out = stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    with guarded_output():
        print(TEXT)
    assert out.buffer.getvalue().decode(encoding) == printed + "\n"
    assert sys.stdout is out and out.errors == "strict"


def test_a_reader_that_ends_stops_the_output_and_is_reported_once(monkeypatch, capfd):
    read, write = os.pipe()
    monkeypatch.setattr(sys, "stdout", open(write, "w"))
    os.close(read)
    with guarded_output() as output:
        output.reader_gone = "the run goes on"
        for _ in range(3):
            print("a line", flush=True)
        os.write(write, b"as a library writes")
    sys.stdout.close()
    assert capfd.readouterr().err == "the run goes on\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_loses_output_only(monkeypatch):
    monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))
    with guarded_output():
        print("a line", flush=True)
        print("another", flush=True)
    sys.stdout.close()


def test_closed_streams_are_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with guarded_output():
        print("to nobody")
        assert not sys.stderr.isatty()
    assert sys.stdout is None


def test_a_command_whose_reader_goes_away_ends_quietly():
    command = f"{sys.executable} -m ipixmatch_jax.main --mode config | head -n 1; echo $PIPESTATUS"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("0", "")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_and_the_reference_in_narrow_encodings(encoding):
    for arguments in (["--help"], ["--mode", "config"]):
        done = subprocess.run(
            [sys.executable, "-m", "ipixmatch_jax.main", *arguments],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True, text=True, encoding=encoding, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
