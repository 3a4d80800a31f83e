"""Work that waits for a disk, a lock or the network, kept away from the event loop that serves every client."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from storage.errors import StorageStuck

Result = TypeVar("Result")
Item = TypeVar("Item")

# A disk or a lock that takes longer than this will not be there while the client waits.
TIMEOUT_S = 10.0
# Few: a disk serves one writer at a time, and each thread may be stuck with it.
THREADS = 4
# What one request waits for at the same time; others use the same remote place.
AT_ONCE = 16
_is_in_thread: ContextVar[bool] = ContextVar("_is_in_thread", default=False)


def is_served() -> bool:
    """Return whether gevent serves this process; else it is a command, or a test, and waits by itself."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("socket")


class Pool:
    """Threads for work that waits for one thing; `stuck` makes the error of what takes longer than `timeout_s`.

    What is stuck here must keep neither gevent's own work, such as name look-ups, nor that of another pool waiting.
    """

    def __init__(self, threads: int, timeout_s: float, stuck: Callable[[str], Exception]) -> None:
        self._threads, self._timeout_s, self._stuck = threads, timeout_s, stuck
        self._pool: Any = None

    def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` in a thread where gevent serves this process, else here; what runs in a thread already stays."""
        if not is_served() or _is_in_thread.get():
            return work()
        import gevent  # noqa: PLC0415  it is loaded already
        from gevent.threadpool import ThreadPool  # noqa: PLC0415  as above

        if self._pool is None:
            self._pool = ThreadPool(self._threads)
        try:
            with gevent.Timeout(self._timeout_s):
                result, error = self._pool.apply(_caught, (work,))
        except gevent.Timeout:
            raise self._stuck(f"The service's disk did not answer within {self._timeout_s:g} s.") from None
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]


def _caught(work: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
    # An error that leaves the thread is printed there first: endlessly, where the log is on the same full disk.
    _is_in_thread.set(True)
    try:
        return work(), None
    except Exception as error:  # noqa: BLE001  raised again by the caller
        return None, error


_disk = Pool(THREADS, TIMEOUT_S, StorageStuck)
# Reports wait for their lock, which other processes hold as well: images have to get past them, and they past images.
_reports = Pool(THREADS, TIMEOUT_S, StorageStuck)


def run(work: Callable[[], Result]) -> Result:
    """Run `work` that waits for the disk or a lock; raise StorageStuck after TIMEOUT_S."""
    return _disk.run(work)


def run_for_reports(work: Callable[[], Result]) -> Result:
    """Do the same for work with the files of reports."""
    return _reports.run(work)


def together(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return what `work` returns for each item, AT_ONCE at a time where gevent serves: it waits for I/O."""
    if not is_served() or _is_in_thread.get():
        return [work(item) for item in items]
    from gevent.pool import Pool as Greenlets  # noqa: PLC0415  gevent is loaded already

    return list(Greenlets(AT_ONCE).imap(work, items))


@contextmanager
def limited(seconds: float, error: Exception) -> Iterator[None]:
    """Raise an error in this greenlet where what is done within takes longer; without gevent, wait for its end."""
    if not is_served():
        yield
        return
    import gevent  # noqa: PLC0415  it is loaded already

    with gevent.Timeout(seconds) as timeout:
        try:
            yield
        except gevent.Timeout as raised:
            if raised is not timeout:
                raise
            raise error from None
