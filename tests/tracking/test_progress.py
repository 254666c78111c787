import io
import re

import pytest

from ipixmatch_jax.tracking.progress import Progress

NUMBERS = {
    "loss": 2.5, "loss_supervised": 1.25, "loss_pseudo": 1.0, "loss_relation": 0.25,
    "images_per_second": 123.4, "grad_norm": 7.0,
}  # fmt: skip


def go(progress, monkeypatch, clock):
    monkeypatch.setattr("ipixmatch_jax.tracking.progress.time.monotonic", lambda: clock[0])
    with progress:
        for step in range(11, 14):
            clock[0] += 60 if step == 11 else 2  # the first one compiles
            progress.step()
        progress.note({"miou": 0.4321})
        progress.line(13, NUMBERS)
        progress.say("a table")


def test_plain_lines(monkeypatch, capsys):
    go(Progress(10, 20), monkeypatch, [0.0])
    assert capsys.readouterr().out == (
        "step 13/20  loss 2.5  supervised 1.25  pseudo 1  relation 0.25  mIoU 43.2  123 images/s  "
        "0:14 left\na table\n"
    )


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    go(Progress(10, 20), monkeypatch, [0.0])
    shown = screen.getvalue()
    assert re.search(r" 65%\|.*\| step 13/20, 123 images/s, 00:00 elapsed, 00:00 left", shown)
    assert "loss 2.5  supervised 1.25  pseudo 1  relation 0.25  mIoU 43.2" in shown
    assert capsys.readouterr().out == "a table\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_other_processes_are_silent(monkeypatch, capsys, terminal):
    monkeypatch.setattr("ipixmatch_jax.tracking.progress.is_first", lambda: False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    go(Progress(10, 20), monkeypatch, [0.0])
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_plain_lines_fit_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    go(Progress(10, 20), monkeypatch, [0.0])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 13/20  loss 2.5") and max(map(len, lines)) <= 80
    assert lines[1] == "    123 images/s  0:14 left"
