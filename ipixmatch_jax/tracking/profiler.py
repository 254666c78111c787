"""Profile of selected steps, for TensorBoard or xprof."""

import contextlib

import jax

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import AnyPath


def profiled_steps(text: str) -> tuple[int, int]:
    """Parses `START:STOP`, two steps with START < STOP; an empty text gives (0, 0).

    Raises:
        ConfigError: the text has another form.
    """
    if not text:
        return 0, 0
    start, _, stop = text.partition(":")
    if not (start.isdigit() and stop.isdigit() and int(start) < int(stop)):
        raise ConfigError(f"profile is {text!r}; expected START:STOP, steps with START < STOP")
    return int(start), int(stop)


class Profiler:
    """Records the steps of `config.profile` to `WORKDIR/profile`; a context manager."""

    def __init__(self, workdir: AnyPath, steps: str):
        self._folder = str(workdir / "profile")
        self._start, self._stop = profiled_steps(steps)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Profiler":
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def step(self, number: int) -> jax.profiler.StepTraceAnnotation:
        """A context for the step after step `number`; starts or ends the recording if it is due."""
        if number == self._start and self._stop:
            self._stack.enter_context(jax.profiler.trace(self._folder))
        if number == self._stop:
            self._stack.close()
        return jax.profiler.StepTraceAnnotation("train", step_num=number)
