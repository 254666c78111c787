"""Processor time of the test suite: of each test with its subprocesses, and of all workers.

    pytest --budget 2100

prints the slowest tests, and fails if the suite took more than half again as long as its budget.
Processor time hardly depends on what else the machine does. A slower machine gets more: a fixed
piece of work, measured before the tests, says how much.
"""

import os
import subprocess
import sys
import time

import pytest

# Traces, compiles and runs the gradient of some layers, which is what most tests spend time on.
_YARDSTICK = """
import os, jax, jax.numpy as jnp
jax.config.update("jax_enable_compilation_cache", False)

def loss(kernels, x):
    for kernel in kernels:
        x = jax.nn.gelu(jax.lax.conv(x, kernel, (1, 1), "SAME"))
        x = x - jnp.mean(x, axis=(2, 3), keepdims=True)
    return jnp.sum(jax.nn.softmax(x) ** 2)

for layers in range(4, 9):
    kernels = [jnp.ones((4, 4, 3, 3)) / 36] * layers
    jax.block_until_ready(jax.jit(jax.grad(loss))(kernels, jnp.ones((2, 4, 16, 16))))
t = os.times()
print(t.user + t.system)
"""
# What it takes on the machine that the budget is stated for.
YARDSTICK_S = 8.0
SLOWEST = 10
TOLERANCE = 1.5


def spent() -> float:
    """Processor seconds of this process and of its subprocesses that have ended."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def yardstick() -> float:
    """Processor seconds of the fixed piece of work, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _YARDSTICK], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


class ProcessorTime:
    """Collects times in each worker; judges them in the process that started the workers.

    Args:
        budget: processor seconds of all tests, or None to judge nothing.
        measure: gives the processor seconds of the fixed piece of work.
    """

    def __init__(self, budget: float | None, measure=yardstick):
        self.budget = budget
        self.tests: dict[str, float] = {}
        self.total = 0.0
        self._workers: list[float] = []
        self._measure = measure
        self._slowness = 1.0
        self._before = 0.0

    @property
    def limit(self) -> float:
        return TOLERANCE * self.budget * self._slowness

    def pytest_sessionstart(self, session):
        if self.budget:
            self._slowness = max(1.0, self._measure() / YARDSTICK_S)
            self._before = spent()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        item.stash[_START] = spent()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        if call.when == "teardown":
            item.user_properties.append(("processor_s", spent() - item.stash[_START]))
        return (yield)

    def pytest_runtest_logreport(self, report):
        if report.when == "teardown":
            self.tests[report.nodeid] = dict(report.user_properties).get("processor_s", 0.0)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node, error):
        self._workers.append(getattr(node, "workeroutput", {}).get("processor_s", 0.0))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus):
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["processor_s"] = spent()
        elif self.budget:
            # Workers are subprocesses of this one, and would count twice.
            own = time.process_time() if self._workers else spent() - self._before
            self.total = own + sum(self._workers)
            if self.total > self.limit and not session.exitstatus:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_terminal_summary(self, terminalreporter):
        if not self.budget:
            return
        write = terminalreporter.write_line
        terminalreporter.section("processor time")
        for name in sorted(self.tests, key=self.tests.get, reverse=True)[:SLOWEST]:
            write(f"{self.tests[name]:7.1f} s  {name}")
        where = f"{self._slowness:.2f} times as slow as the one of the budget"
        said = f"{self.total:.0f} s of processor time; the budget is {self.budget:.0f} s"
        write(f"{said}, and the limit {self.limit:.0f} s on this machine ({where})")
        if self.total > self.limit:
            write(
                "FAILED: the suite takes too long. Share what the slowest tests compute, make "
                "their shapes smaller, or mark what other tests prove too as slow",
                red=True,
            )


_START = pytest.StashKey[float]()
