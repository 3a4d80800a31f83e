"""Work that waits for a disk or a lock, kept away from the event loop that serves every client."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import problems
from problems import Problem

Result = TypeVar("Result")

# A disk or a lock that takes longer than this will not be there while the client waits.
TIMEOUT_S = 10.0
# Few: a disk serves one writer at a time, and each thread may be stuck with it.
THREADS = 4


class StorageStuck(Problem):
    """The disk, or the holder of a lock, did not answer in time; the work may still be done later."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "storage_stuck", detail, retry_after_s=problems.soon())


def run(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread where gevent serves this process, else here; raise StorageStuck after TIMEOUT_S."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("socket"):
        return work()
    import gevent  # noqa: PLC0415  it is loaded already

    def catching() -> tuple[Result | None, Exception | None]:
        # An error that leaves the thread is printed there first: endlessly, where the log is on the same full disk.
        try:
            return work(), None
        except Exception as error:  # noqa: BLE001  raised again below
            return None, error

    try:
        with gevent.Timeout(TIMEOUT_S):
            result, error = _pool().apply(catching)
    except gevent.Timeout:
        raise StorageStuck(f"The service's disk did not answer within {TIMEOUT_S:g} s.") from None
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


@cache
def _pool() -> Any:
    from gevent.threadpool import ThreadPool  # noqa: PLC0415  as above

    # Of our own: what is stuck here must not keep gevent's own work, such as name look-ups, waiting.
    return ThreadPool(THREADS)
