"""Progress of a training run: a live bar on a terminal, plain lines elsewhere."""

import shutil
import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

from ipixmatch_jax.devices.processes import is_first

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
_TIMES = "{elapsed} elapsed, {remaining} left"
_BAR = "{percentage:3.0f}%|{bar}| step {n_fmt}/{total_fmt}{postfix}, " + _TIMES


class Progress:
    """Shows steps, the parts of the loss, mIoU, images/s and time left; a context manager.

    On a terminal it draws a bar, with the numbers in a line below. Only the first process prints.
    """

    def __init__(self, start_step: int, total_steps: int):
        self._first, self._total = start_step + 1, total_steps
        self._began: float | None = None
        self._silent = not is_first()
        hidden = self._silent or not sys.stderr.isatty()
        self._bar = tqdm(
            initial=start_step,
            total=total_steps,
            disable=hidden,
            bar_format=_BAR,
            dynamic_ncols=True,
            smoothing=0,
        )
        self._below = tqdm(
            bar_format="{desc}", disable=hidden, dynamic_ncols=True, position=1, miniters=1
        )
        self._noted: dict[str, str] = {}
        self._speed = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        self._below.close()

    def step(self) -> None:
        """Counts a step. Time is measured from the end of the first step, which compiles."""
        if self._began is None:
            self._began = time.monotonic()
            self._bar.start_t, self._bar.initial = time.time(), self._first
        self._bar.update()

    def note(self, values: Mapping[str, float]) -> None:
        """Updates the numbers that are shown; mIoU in [0, 1]."""
        for name in _SHOWN.keys() & values.keys():
            value = 100 * values[name] if name == "miou" else values[name]
            whole = f"{value}" if isinstance(value, int) else f"{float(value):.3g}"
            self._noted[name] = f"{value:.1f}" if name == "miou" else whole
        if _SPEED in values:
            speed = values[_SPEED]
            self._speed = f"{speed:.0f} images/s" if speed >= 100 else f"{speed:.3g} images/s"
        self._bar.set_postfix_str(self._speed, refresh=False)
        self._below.set_description_str("  ".join(self._numbers()))

    def line(self, step: int, values: Mapping[str, float]) -> None:
        """Updates the numbers; without a bar, prints a line with all of them."""
        self.note(values)
        if self._silent or not self._bar.disable:
            return
        parts = [f"step {step}/{self._total}", *self._numbers(), self._speed, self._clock(step)]
        print(_folded([part for part in parts if part]), flush=True)

    def say(self, text: str) -> None:
        """Prints a line or table, above the bar if there is one."""
        if self._silent:
            return
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)

    def _numbers(self) -> list[str]:
        return [f"{name} {self._noted[key]}" for key, name in _SHOWN.items() if key in self._noted]

    def _clock(self, step: int) -> str:
        if self._began is None or step <= self._first:
            return ""
        spent = time.monotonic() - self._began
        left = int(spent / (step - self._first) * (self._total - step))
        return f"{left // 60}:{left % 60:02d} left"


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
