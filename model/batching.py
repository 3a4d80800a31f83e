"""Which jobs run together: what has piled up, oldest first, no waiting for company unless told to."""

from collections.abc import Callable
from typing import Protocol, TypeVar


class Delivered(Protocol):
    """What is asked of a job in hand: how often it has been handed out."""

    @property
    def deliveries(self) -> int:
        """1 for the first time."""


JobT = TypeVar("JobT", bound=Delivered)
Receive = Callable[[int, int], list[JobT]]  # (most jobs, milliseconds to wait for the first) -> jobs


def collect(
    receive: Receive[JobT], *, max_size: int, max_wait_ms: float, idle_ms: int, now_ms: Callable[[], float]
) -> list[list[JobT]]:
    """The next batches to run, one after the other; none when nothing came within `idle_ms`.

    The wait for company is timed from the first job. A job that was handed out before may be why its worker died:
    it runs alone, and last.
    """
    together = receive(max_size, idle_ms)
    until = now_ms() + max_wait_ms
    while together and not is_suspect(together[-1]) and len(together) < max_size and (left := until - now_ms()) >= 1:
        together += receive(max_size - len(together), int(left))
    suspects = [[job] for job in together if is_suspect(job)]
    fresh = [job for job in together if not is_suspect(job)]
    return [fresh, *suspects] if fresh else suspects


def is_suspect(job: Delivered) -> bool:
    """Whether an earlier attempt at the job came to nothing."""
    return job.deliveries > 1
