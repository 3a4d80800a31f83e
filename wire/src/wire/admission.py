"""How many jobs the queue takes: a share of what the live workers can do within the deadline, and never too few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wire.connection import jittered
from wire.presence import WorkerInfo

# While no rate is known nobody can tell what is too much: let a burst in, and let the deadlines sort it.
UNKNOWN_BOUND: Final = 1024
# Short of the deadline by what the work itself takes and what the rate got wrong; and a full queue is done with soon
# after a flood, so that those who come then do not wait behind it.
SHARE_OF_DEADLINE: Final = 0.25
# As many as may come at once from a page of thumbnails or a busy script are let in, as long as they are done in time.
BURST: Final = 128
SHARE_FOR_A_BURST: Final = 0.8
SHORTEST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 3.0
RETRY_JITTER_S: Final = 1.0


def bound_for(workers: Sequence[WorkerInfo], timeout_s: float, max_queue_size: int) -> int:
    """Give the depth at which a job is refused; max_queue_size decides where it is set (not 0)."""
    if max_queue_size:
        return max_queue_size
    if not workers or any(info.rate <= 0 for info in workers):
        return UNKNOWN_BOUND
    in_hand = sum(info.lanes * info.max_batch for info in workers)
    in_time = total_rate(workers) * timeout_s
    # Each lane may hold one batch and find another one waiting; and whoever has an answer may ask again before anybody
    # has looked how many those of the same batch were.
    burst = min(BURST + in_hand, round(SHARE_FOR_A_BURST * in_time))
    return max(2 * in_hand, burst, round(SHARE_OF_DEADLINE * in_time))


def total_rate(workers: Sequence[WorkerInfo]) -> float:
    """Give the jobs a second that these workers can do together."""
    return sum(info.rate for info in workers)


def retry_after_s(depth: int, rate: float) -> float:
    """Guess when half the queue will be done; jittered, so that those who were refused do not return as one."""
    half_done_s = depth / 2 / rate if rate > 0 else 0.0
    return min(max(half_done_s, SHORTEST_RETRY_S), LONGEST_RETRY_S - RETRY_JITTER_S) + jittered(RETRY_JITTER_S)
