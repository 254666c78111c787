import io
import re

import pytest

from ipixmatch_jax.tracking.progress import Progress, counted

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
    assert re.search(r" 65%\|.*\| step 13/20, 123 images/s, 0:14 left", shown)
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


def clocked(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("ipixmatch_jax.tracking.progress.time.monotonic", lambda: clock[0])
    return clock


def test_the_time_left_counts_evaluations(monkeypatch, capsys):
    clock = clocked(monkeypatch)
    left = []

    def steps(progress, count):
        for _ in range(count):
            clock[0] += 2
            progress.step()
        progress.line(0, {})
        left.append(capsys.readouterr().out.split("  ")[-1].strip())

    with Progress(0, 25, eval_every=10) as progress:
        steps(progress, 5)
        steps(progress, 5)
        with progress.evaluation():
            clock[0] += 100  # it compiles
        steps(progress, 10)
        with progress.evaluation():
            clock[0] += 30
        steps(progress, 4)
    # After 5 steps: 20 of 2 s. At step 10 and after it, the evaluations at 20 and 25 are to come.
    assert left[0] == "0:40 left and 3 evaluations"
    assert left[1] == "0:30 left and 3 evaluations"
    assert left[2] == "3:30 left"  # 5 steps of 2 s, and twice 100 s
    assert left[3] == "0:32 left"  # 1 step, and 30 s


@pytest.mark.parametrize(("start", "total", "every", "coming"), [
    (0, 20, 10, 2), (0, 25, 10, 3), (10, 20, 10, 1), (12, 25, 10, 2), (25, 25, 10, 0), (0, 5, 0, 0),
])  # fmt: skip
def test_evaluations_to_come(start, total, every, coming):
    assert Progress(start, total, every)._coming_evaluations() == coming


def test_a_long_loop_says_how_far_it_is(monkeypatch, capsys):
    clock = clocked(monkeypatch)
    for _ in counted(range(100), 100, "evaluation", "batches"):
        clock[0] += 12
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "evaluation: 3 of 100 batches, 19:24 left"
    assert len(lines) == 33 and lines[-1] == "evaluation: 99 of 100 batches, 0:12 left"


def test_a_short_loop_says_nothing(capsys):
    assert list(counted("abc", 3, "evaluation", "batches")) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""
