"""Settings of the memory allocator for runs on a CPU."""

import ctypes
import platform

import jax

# From glibc's malloc.h: parameters of mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Keeps large freed blocks in the process, on a CPU under glibc.

    By default they go back to the kernel, and every call of a compiled program waits for fresh
    pages: a fifth of the demo's train step, and most of some relation losses (bench/relations.py).

    Returns:
        Whether the allocator was set; False on other platforms.
    """
    if jax.default_backend() != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28}
    return all([mallopt(parameter, value) for parameter, value in settings.items()])
