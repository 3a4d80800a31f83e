"""Whether the queue takes one more job: by what the waiting ones are estimated to cost, not by how many they are.

The unit of cost is a usual photograph, decoded and classified. An image that takes longer to decode counts for as many
photographs as a worker could do in that time. An expensive one goes to a stream of its own, which is guaranteed a
quarter of what the workers can do and takes no more while other jobs wait; each stream admits only what its share can
do within the deadline, so that no job that is admitted misses its deadline for the cost of another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wire.decode_cost import PHOTOGRAPH_MS
from wire.messages import Job
from wire.redis.connection import jittered
from wire.redis.keys import JOB_FIELD, Keys
from wire.worker_registry import WorkerInfo

# Short of the deadline by what the work itself takes and what the rate got wrong; and a full queue is done with soon
# after a flood, so that those who come then do not wait behind it.
SHARE_OF_DEADLINE: Final = 0.25
# As many as may come at once from a page of thumbnails or a busy script are let in, as long as they are done in time.
BURST: Final = 128
SHARE_FOR_A_BURST: Final = 0.8
# While an expensive image is being decoded, a worker of one lane is left half of its processor.
SHARE_BESIDE_EXPENSIVE: Final = 0.4
EXPENSIVE_S = 0.25
EXPENSIVE_SHARE: Final = 0.25
# Beside other work an expensive image is decoded at half speed.
USUAL_STRETCH: Final = 2.0
# A map takes one more pass through the decoder and the network.
EXPLAINED_COST: Final = 2
# A lighter job counts as a usual one, so that Redis has few weights to add up.
LEAST_WEIGHT: Final = 1.0
# Jobs a second and lane, until any worker has measured its own.
NOMINAL_LANE_RATE: Final = 50.0
SHORTEST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 3.0
RETRY_JITTER_S: Final = 1.0
UNBOUNDED: Final = 2.0**53

# KEYS: a job stream, its weights, the other job stream, what is owed. ARGV: the largest depth at which the job is
# admitted; the same while the other stream holds jobs; the job's weight; the job; the share, in photographs a
# millisecond, or 0. The depth is XLEN, which counts what waits and what is in progress (an answer deletes its entry),
# and the weights of the heavier entries. Weights of entries that are gone are removed where the sum would refuse a job:
# whoever deletes an entry need not know of weights, and no sum can drift. "Owed" is when a share's past and present
# work is done at the rate of that share; it counts only while the other stream has work. A job that costs more than
# the whole bound still enters an empty stream, else nobody could ever send it.
ADMIT: Final = f"""
local function weights(is_checked)
  local sum, found = 0, redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
  for at = 1, #found, 2 do
    if is_checked and #redis.call('XRANGE', KEYS[1], found[at], found[at]) == 0 then
      redis.call('ZREM', KEYS[2], found[at])
    else
      sum = sum + found[at + 1]
    end
  end
  return sum
end
local function admit()
  local count, share, now, owed = redis.call('XLEN', KEYS[1]), tonumber(ARGV[5]), 0, 0
  local is_beside = redis.call('XLEN', KEYS[3]) > 0
  local room = tonumber(is_beside and ARGV[2] or ARGV[1])
  if share > 0 then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
    owed = is_beside and ((tonumber(redis.call('GET', KEYS[4])) or 0) - now) * share or 0
  end
  local depth = math.max(count + weights(false), owed)
  if depth > room then
    depth = math.max(count + weights(true), owed)
    if depth > room and depth > 0 then
      return math.ceil(depth)
    end
  end
  local entry = redis.call('XADD', KEYS[1], '*', '{JOB_FIELD}', ARGV[4])
  if tonumber(ARGV[3]) > 0 then
    redis.call('ZADD', KEYS[2], ARGV[3], entry)
  end
  if share > 0 then
    local done = math.ceil(now + (depth + 1 + ARGV[3]) / share)
    redis.call('SET', KEYS[4], string.format('%.0f', done), 'PX', math.max(done - now, 1))
  end
  return math.ceil(depth), entry
end
"""
ADMIT_ONE: Final = ADMIT + "return {admit()}"
ADMIT_ONE_SHA: Final = hashlib.sha1(ADMIT_ONE.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the live workers can do together.

    `rate` is in photographs a second, 0 while none is known; `lane_rate` is that of one lane, a guess while none is
    known; `expensive_lanes` are the lanes that expensive jobs are guaranteed.
    """

    rate: float = 0.0
    lane_rate: float = NOMINAL_LANE_RATE
    in_hand: int = 0
    slowness: float = 1.0
    budget_s: float = math.inf
    expensive_lanes: float = EXPENSIVE_SHARE
    stretch: float = USUAL_STRETCH

    @classmethod
    def of(cls, workers: Sequence[WorkerInfo]) -> Capacity:
        """Add up what workers publish; one that has not measured its rate counts as the others do."""
        known = [info for info in workers if info.rate > 0]
        lane_rate = sum(info.rate for info in known) / sum(info.lanes for info in known) if known else 0.0
        slowness = [info.slowness for info in workers if info.slowness > 0]
        stretches = [info.stretch for info in workers if info.stretch > 0]
        # A worker of an earlier release has no budget, and does not read the stream of expensive jobs.
        takers = [info for info in workers if info.decode_budget_s > 0]
        return cls(
            rate=lane_rate * sum(info.lanes for info in workers),
            lane_rate=lane_rate or NOMINAL_LANE_RATE,
            in_hand=sum(info.lanes * info.max_batch for info in workers),
            slowness=sum(slowness) / len(slowness) if slowness else 1.0,
            budget_s=max((info.decode_budget_s for info in takers), default=math.inf),
            expensive_lanes=sum(min(info.lanes * EXPENSIVE_SHARE, 1.0) for info in takers)
            if workers
            else EXPENSIVE_SHARE,
            stretch=max([USUAL_STRETCH, *stretches]),
        )


# Of the workers that were seen last: every request asks for it, and it changes ten times a second.
_kept: list[tuple[Sequence[WorkerInfo], Capacity]] = [((), Capacity())]


def capacity_of(workers: Sequence[WorkerInfo]) -> Capacity:
    """Return what these workers can do together."""
    seen, capacity = _kept[0]
    if seen is not workers:
        capacity = Capacity.of(workers)
        _kept[0] = (workers, capacity)
    return capacity


@dataclass(slots=True)
class Terms:
    """On what terms one job is admitted: to which stream, at what cost in photographs, and up to which depth."""

    stream: str
    other: str
    cost: float = 1.0
    bound: float = UNBOUNDED
    bound_beside: float = UNBOUNDED
    share_per_ms: float = 0.0

    def keys(self, keys: Keys) -> tuple[str, ...]:
        """Return the keys of the script."""
        return self.stream, keys.weights(self.stream), self.other, keys.owed

    def arguments(self, job: bytes) -> tuple[str | bytes, ...]:
        """Return the arguments of the script."""
        weight = self.cost - 1 if self.cost - 1 >= LEAST_WEIGHT else 0
        room, beside = max(self.bound - self.cost, 0), max(self.bound_beside - self.cost, 0)
        return repr(room), repr(beside), repr(weight), job, repr(self.share_per_ms)


def terms_for(job: Job, keys: Keys, workers: Sequence[WorkerInfo], timeout_s: float, max_queue_size: int) -> Terms:
    """Return the terms for a job; max_queue_size is the bound in photographs where it is set (not 0)."""
    capacity = capacity_of(workers)
    decode_s = extra_decode_s(job, capacity.slowness)
    if job.decode_ms * capacity.slowness / 1000 > capacity.budget_s:
        # Refused by its header, which costs a worker next to nothing.
        decode_s = 0.0
    cost = _passes(job) + decode_s * capacity.lane_rate
    if decode_s > EXPENSIVE_S and capacity.expensive_lanes:
        return _expensive_terms(keys, capacity, _passes(job), decode_s, timeout_s, max_queue_size)
    bound = _bound(capacity, timeout_s, max_queue_size)
    beside = bound
    if capacity.rate and not max_queue_size:
        beside = min(bound, max(2 * capacity.in_hand, round(SHARE_BESIDE_EXPENSIVE * capacity.rate * timeout_s)))
    return Terms(keys.jobs, keys.expensive, cost, bound, beside)


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


def bound_for(workers: Sequence[WorkerInfo], timeout_s: float, max_queue_size: int) -> int:
    """Return the depth, in photographs, at which a job is refused; max_queue_size decides where it is set (not 0)."""
    return _bound(capacity_of(workers), timeout_s, max_queue_size)


def _bound(capacity: Capacity, timeout_s: float, max_queue_size: int) -> int:
    if max_queue_size:
        return max_queue_size
    in_hand = capacity.in_hand
    if not capacity.rate:
        return max(2 * in_hand, BURST + in_hand)
    in_time = capacity.rate * timeout_s
    # Each lane may hold one batch and find another one waiting; and whoever has an answer may ask again before anybody
    # has looked how many those of the same batch were.
    burst = min(BURST + in_hand, round(SHARE_FOR_A_BURST * in_time))
    return max(2 * in_hand, burst, round(SHARE_OF_DEADLINE * in_time))


def total_rate(workers: Sequence[WorkerInfo]) -> float:
    """Return the photographs a second that these workers can do; 0 while none of them has measured any."""
    return capacity_of(workers).rate


def retry_after_s(depth: int, rate: float) -> float:
    """Guess when half the queue will be done; jittered, so that those who were refused do not return as one."""
    half_done_s = depth / 2 / rate if rate > 0 else 0.0
    return min(max(half_done_s, SHORTEST_RETRY_S), LONGEST_RETRY_S - RETRY_JITTER_S) + jittered(RETRY_JITTER_S)


def extra_decode_s(job: Job, slowness: float) -> float:
    """Return the seconds that a job is estimated to take for decoding, beyond those of a usual photograph."""
    return _passes(job) * max(job.decode_ms - PHOTOGRAPH_MS, 0) * slowness / 1000


def _passes(job: Job) -> int:
    return EXPLAINED_COST if job.is_explained else 1
