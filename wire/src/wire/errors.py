"""Everything that can go wrong between asking and answering: one tree, and the class says whose fault it is."""

from __future__ import annotations


class WireError(Exception):
    """Root of every error that this library raises on purpose."""


class MessageError(WireError):
    """Bytes that are no message of ours; `evidence` holds the first of them, printable."""

    def __init__(self, reason: str, evidence: str = "") -> None:
        super().__init__(f"{reason}: {evidence}" if evidence else reason)
        self.reason = reason
        self.evidence = evidence


class QueueUnavailable(WireError):  # noqa: N818  the name says what happened
    """Redis is away, or too slow to be of use."""


class QueueFull(WireError):  # noqa: N818  the name says what happened
    """The queue is at its bound: the job was refused and is not in it."""

    def __init__(self, depth: int, bound: int, retry_after_s: float) -> None:
        super().__init__(f"the queue holds {depth} jobs and takes {bound}; try again in {retry_after_s:.1f} s")
        self.depth = depth
        self.bound = bound
        self.retry_after_s = retry_after_s


class NoWorker(WireError):  # noqa: N818  the name says what happened
    """No live worker is known; `startup_error` is why one could not start, empty where that is not known."""

    def __init__(self, startup_error: str = "") -> None:
        reason = f": {startup_error}" if startup_error else "; start one, or read its log"
        super().__init__(f"no live model worker is known{reason}")
        self.startup_error = startup_error


class DeadlineExceeded(WireError):  # noqa: N818  the name says what happened
    """The time given for the answer has passed."""


class Abandoned(WireError):  # noqa: N818  the name says what happened
    """The caller has gone; the job was taken back where it still waited."""


class UnknownJob(WireError):  # noqa: N818  the name says what happened
    """There is no job of that handle: it never was, it was cancelled, or its answer was kept long enough."""
