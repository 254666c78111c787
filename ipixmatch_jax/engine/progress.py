"""What a person sees while it trains: a live bar on a terminal, plain lines elsewhere."""

import sys
import time

from tqdm import tqdm

from ipixmatch_jax.engine.processes import is_first


class Progress:
    """Shows steps, loss, mIoU and time left; a context manager. Only the first process speaks."""

    def __init__(self, start_step: int, total_steps: int):
        self._start, self._total = start_step, total_steps
        self._began = time.monotonic()
        self._silent = not is_first()
        self._bar = tqdm(
            initial=start_step,
            total=total_steps,
            disable=self._silent or not sys.stderr.isatty(),
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self._noted: dict[str, str] = {}

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def step(self) -> None:
        self._bar.update()

    def note(self, **values: float) -> None:
        """Numbers to show from now on, beside the ones noted before."""
        self._noted |= {name: f"{value:.4g}" for name, value in values.items()}
        self._bar.set_postfix(self._noted)

    def line(self, step: int) -> None:
        """Where there is no bar, a line with what was noted."""
        if self._silent or not self._bar.disable:
            return
        numbers = "  ".join(f"{name} {text}" for name, text in self._noted.items())
        spent = time.monotonic() - self._began
        left = int(spent / max(step - self._start, 1) * (self._total - step))
        clock = f"{left // 60}:{left % 60:02d} left"
        print(f"step {step}/{self._total}  {numbers}  {clock}", flush=True)

    def say(self, text: str) -> None:
        """A line or table that stays above the bar."""
        if self._silent:
            return
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)
