"""Which jobs run together: what has piled up, oldest first, without waiting for more unless configured.

What takes much longer to decode than the others runs by itself, so that they do not wait for it.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar


class Delivered(Protocol):
    """A job in hand, with how often it was delivered, and the milliseconds that decoding its image is to take."""

    @property
    def deliveries(self) -> int:
        """1 for the first time."""

    @property
    def decode_ms(self) -> int:
        """0 for a usual photograph."""


# What the images of one batch may take to decode; usual photographs count as nothing.
MAX_DECODE_MS = 50
JobT = TypeVar("JobT", bound=Delivered)
Receive = Callable[[int, int], list[JobT]]  # (most jobs, milliseconds to wait for the first) -> jobs


def batches(
    receive: Receive[JobT], *, max_size: int, max_wait_ms: float, idle_ms: int, now_ms: Callable[[], float]
) -> Iterator[list[JobT]]:
    """Yield the next batches to run, one after the other; none when nothing came within `idle_ms`.

    `max_wait_ms` is how long a batch waits to be filled, from its first job on. What takes long to decode runs alone,
    and so does a job that was delivered before, which may be why its worker died. After each of these, what has come
    meanwhile has its turn.
    """
    in_hand = receive(max_size, idle_ms)
    until = now_ms() + max_wait_ms
    while in_hand and not is_redelivery(in_hand[-1]) and len(in_hand) < max_size and (left := until - now_ms()) >= 1:
        in_hand += receive(max_size - len(in_hand), int(left))
    while in_hand:
        together, rest = _light(in_hand)
        if together:
            yield together
        if rest:
            yield [rest.pop(0)]
        # No first delivery is in hand while a redelivered job runs.
        has_redelivery = bool(rest) and is_redelivery(rest[-1])
        in_hand = rest if has_redelivery or not rest else rest + receive(max_size - len(rest), 0)


def _light(jobs: list[JobT]) -> tuple[list[JobT], list[JobT]]:
    """Return the jobs that run together, and the others in the order in which they run."""
    together: list[JobT] = []
    rest: list[JobT] = []
    left_ms = MAX_DECODE_MS
    for job in jobs:
        is_light = not is_redelivery(job) and job.decode_ms <= left_ms
        (together if is_light else rest).append(job)
        left_ms -= job.decode_ms if is_light else 0
    return together, sorted(rest, key=is_redelivery)


def is_redelivery(job: Delivered) -> bool:
    """Return whether an earlier attempt at the job came to nothing."""
    return job.deliveries > 1
