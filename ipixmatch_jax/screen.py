"""What a run tells: printed by the command line, collected when Python calls the package."""

import contextlib
import dataclasses
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator
from typing import TextIO


@dataclasses.dataclass(frozen=True)
class _Screen:
    """Where texts go.

    Attributes:
        texts: collects them; None: nobody does.
        prints: whether they are printed.
        progress: whether a bar shows the progress, also where there is no terminal.
    """

    texts: list[str] | None = None
    prints: bool = True
    progress: bool = False


# A command within a text, which stays on one line.
_COMMAND = re.compile(r"pip install \S+")

# Of the process, not of a thread: the input pipeline tells from threads of its own.
_screen = _Screen()


def say(text: str) -> None:
    """Prints a text on standard output, above a progress bar if there is one; or collects it."""
    if _screen.texts is not None:
        _screen.texts.append(text)
    if _screen.prints:
        from tqdm import tqdm  # late, so that --help is fast

        tqdm.write(folded(text, sys.stdout))
        sys.stdout.flush()


def warn(text: str) -> None:
    """Says what nobody should miss; where texts are only collected it is a Python warning, too."""
    say(text)
    if not _screen.prints:
        warnings.warn(text.strip(), stacklevel=2)


def folded(text: str, stream: TextIO) -> str:
    """The text with its long lines folded to the width of a terminal; files keep whole lines.

    Lines that start with `next: ` hold a command to copy, and stay whole.
    """
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(_folded_line(line, width) for line in text.split("\n"))


def _folded_line(line: str, width: int) -> str:
    if len(line) <= width or line.startswith("next: "):
        return line
    indent = line[: len(line) - len(line.lstrip())]
    whole = _COMMAND.sub(lambda command: command[0].replace(" ", "\xa0"), line)
    filled = textwrap.fill(
        whole,
        width,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=False,
    )
    return filled.replace("\xa0", " ")


def shows_progress() -> bool:
    """Whether anybody is to see the progress of a loop."""
    return _screen.prints or _screen.progress


def draws_bars() -> bool:
    """Whether progress is a bar: on a terminal, and where it was asked for."""
    return _screen.progress or (_screen.prints and sys.stderr.isatty())


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps absl's log to errors: orbax logs its options and every save there."""
    from absl import logging  # late, so that --help is fast

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextlib.contextmanager
def collected(*, verbose: bool = False, progress: bool = False) -> Iterator[list[str]]:
    """Collects what would be printed.

    Args:
        verbose: print it as well.
        progress: show a bar, on standard error.

    Yields:
        The texts so far.
    """
    global _screen
    before, texts = _screen, []
    _screen = _Screen(texts, verbose, progress)
    try:
        yield texts
    finally:
        _screen = before
