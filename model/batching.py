"""Which jobs run together: what has piled up, oldest first, no waiting for company unless told to.

What takes much longer to decode than the others runs after them, so that they do not wait for it.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar


class Delivered(Protocol):
    """What is asked of a job in hand: how often it has been handed out."""

    @property
    def deliveries(self) -> int:
        """1 for the first time."""

    @property
    def decode_ms(self) -> int:
        """What the job's image is estimated to take to decode."""


# A usual photograph counts as none.
MAX_DECODE_MS = 50
JobT = TypeVar("JobT", bound=Delivered)
Receive = Callable[[int, int], list[JobT]]  # (most jobs, milliseconds to wait for the first) -> jobs


def collect(
    receive: Receive[JobT],
    *,
    max_size: int,
    max_wait_ms: float,
    idle_ms: int,
    now_ms: Callable[[], float],
) -> list[list[JobT]]:
    """The next batches to run, one after the other; none when nothing came within `idle_ms`.

    The wait for company is timed from the first job. A job that was handed out before may be why its worker died:
    it runs alone, and last. No batch but one of a single job is estimated to take more than MAX_DECODE_MS to decode.
    """
    together = receive(max_size, idle_ms)
    until = now_ms() + max_wait_ms
    while together and not is_suspect(together[-1]) and len(together) < max_size and (left := until - now_ms()) >= 1:
        together += receive(max_size - len(together), int(left))
    suspects = [[job] for job in together if is_suspect(job)]
    fresh = [job for job in together if not is_suspect(job)]
    return [*_portions(fresh), *suspects]


def _portions(jobs: list[JobT]) -> list[list[JobT]]:
    portions: list[list[JobT]] = []
    left = 0
    for job in sorted(jobs, key=lambda each: each.decode_ms):
        if not portions or job.decode_ms > left:
            portions.append([])
            left = MAX_DECODE_MS
        portions[-1].append(job)
        left -= job.decode_ms
    return portions


def is_suspect(job: Delivered) -> bool:
    """Whether an earlier attempt at the job came to nothing."""
    return job.deliveries > 1
