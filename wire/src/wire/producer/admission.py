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

from wire.decode_cost import extra_ms
from wire.errors import QueueFull, ShareUsed
from wire.messages import Job
from wire.queue_stats import USUAL_STRETCH, Capacity
from wire.redis.faults import RedisRefusal
from wire.redis.keys import Keys
from wire.redis.pipeline import Script, Words
from wire.redis.resp import checked, is_out_of_memory

# Short of the deadline by what the work itself takes and what the rate got wrong; and a full queue is done with soon
# after a flood, so that those who come then do not wait behind it.
SHARE_OF_DEADLINE: Final = 0.25
# A burst as large as a page of thumbnails or a busy script sends is admitted, as long as they are done in time.
BURST: Final = 128
SHARE_FOR_A_BURST: Final = 0.8
# While an expensive image is being decoded, a worker of one consumer is left half of its processor.
SHARE_BESIDE_EXPENSIVE: Final = 0.4
EXPENSIVE_S: Final = 0.25
# What a client may hold while others have jobs in the queue; and by how much a client that holds little may exceed the
# bound, so that one that came first and fills the queue alone keeps no one out.
SHARE_OF_A_CLIENT: Final = 0.5
SPARE: Final = 1.5
SHARE_FOR_SPARE: Final = 0.9
# A lighter job counts as a usual one, so that Redis has few weights to add up.
MIN_WEIGHT: Final = 1.0
UNBOUNDED: Final = 2.0**53
SHARE_IS_USED: Final = "this client's jobs are half of the queue, which is what a client may have while others wait"

SUBMIT: Final = Script("admit", "submit")
ENQUEUE: Final = Script("admit", "enqueue")


@dataclass(slots=True)
class Terms:
    """On what terms one job is admitted: to which stream, at what cost in photographs, and up to which depth.

    `cost_per_ms` is what a millisecond of estimated decoding costs at this moment, also that of the jobs that wait.
    While the stream holds fewer than `burst` jobs, and the other one none, it is `burst_bound` if that is more.
    """

    stream: str
    other: str
    cost: float = 1.0
    cost_per_ms: float = 1.0
    bound: float = UNBOUNDED
    bound_beside: float = UNBOUNDED
    share_per_ms: float = 0.0
    burst: int = 0
    burst_bound: float = 0.0
    # Whose job it is, of letters and digits; and the depth up to which a client that holds little is admitted.
    client: str = ""
    spare: float = 0.0

    def words(
        self, keys: Keys, job: bytes, more_keys: Sequence[str] = (), more_arguments: Sequence[str | bytes | int] = ()
    ) -> Words:
        """Return the run of a script that admits a job, or none (b""), with its own keys and arguments."""
        weight = repr((self.cost - 1) / self.cost_per_ms if self.cost - 1 >= MIN_WEIGHT else 0)
        room, beside = repr(max(self.bound - self.cost, 0)), repr(max(self.bound_beside - self.cost, 0))
        own_keys = self.stream, keys.weights[self.stream], self.other, keys.owed, keys.clients[self.stream]
        all_keys = (*own_keys, *more_keys)
        burst = self.burst, repr(max(self.burst_bound - self.cost, 0))
        rates = repr(self.share_per_ms), *burst, repr(self.cost_per_ms)
        shares = self.client, repr(SHARE_OF_A_CLIENT * self.bound), repr(max(self.spare - self.cost, 0))
        return len(all_keys), *all_keys, room, beside, weight, job, *rates, *shares, *more_arguments


def terms_for(job: Job, keys: Keys, capacity: Capacity, timeout_s: float, max_queue_size: int) -> Terms:
    """Return the terms for a job; max_queue_size is the bound in photographs where it is set (not 0)."""
    decode_ms = extra_ms(job)
    if job.decode_ms * capacity.slowness / 1000 > capacity.budget_s:
        # Refused by its header, which costs a worker next to nothing.
        decode_ms = 0
    if decode_ms * capacity.slowness / 1000 > EXPENSIVE_S and capacity.expensive_consumers:
        return _expensive_terms(keys, capacity, job.passes, decode_ms, timeout_s, max_queue_size)
    bound, beside = bounds_for(capacity, timeout_s, max_queue_size)
    burst, in_time = burst_for(capacity, timeout_s)
    per_ms = cost_per_ms(capacity, capacity.usual_stretch)
    terms = Terms(keys.jobs, keys.expensive, job.passes + decode_ms * per_ms, per_ms, bound, beside)
    if not max_queue_size:
        terms.burst, terms.burst_bound = burst, in_time
        terms.spare = max(min(SPARE * bound, SHARE_FOR_SPARE * capacity.rate * timeout_s), bound)
    return terms


def _expensive_terms(  # noqa: PLR0913, PLR0917  what the terms depend on
    keys: Keys, capacity: Capacity, passes: int, decode_ms: int, timeout_s: float, max_queue_size: int
) -> Terms:
    # On a machine that others use as well it takes longer than with the other consumers alone.
    stretch = capacity.stretch / USUAL_STRETCH
    per_ms = cost_per_ms(capacity, stretch)
    cost = passes + decode_ms * per_ms
    if max_queue_size:
        return Terms(keys.expensive, keys.jobs, cost, per_ms, max_queue_size, max_queue_size)
    share = capacity.consumer_rate * capacity.expensive_consumers
    own_s = USUAL_STRETCH * stretch * decode_ms * capacity.slowness / 1000
    bound = cost + share * max(SHARE_FOR_A_BURST * timeout_s - own_s, 0.0)
    return Terms(keys.expensive, keys.jobs, cost, per_ms, bound, bound, share / 1000)


def cost_per_ms(capacity: Capacity, stretch: float = 1.0) -> float:
    """Return how many photographs a consumer does in what decoding takes that is estimated at a millisecond."""
    return capacity.slowness * stretch * capacity.consumer_rate / 1000


def probe(keys: Keys, capacity: Capacity) -> Words:
    """Return the run of the script that admits nothing and returns the depth.

    With no room at all, it removes the weights of entries that are gone first.
    """
    per_ms = cost_per_ms(capacity, capacity.usual_stretch)
    return Terms(keys.jobs, keys.expensive, cost_per_ms=per_ms, bound=0, bound_beside=0).words(keys, b"")


def bounds_for(capacity: Capacity, timeout_s: float, max_queue_size: int) -> tuple[int, int]:
    """Return the depth, in photographs, that the usual jobs must not exceed: without and with expensive ones."""
    if max_queue_size:
        return max_queue_size, max_queue_size
    in_hand = capacity.in_hand
    if not capacity.rate:
        return (max(2 * in_hand, BURST + in_hand),) * 2
    in_time = capacity.rate * timeout_s
    # Each consumer may hold one batch and find another one waiting.
    bound = max(2 * in_hand, min(burst_for(capacity, timeout_s)), round(SHARE_OF_DEADLINE * in_time))
    return bound, min(bound, max(2 * in_hand, round(SHARE_BESIDE_EXPENSIVE * in_time)))


def burst_for(capacity: Capacity, timeout_s: float) -> tuple[int, int]:
    """Return how many jobs may arrive in one burst, and the depth in photographs up to which they are done in time.

    They count by number, so that a folder of large photographs is taken as one of thumbnails is. A client that has an
    answer may send another job before the other answers of its batch are counted: hence the jobs in hand.
    """
    return BURST + capacity.in_hand, round(SHARE_FOR_A_BURST * capacity.rate * timeout_s)


def admitted(reply: Any, terms: Terms, rate: float) -> list[Any]:
    """Return the reply of a script for an admitted job: the depth before, the entry, and the rest.

    `rate` is that of the workers, for the time to wait. Raise QueueFull, or QueueUnavailable for an error of Redis.
    """
    if isinstance(reply, RedisRefusal):
        if is_out_of_memory(reply):
            reason = "Redis is out of memory and takes no more jobs"
            raise QueueFull(0, round(terms.bound), rate, reason) from reply
        checked(reply)
    depth, *found = reply
    if not found:
        raise QueueFull(depth, round(terms.bound), rate)
    if found[0] == 0:
        raise ShareUsed(depth, round(terms.bound), rate, SHARE_IS_USED)
    return [depth, *found]
