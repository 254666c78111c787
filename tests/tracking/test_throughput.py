import contextlib

import jax.numpy as jnp
import pytest

from ipixmatch_jax.tracking.throughput import Throughput


class Clock:
    """A clock that only advances when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def take(throughput, clock, *, input_s, step_s):
    with throughput.input():
        clock.now += input_s
    clock.now += step_s
    throughput.step({"loss": jnp.zeros(())})


def test_the_first_step_evaluations_and_saves_do_not_count(clock):
    throughput = Throughput(8, clock)
    take(throughput, clock, input_s=5, step_s=60)  # decodes and compiles
    assert throughput.numbers() == {}
    clock.now += 7
    for _ in range(3):
        take(throughput, clock, input_s=0.25, step_s=0.75)
    throughput.pause({})
    clock.now += 1000  # an evaluation
    throughput.pause({})  # and a save
    clock.now += 1000
    take(throughput, clock, input_s=0.25, step_s=1.75)
    found = throughput.numbers()
    assert found == {
        "images_per_second": pytest.approx(8 * 4 / 5),
        "steps_per_second": pytest.approx(4 / 5),
        "input_wait": pytest.approx(1 / 5),
    }
    take(throughput, clock, input_s=0, step_s=0.5)
    assert throughput.numbers()["steps_per_second"] == pytest.approx(2)
    assert throughput.numbers() == {}


def test_what_the_device_has_not_done_yet_is_waited_for_before_a_pause(clock, monkeypatch):
    waited = []

    def wait(metrics):
        waited.append(metrics)
        clock.now += 4

    monkeypatch.setattr("ipixmatch_jax.tracking.throughput.jax.block_until_ready", wait)
    throughput = Throughput(1, clock)
    for _ in range(3):
        take(throughput, clock, input_s=0, step_s=0)  # steps are only dispatched
    assert len(waited) == 1  # the first one
    throughput.pause({"loss": 3})
    assert waited[1:] == [{"loss": 3}]
    assert throughput.numbers()["steps_per_second"] == pytest.approx(2 / 4)


def test_an_error_of_the_input_is_passed_on(clock):
    throughput = Throughput(1, clock)
    with contextlib.suppress(StopIteration), throughput.input():
        next(iter(()))
    assert throughput.numbers() == {}
