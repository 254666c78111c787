"""Progress of a training run: a live bar on a terminal, plain lines elsewhere."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tqdm import tqdm

from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.screen import draws_bars, say, shows_progress, warn

# Metrics that are shown, and their names on the screen.
_SHOWN = {
    "loss": "loss",
    "loss_supervised": "supervised",
    "loss_pseudo": "pseudo",
    "loss_relation": "relation",
    "miou": "mIoU",
    "skipped": "skipped",
}
_SPEED = "images_per_second"
_BAR = "{percentage:3.0f}%|{bar}| step {n_fmt}/{total_fmt}{postfix}"
# Of a bar where there is no terminal, as in a notebook.
_COLUMNS = 80
# Between two lines of a loop that is shown without a bar.
_LINE_SECONDS = 30


class Progress:
    """Shows steps, the parts of the loss, mIoU, images/s and time left; a context manager.

    On a terminal it draws a bar, with the numbers in a line below. Only the first process prints.

    Args:
        start_step: step from which the run starts.
        total_steps: step at which it ends.
        eval_every: steps between evaluations; there is one after the last step too. 0: none.
    """

    def __init__(self, start_step: int, total_steps: int, eval_every: int = 0):
        self._first, self._total, self._step = start_step + 1, total_steps, start_step
        self._eval_every, self._evaluated = eval_every, start_step
        self._began: float | None = None
        self._evaluating = 0.0
        self._evaluation: float | None = None
        self._silent = not is_first()
        hidden = self._silent or not draws_bars()
        self._bar = tqdm(
            initial=start_step,
            total=total_steps,
            disable=hidden,
            bar_format=_BAR,
            smoothing=0,
            **_width(),
        )
        # A notebook keeps one line in place.
        single = hidden or not sys.stderr.isatty()
        self._below = tqdm(bar_format="{desc}", disable=single, position=1, miniters=1, **_width())
        self._noted: dict[str, str] = {}
        self._speed = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        self._below.close()

    def step(self) -> None:
        """Counts a step. Time is measured from the end of the first step, which compiles."""
        self._step += 1
        if self._began is None:
            self._began = time.monotonic()
        self._bar.update()

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        """Around an evaluation: its time tells how long those to come will take.

        The first one compiles, so that the time left is too long until there was a second one.
        """
        began = time.monotonic()
        yield
        self._evaluation = time.monotonic() - began
        self._evaluating += self._evaluation
        self._evaluated = self._step

    def note(self, values: Mapping[str, float]) -> None:
        """Updates the numbers that are shown; mIoU in [0, 1]."""
        for name in _SHOWN.keys() & values.keys():
            value = 100 * values[name] if name == "miou" else values[name]
            whole = f"{value}" if isinstance(value, int) else f"{float(value):.3g}"
            self._noted[name] = f"{value:.1f}" if name == "miou" else whole
        if _SPEED in values:
            speed = values[_SPEED]
            self._speed = f"{speed:.0f} images/s" if speed >= 100 else f"{speed:.3g} images/s"
        shown = ", ".join(part for part in (self._speed, self._clock()) if part)
        self._bar.set_postfix_str(shown, refresh=False)
        self._below.set_description_str("  ".join(self._numbers()))

    def line(self, step: int, values: Mapping[str, float]) -> None:
        """Updates the numbers; without a bar, prints a line with all of them."""
        self.note(values)
        if self._silent or not self._bar.disable:
            return
        parts = [f"step {step}/{self._total}", *self._numbers(), self._speed, self._clock()]
        say(_folded([part for part in parts if part]))

    def say(self, text: str) -> None:
        """Prints a line or table, above the bar if there is one."""
        if not self._silent:
            say(text)

    def warn(self, text: str) -> None:
        """Like `say`, for what nobody should miss."""
        if not self._silent:
            warn(text)

    def _numbers(self) -> list[str]:
        return [f"{name} {self._noted[key]}" for key, name in _SHOWN.items() if key in self._noted]

    def _clock(self) -> str:
        """The time left for steps and evaluations; "" before it can be told."""
        if self._began is None or self._step <= self._first:
            return ""
        stepping = time.monotonic() - self._began - self._evaluating
        left = stepping / (self._step - self._first) * (self._total - self._step)
        coming = self._coming_evaluations()
        left += coming * (self._evaluation or 0)
        untimed = (
            f" and {coming} evaluation{'s' * (coming > 1)}" if self._evaluation is None else ""
        )
        return f"{_duration(left)} left{untimed if coming else ''}"

    def _coming_evaluations(self) -> int:
        every, total = self._eval_every, self._total
        if not every:
            return 0
        at_the_end = total % every > 0 and self._evaluated < total
        return total // every - self._evaluated // every + at_the_end


def counted(items: Iterable, total: int, what: str, unit: str) -> Iterator:
    """The items; shows how many are done, by a bar on a terminal, by a line now and then elsewhere.

    Args:
        items: what a loop goes through.
        total: number of items.
        what: name of the loop.
        unit: name of the items, in the plural.
    """
    if not is_first() or not shows_progress():
        yield from items
        return
    if draws_bars():
        numbers = f"{{n_fmt}}/{{total_fmt}} {unit}, {{remaining}} left"
        form = f"{what}: {{percentage:3.0f}}%|{{bar}}| {numbers}"
        yield from tqdm(items, total=total, leave=False, bar_format=form, **_width())
        return
    began = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= _LINE_SECONDS:
            said = now
            left = _duration((now - began) / done * (total - done))
            say(f"{what}: {done} of {total} {unit}, {left} left")
        yield item


def _width() -> dict[str, Any]:
    """The width of a bar: that of the terminal; without one, 80 columns."""
    return {"dynamic_ncols": True} if sys.stderr.isatty() else {"ncols": _COLUMNS}


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _folded(parts: list[str]) -> str:
    """One line in a file; on a terminal, as many lines as its width needs."""
    if not sys.stdout.isatty():
        return "  ".join(parts)
    width = shutil.get_terminal_size().columns
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}  {part}"
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(f"    {part}")
    return "\n".join(lines)
