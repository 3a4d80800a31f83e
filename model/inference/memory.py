"""Memory that is freed and not given back to the system."""

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Return freed memory to the system, where the C library can: loading a model frees several times its size."""
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
