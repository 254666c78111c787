"""Stop signals: the first saves, a second one ends the process at any moment."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ipixmatch_jax.devices.preemption import StopSignal

CHILD = """
import sys, time
from ipixmatch_jax.devices.preemption import StopSignal
with StopSignal() as stop:
    print("ready", flush=True)
    if sys.argv[1] == "busy":
        import hashlib
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)  # C code, as a compiler is
    while not stop:
        time.sleep(0.01)
    time.sleep(float(sys.argv[2]))
    print(f"saved after {stop}", flush=True)
"""


def child(*arguments, hangup=signal.SIG_DFL):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, hangup),
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_every_polite_signal_is_noted_and_answered(name):
    process = child("idle", "0")
    process.send_signal(getattr(signal, name))
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, f"saved after {name}\n")
    assert errors.startswith(f"{name}: the run saves after this step and exits")


def test_signals_of_a_terminal_and_a_launcher_at_once_are_one():
    process = child("idle", "1")
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        process.send_signal(getattr(signal, name))
    time.sleep(0.7)
    process.send_signal(signal.SIGHUP)  # a closed terminal sends it more than once
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and out.startswith("saved after ")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_one_ends_a_process_that_is_busy_in_c_code(name, code):
    process = child("busy", "0")
    began = time.monotonic()
    process.send_signal(getattr(signal, name))
    assert "saves after this step" in process.stderr.readline()  # while the C code runs
    time.sleep(0.7)
    process.send_signal(getattr(signal, name))
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert "exits without saving" in errors and time.monotonic() - began < 20


KEPT = """
import time
from ipixmatch_jax.devices.preemption import StopSignal
try:
    with StopSignal(ends_process=False) as stop:
        print("ready", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    print("still here, after", stop, flush=True)
"""


def test_a_second_one_leaves_the_process_of_a_notebook_alive(monkeypatch):
    monkeypatch.setattr("tests.devices.test_preemption.CHILD", KEPT)
    process = child()
    process.send_signal(signal.SIGINT)
    assert "saves after this step" in process.stderr.readline()
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "still here, after SIGINT\n")
    assert errors.count("without saving") == 1


def test_other_threads_get_no_signals():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def enter():
        with StopSignal() as stop:
            seen.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_nohup_stays_in_force():
    process = child("idle", "0", hangup=signal.SIG_IGN)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "saved after SIGTERM\n"


def test_handlers_are_restored():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        assert stop and str(stop) == "SIGTERM"
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.set_wakeup_fd(-1) == -1


INTERRUPTED = """
import sys, time
from ipixmatch_jax.devices.preemption import answered_interrupts
with answered_interrupts():
    print("ready", flush=True)
    if sys.argv[1] == "busy":
        import hashlib
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)  # C code, as a compiler is
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("how", ["idle", "busy"])
def test_an_interrupt_is_answered_at_once(how):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, how],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "interrupted\n"
    assert time.monotonic() - began < 1
    assert process.wait(timeout=30) == 130 and time.monotonic() - began < 5
