"""What a person sees while it trains: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping

from tqdm import tqdm


class Progress:
    """Shows steps, loss, mIoU and time left; a context manager."""

    def __init__(self, start_step: int, total_steps: int):
        self._start, self._total = start_step, total_steps
        self._began = time.monotonic()
        self._bar = tqdm(
            initial=start_step,
            total=total_steps,
            disable=not sys.stderr.isatty(),
            unit="step",
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self._shown: dict[str, str] = {}

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def step(self) -> None:
        self._bar.update()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """New numbers, beside the ones shown before."""
        self._shown |= {name: f"{value:.4g}" for name, value in values.items()}
        if not self._bar.disable:
            self._bar.set_postfix(self._shown)
            return
        numbers = "  ".join(f"{name} {text}" for name, text in self._shown.items())
        done = step - self._start
        spent = time.monotonic() - self._began
        left = spent / max(done, 1) * (self._total - step)
        clock = f"{int(left) // 60}:{int(left) % 60:02d} left"
        print(f"step {step}/{self._total}  {numbers}  {clock}", flush=True)

    def say(self, text: str) -> None:
        """A line or table that stays above the bar."""
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)
