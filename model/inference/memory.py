"""Memory that is no longer used and not given back to the system."""

import ctypes
import mmap
from contextlib import suppress
from weakref import WeakSet

# Mapped from files that hold all of it.
_mapped: "WeakSet[mmap.mmap]" = WeakSet()


def note_mapped(mapped: mmap.mmap) -> None:
    """Give memory that is mapped from a file back with the rest; what is used again is read from the file."""
    _mapped.add(mapped)


def give_back() -> None:
    """Return unused memory to the system, where the C library can: loading a model frees several times its size."""
    for mapped in list(_mapped):
        mapped.madvise(mmap.MADV_DONTNEED)
    with suppress(AttributeError, OSError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
