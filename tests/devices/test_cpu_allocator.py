"""Freed memory is kept in the process, only on a CPU under glibc."""

import types

import pytest

from ipixmatch_jax.devices import cpu_allocator as host_memory


@pytest.mark.parametrize(
    ("backend", "libc", "told"),
    [("cpu", "glibc", True), ("cpu", "", False), ("gpu", "glibc", False)],
)
def test_platforms_on_which_the_allocator_is_set(monkeypatch, backend, libc, told):
    calls = {}

    def mallopt(parameter, value):
        calls[parameter] = value
        return 1

    library = types.SimpleNamespace(mallopt=mallopt)
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(host_memory.platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(host_memory.jax, "default_backend", lambda: backend)
    assert host_memory.keep_freed_memory() is told
    # M_MMAP_MAX 0: large blocks come from the heap; M_TRIM_THRESHOLD: which never shrinks.
    assert (calls.get(-4), calls.get(-1)) == ((0, 2**31 - 1) if told else (None, None))


def test_the_compilers_memory_is_returned_after_long_compilations(monkeypatch):
    trims, listeners = [], []
    library = types.SimpleNamespace(malloc_trim=trims.append, mallopt=lambda *_: 1)
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(host_memory.platform, "libc_ver", lambda: ("glibc", ""))
    register = "register_event_duration_secs_listener"
    monkeypatch.setattr(host_memory.jax.monitoring, register, listeners.append)
    host_memory._listen_to_compiler.cache_clear()
    for _ in range(2):
        host_memory.keep_freed_memory()
    (heard,) = listeners
    # The name is JAX's, which other versions may change.
    from jax._src.dispatch import BACKEND_COMPILE_EVENT

    heard(BACKEND_COMPILE_EVENT, 0.5, fun_name="small")
    heard("/jax/core/compile/jaxpr_trace_duration", 20.0)
    assert trims == []
    heard(BACKEND_COMPILE_EVENT, 20.0, fun_name="step")
    assert trims == [0]
    host_memory._listen_to_compiler.cache_clear()
