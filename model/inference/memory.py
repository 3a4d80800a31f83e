"""Memory that is no longer used and not given back to the system."""

import ctypes
import mmap
from contextlib import suppress
from pathlib import Path
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


def unmap_code() -> None:
    """Give back the code of libraries, most of which only starting needed; what runs again is mapped again.

    Call it before there are other threads: a library that one of them is loading may have data where others have code.
    """
    with suppress(AttributeError, OSError):  # not Linux
        madvise = ctypes.CDLL(None).madvise
        for line in Path("/proc/self/maps").read_text().splitlines():
            place, mode, *_, name = line.split(maxsplit=5)
            # Code that is compiled while the process runs is in no library, and would be lost.
            if mode == "r-xp" and name.startswith("/") and ".so" in Path(name).name and "(deleted)" not in name:
                begin, end = (int(address, 16) for address in place.split("-"))
                madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
