"""Work that waits for a disk or a lock, kept away from the loop that serves every client."""

import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NoReturn, TypeVar

import problems
from problems import Problem

Result = TypeVar("Result")

# A disk or a lock that takes longer than this is not coming back while the client waits.
TIMEOUT_S = 10.0
# Few: a disk serves one writer at a time, and each thread may be stuck with it.
THREADS = 4


class StorageStuck(Problem):
    """The disk, or the holder of a lock, did not answer in time; the work may still be done later."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "storage_stuck", detail, retry_after_s=problems.soon())


def run(work: Callable[[], Result]) -> Result:
    """Do `work` in a thread where gevent serves this process, else here; raises StorageStuck after TIMEOUT_S."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return work()
    return _run_in_thread(work)


def _run_in_thread(work: Callable[[], Result]) -> Result:
    import gevent  # noqa: PLC0415  only where gevent serves, and then it is there already

    try:
        with gevent.Timeout(TIMEOUT_S):
            give: Callable[[], Result] = _pool().apply(_outcome_of, (work,))
    except gevent.Timeout:
        raise StorageStuck(f"The service's disk did not answer within {TIMEOUT_S:g} s.") from None
    return give()


def _outcome_of(work: Callable[[], Result]) -> Callable[[], Result]:
    """Do `work`, and give what gives its result or raises its error.

    An error that left the thread by itself would be printed there first: for nothing, and where the log is on the same
    full disk, without an end.
    """
    try:
        result = work()
    except Exception as error:  # noqa: BLE001  raised again where it belongs
        return partial(_raise, error)
    return lambda: result


def _raise(error: Exception) -> NoReturn:
    raise error


@cache
def _pool() -> Any:
    from gevent.threadpool import ThreadPool  # noqa: PLC0415  as above

    # Of our own: what is stuck here must not keep gevent's own work, such as name look-ups, waiting.
    return ThreadPool(THREADS)
