"""Whether the queue takes one more job: by what the waiting ones are estimated to cost, not by how many they are.

The unit of cost is a usual photograph, decoded and classified. An image that takes longer to decode counts for as many
photographs as a worker could do in that time. An expensive one goes to a stream of its own, which is guaranteed a
quarter of what the workers can do and takes no more while other jobs wait; each stream admits only what its share can
do within the deadline, so that no job that is admitted misses its deadline for the cost of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from wire.decode_cost import extra_decode_s
from wire.errors import QueueFull
from wire.messages import Job
from wire.queue_stats import USUAL_STRETCH, Capacity
from wire.redis.connection import RedisRefusal, checked, is_out_of_memory
from wire.redis.keys import Keys
from wire.redis.loop import jittered
from wire.redis.pipeline import Script, Words

# Short of the deadline by what the work itself takes and what the rate got wrong; and a full queue is done with soon
# after a flood, so that those who come then do not wait behind it.
SHARE_OF_DEADLINE: Final = 0.25
# As many as may come at once from a page of thumbnails or a busy script are let in, as long as they are done in time.
BURST: Final = 128
SHARE_FOR_A_BURST: Final = 0.8
# While an expensive image is being decoded, a worker of one lane is left half of its processor.
SHARE_BESIDE_EXPENSIVE: Final = 0.4
EXPENSIVE_S: Final = 0.25
# A lighter job counts as a usual one, so that Redis has few weights to add up.
LEAST_WEIGHT: Final = 1.0
SHORTEST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 3.0
RETRY_JITTER_S: Final = 1.0
UNBOUNDED: Final = 2.0**53

SUBMIT: Final = Script("admit", "submit")
ENQUEUE: Final = Script("admit", "enqueue")


@dataclass(slots=True)
class Terms:
    """On what terms one job is admitted: to which stream, at what cost in photographs, and up to which depth.

    While the stream holds fewer than `burst` jobs, and the other one none, it is `burst_bound` if that is more.
    """

    stream: str
    other: str
    cost: float = 1.0
    bound: float = UNBOUNDED
    bound_beside: float = UNBOUNDED
    share_per_ms: float = 0.0
    burst: int = 0
    burst_bound: float = 0.0

    def words(
        self, keys: Keys, job: bytes, more_keys: Sequence[str] = (), more_arguments: Sequence[str | bytes | int] = ()
    ) -> Words:
        """Return the run of a script that admits a job, or none (b""), with its own keys and arguments."""
        weight = repr(self.cost - 1 if self.cost - 1 >= LEAST_WEIGHT else 0)
        room, beside = repr(max(self.bound - self.cost, 0)), repr(max(self.bound_beside - self.cost, 0))
        all_keys = (self.stream, keys.weights[self.stream], self.other, keys.owed, *more_keys)
        burst = self.burst, repr(max(self.burst_bound - self.cost, 0))
        return len(all_keys), *all_keys, room, beside, weight, job, repr(self.share_per_ms), *burst, *more_arguments


def terms_for(job: Job, keys: Keys, capacity: Capacity, timeout_s: float, max_queue_size: int) -> Terms:
    """Return the terms for a job; max_queue_size is the bound in photographs where it is set (not 0)."""
    decode_s = extra_decode_s(job, capacity.slowness) if job.decode_ms else 0.0
    if job.decode_ms * capacity.slowness / 1000 > capacity.budget_s:
        # Refused by its header, which costs a worker next to nothing.
        decode_s = 0.0
    if decode_s > EXPENSIVE_S and capacity.expensive_lanes:
        return _expensive_terms(keys, capacity, job.passes, decode_s, timeout_s, max_queue_size)
    bound, beside = bounds_for(capacity, timeout_s, max_queue_size)
    burst = (0, 0) if max_queue_size else burst_for(capacity, timeout_s)
    return Terms(keys.jobs, keys.expensive, job.passes + decode_s * capacity.lane_rate, bound, beside, 0.0, *burst)


def _expensive_terms(  # noqa: PLR0913, PLR0917  what the terms depend on
    keys: Keys, capacity: Capacity, passes: int, decode_s: float, timeout_s: float, max_queue_size: int
) -> Terms:
    # On a machine that others use as well it takes longer than beside the other lanes alone.
    decode_s *= capacity.stretch / USUAL_STRETCH
    cost = passes + decode_s * capacity.lane_rate
    if max_queue_size:
        return Terms(keys.expensive, keys.jobs, cost, max_queue_size, max_queue_size)
    share = capacity.lane_rate * capacity.expensive_lanes
    bound = cost + share * max(SHARE_FOR_A_BURST * timeout_s - USUAL_STRETCH * decode_s, 0.0)
    return Terms(keys.expensive, keys.jobs, cost, bound, bound, share / 1000)


def bounds_for(capacity: Capacity, timeout_s: float, max_queue_size: int) -> tuple[int, int]:
    """Return the depth, in photographs, that the usual jobs must not exceed: alone, and beside expensive ones."""
    if max_queue_size:
        return max_queue_size, max_queue_size
    in_hand = capacity.in_hand
    if not capacity.rate:
        return (max(2 * in_hand, BURST + in_hand),) * 2
    in_time = capacity.rate * timeout_s
    # Each lane may hold one batch and find another one waiting.
    bound = max(2 * in_hand, min(burst_for(capacity, timeout_s)), round(SHARE_OF_DEADLINE * in_time))
    return bound, min(bound, max(2 * in_hand, round(SHARE_BESIDE_EXPENSIVE * in_time)))


def burst_for(capacity: Capacity, timeout_s: float) -> tuple[int, int]:
    """Return how many jobs may come at once, and the depth in photographs up to which they are done in time.

    They count by number, so that a folder of large photographs is taken as one of thumbnails is. Whoever has an answer
    may ask again before anybody has counted the other answers of its batch: hence the jobs in hand.
    """
    return BURST + capacity.in_hand, round(SHARE_FOR_A_BURST * capacity.rate * timeout_s)


def retry_after_s(depth: int, rate: float) -> float:
    """Guess when half the queue will be done; jittered, so that those who were refused do not return as one."""
    half_done_s = depth / 2 / rate if rate > 0 else 0.0
    return min(max(half_done_s, SHORTEST_RETRY_S), LONGEST_RETRY_S - RETRY_JITTER_S) + jittered(RETRY_JITTER_S)


def admitted(reply: Any, terms: Terms, rate: float) -> list[Any]:
    """Return what a script has to say of a job that it admitted: the depth before, the entry, and whatever else.

    `rate` is that of the workers, for the time to wait. Raise QueueFull, or QueueUnavailable for an error of Redis.
    """
    if isinstance(reply, RedisRefusal):
        if is_out_of_memory(reply):
            raise QueueFull(0, round(terms.bound), retry_after_s(0, rate)) from reply
        checked(reply)
    depth, *found = reply
    if not found:
        raise QueueFull(depth, round(terms.bound), retry_after_s(depth, rate))
    return [depth, *found]
