"""The budget of the test suite: what is measured, and when it fails."""

import os
import subprocess
import sys

import pytest

from tests.references import ROOT, processor_time

CONFTEST = """
from tests.references.processor_time import ProcessorTime

def pytest_addoption(parser):
    parser.addoption("--budget", type=float)
    parser.addoption("--yardstick", type=float)

def pytest_configure(config):
    measure = lambda: config.getoption("yardstick")
    config.pluginmanager.register(ProcessorTime(config.getoption("budget"), measure))
"""
TESTS = """
import subprocess, sys, time

BURN = "import time\\nwhile time.process_time() < 0.6: pass"

def test_here():
    start = time.process_time()
    while time.process_time() - start < 0.4: pass

def test_in_a_subprocess():
    subprocess.run([sys.executable, "-c", BURN], check=True)

def test_that_waits():
    time.sleep(0.2)
"""


def run(folder, workers, *options):
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *workers, *options],
        cwd=folder, capture_output=True, text=True,
        # Other plugins take seconds to be imported.
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "workers"])
def test_a_suite_far_above_its_budget_fails_and_names_the_slowest(tmp_path, workers):
    code, printed = run(tmp_path, workers, "--budget", "0.4", "--yardstick", "0.1")
    assert code == 1 and "the budget is 0 s, and the limit 1 s on this machine" in printed
    lines = [line for line in printed.splitlines() if line.endswith(("_here", "_subprocess"))]
    assert [line.split("::")[1] for line in lines] == ["test_in_a_subprocess", "test_here"]
    seconds = [float(line.split(" s ")[0]) for line in lines]
    assert seconds[0] >= 0.6 and seconds[1] >= 0.4
    assert "FAILED: the suite takes too long" in printed


def test_a_slower_machine_gets_more_and_waiting_costs_nothing(tmp_path):
    slow = str(100 * processor_time.YARDSTICK_S)
    code, printed = run(tmp_path, (), "--budget", "0.4", "--yardstick", slow)
    assert code == 0 and "FAILED" not in printed
    assert "the limit 60 s on this machine (100.00 times as slow as" in printed
    (waiting,) = (line for line in printed.splitlines() if line.endswith("_waits"))
    assert float(waiting.split(" s ")[0]) < 0.2


def test_without_a_budget_nothing_is_measured_or_judged(tmp_path):
    code, printed = run(tmp_path, (), "--yardstick", "0.1")
    assert code == 0 and "processor time" not in printed
