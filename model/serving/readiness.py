"""Whether a worker takes jobs."""

from collections.abc import Callable

LOADING = "the model is being loaded"


class Readiness:
    """Why a worker does not take jobs; empty where it does."""

    def __init__(self) -> None:
        self.reason: Callable[[], str] = lambda: LOADING
