"""All errors between a request and its answer: one tree, whose classes name the cause."""

from __future__ import annotations

from random import SystemRandom

SHORTEST_RETRY_S = 1.0
LONGEST_RETRY_S = 3.0
RETRY_JITTER_S = 1.0
# Without a seed that processes forked from one another would share.
_random = SystemRandom()


class WireError(Exception):
    """Root of every error that this library raises on purpose."""


class MessageError(WireError):
    """Bytes that are no message of ours; `evidence` holds the first of them, printable."""

    def __init__(self, reason: str, evidence: str = "") -> None:
        super().__init__(f"{reason}: {evidence}" if evidence else reason)
        self.reason = reason
        self.evidence = evidence


class QueueUnavailable(WireError):  # noqa: N818  the name says what happened
    """Redis is unavailable, too slow or refuses a command; `advice` is the remedy, empty where unknown."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason}. That is, {advice}" if advice else reason)
        self.advice = advice


class QueueFull(WireError):  # noqa: N818  the name says what happened
    """The job was refused and is not in the queue, which is at its bound; or for another `reason`.

    `rate` is the jobs a second that the workers do, 0 where it is not known. `retry_after_s` is when half the queue
    will be done, 1.5 to 3 s; jittered, so that those who were refused do not return as one.
    """

    def __init__(self, depth: int, bound: int, rate: float, reason: str = "") -> None:
        super().__init__(reason or f"the queue holds {depth} jobs and takes {bound}")
        self.depth = depth
        self.bound = bound
        half_done_s = depth / 2 / rate if rate > 0 else 0.0
        wait_s = min(max(half_done_s, SHORTEST_RETRY_S), LONGEST_RETRY_S - RETRY_JITTER_S)
        self.retry_after_s = wait_s + RETRY_JITTER_S * _random.uniform(0.5, 1.0)


class ShareUsed(QueueFull):
    """The client has as many jobs in the queue as it may have while others wait."""


class NoWorker(WireError):  # noqa: N818  the name says what happened
    """No live worker is known; `startup_error` is why one could not start, empty where that is not known."""

    def __init__(self, startup_error: str = "") -> None:
        reason = f": {startup_error}" if startup_error else "; start one, or read its log"
        super().__init__(f"no live model worker is known{reason}")
        self.startup_error = startup_error


class NotReplicated(WireError):  # noqa: N818  the name says what happened
    """The job was refused, since fewer replicas of Redis have it than are to have it; it was taken back."""

    def __init__(self, replicas: int, wanted: int) -> None:
        super().__init__(f"{replicas} of {wanted} replicas of Redis had the job in time")
        self.replicas = replicas
        self.wanted = wanted


class DeadlineExceeded(WireError):  # noqa: N818  the name says what happened
    """The time given for the answer has passed."""


class Abandoned(WireError):  # noqa: N818  the name says what happened
    """The caller has gone; the job was taken back where it still waited."""


class UnknownJob(WireError):  # noqa: N818  the name says what happened
    """There is no job of that handle: it never was, it was cancelled, or its answer was kept long enough."""


class OrdersFull(WireError):  # noqa: N818  the name says what happened
    """The order was refused: as many as may wait for the trainer do already."""

    def __init__(self, bound: int) -> None:
        super().__init__(f"{bound} orders wait for the trainer already, as many as may")
        self.bound = bound


class OrderKeyReused(WireError):  # noqa: N818  the name says what happened
    """Another order has come under the same key before."""
