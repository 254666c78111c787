"""Settings of the memory allocator for runs on a CPU."""

import ctypes
import functools
import platform
from typing import Any

import jax

# From glibc's malloc.h: parameters of mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
# JAX reports the compiler's seconds under this name; shorter ones left little behind.
_COMPILED, _LONG = "/jax/core/compile/backend_compile_duration", 1.0


def keep_freed_memory() -> bool:
    """Keeps large freed blocks in the process, on a CPU under glibc.

    By default they go back to the kernel, and every call of a compiled program waits for fresh
    pages: a fifth of the demo's train step, and most of some relation losses (bench/relations.py).
    The compiler's memory is not kept: in pieces, it is no use to programs, and may be larger than
    theirs.

    Returns:
        Whether the allocator was set; False on other platforms.
    """
    if jax.default_backend() != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28}
    _listen_to_compiler()
    return all([mallopt(parameter, value) for parameter, value in settings.items()])


@functools.cache
def _listen_to_compiler() -> None:
    """Returns the compiler's memory to the kernel after each compilation; once per process."""
    jax.monitoring.register_event_duration_secs_listener(_return_memory)


def _return_memory(event: str, seconds: float, **_: Any) -> None:
    if event == _COMPILED and seconds >= _LONG:
        ctypes.CDLL(None).malloc_trim(0)
