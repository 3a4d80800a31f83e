"""When the next request is due: after a pause of its user's own, or at a rate that does not wait for answers."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class ClosedLoop:
    """Each user sends again so many seconds after the last answer: a slow service gets fewer requests."""

    least_s: float
    most_s: float

    def wait_s(self) -> float:
        """Return the seconds until this user's next request."""
        return random.uniform(self.least_s, self.most_s)


@dataclass
class ConstantRate:
    """Requests fall due at a rate, and any free user sends the next; a slow service gets no fewer requests.

    If no user was free in time, a request starts late: more users are needed, or the service is past its limit.
    """

    per_second: float
    now: Callable[[], float]
    lateness_s: float = 0.0
    _due: float | None = field(default=None, repr=False)

    def wait_s(self) -> float:
        """Take the next turn, and give the seconds until it."""
        now = self.now()
        self._due = now if self._due is None else self._due + 1 / self.per_second
        self.lateness_s = max(0.0, now - self._due)
        return max(0.0, self._due - now)
