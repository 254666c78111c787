import io
import warnings

import pytest

from ipixmatch_jax import screen
from ipixmatch_jax.tracking.progress import Progress, counted


def test_texts_are_printed(capsys):
    screen.say("one")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        screen.warn("two")
    assert capsys.readouterr().out == "one\ntwo\n"


def test_texts_are_collected_and_warnings_stay_warnings(capsys):
    with screen.collected() as texts:
        screen.say("one")
        with pytest.warns(UserWarning, match="two"):
            screen.warn("two")
    assert texts == ["one", "two"]
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    screen.say("three")
    assert texts == ["one", "two"] and capsys.readouterr().out == "three\n"


def test_verbose_prints_and_collects(capsys):
    with screen.collected(verbose=True) as texts:
        screen.say("one")
        screen.warn("two")
    assert texts == ["one", "two"] and capsys.readouterr().out == "one\ntwo\n"


def test_an_error_ends_the_collection(capsys):
    with pytest.raises(ValueError), screen.collected():
        raise ValueError
    screen.say("one")
    assert capsys.readouterr().out == "one\n"


def go(steps=3):
    with Progress(0, 10) as progress:
        for _ in range(steps):
            progress.step()
        progress.line(steps, {"loss": 2.5, "images_per_second": 40.0})
        progress.say("a table")
    return list(counted(range(2), 2, "evaluation", "batches"))


def test_quiet_progress_shows_nothing(capsys):
    with screen.collected() as texts:
        assert go() == [0, 1]
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert texts[0].startswith("step 3/10  loss 2.5") and texts[1] == "a table"


def test_a_bar_by_choice_in_80_columns_without_a_terminal(capsys):
    with screen.collected(progress=True):
        assert go() == [0, 1]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step 3/10" in captured.err and "evaluation: " in captured.err
    # One line that is drawn again and again, as a notebook can show it.
    assert "\x1b" not in captured.err
    assert max(len(line) for part in captured.err.splitlines() for line in part.split("\r")) <= 80


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_long_lines_are_folded_on_a_terminal_alone(monkeypatch, capsys):
    text = f"short\n  {'word ' * 30}end\nnext: {'w ' * 60}"
    screen.say(text)
    assert capsys.readouterr().out == f"{text}\n"
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    screen.say(text)
    first, *folded, command = terminal.getvalue().splitlines()
    assert first == "short" and command == f"next: {'w ' * 60}"
    assert len(folded) == 3 and all(len(line) <= 80 for line in folded)
    assert folded[0].startswith("  word") and folded[1].startswith("    word")
    assert " ".join(" ".join(folded).split()) == " ".join(text.splitlines()[1].split())


def test_commands_stay_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = screen.folded(f"{'word ' * 6}run: pip install 'x[y]' today", Terminal()).splitlines()
    assert lines == ["word word word word word word run:", "  pip install 'x[y]' today"]


def test_paths_stay_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    path = "/a/very/long-path/that-is/longer/than/the/terminal.png"
    assert path in screen.folded(f"written to {path}", Terminal())
