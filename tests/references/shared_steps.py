"""Runs of equal settings share their train and evaluation steps, traced and compiled once.

A short run takes most of its time to trace its steps, even if the compiled programs are cached.
Which values go through the steps, and when, is not touched. Runs that resume in a process of their
own are in tests/test_chaos.py and tests/devices/test_processes.py.
"""

from collections.abc import Callable
from typing import Any

from ipixmatch_jax import build, evaluator
from ipixmatch_jax.devices.parallel import Pmap


def share_steps(monkeypatch: Any, made: dict[str, tuple]) -> None:
    """Makes each step and each of its distributions once; `made` keeps them and their parts.

    Parts are the same if they print the same. A function prints its address, which stays its own
    as long as `made` keeps it. Settings of jax are part of jax's own keys.
    """

    def once(make: Callable) -> Callable:
        def shared(*parts: Any, **options: Any) -> Any:
            key = repr((make.__qualname__, parts, sorted(options.items())))
            if key not in made:
                made[key] = (make(*parts, **options), parts, options)
            return made[key][0]

        return shared

    for owner, name in (
        (build, "make_optimizer"),
        (build, "make_train_step"),
        (evaluator, "make_eval_step"),
    ):
        monkeypatch.setattr(owner, name, once(getattr(owner, name)))
    plain = Pmap.distribute
    distributed = once(lambda devices, step, donate: plain(Pmap(devices), step, donate=donate))
    monkeypatch.setattr(
        Pmap,
        "distribute",
        lambda self, step, *, donate=False: distributed(self.devices, step, donate),
    )
