"""Which runs there are, in which order: those of one setting of the service stand together, it starts once for them."""

import itertools
from dataclasses import dataclass

from stress_test.options import Options

# Past the bound of the queue: more users than twice its places, each with one open request.
USERS_OF_EACH_PLACE = 2.2
EXERCISE_USERS = 100
SERVE_SECONDS = 15.0


@dataclass(frozen=True)
class Setup:
    """How the service is started."""

    target: str
    instances: int
    batch_size: int
    cache: bool
    precision: str

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings of api and model."""
        return {
            "MAX_BATCH_SIZE": str(self.batch_size),
            "PRECISION": self.precision,
            "RESULT_CACHE": str(int(self.cache)),
        }

    def __str__(self) -> str:
        batching = f"batches up to {self.batch_size}" if self.batch_size > 1 else "no batching"
        cache = ", cache" if self.cache else ""
        return f"{self.target}, {self.instances} x model, {batching}, {self.precision}{cache}"


@dataclass(frozen=True)
class Cell:
    """One run: a service, its users and what they do. With `users` 0 they are as many as overload it."""

    experiment: str
    setup: Setup
    users: int
    seconds: float
    behaviour: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name it, among all runs."""
        return f"{self.experiment}: {self.setup}, {self.users or 'too many'} users"


def plan(options: Options) -> list[Cell]:
    """Return every run."""
    runs = {"matrix": _matrix, "serve": _serve, "exercise": _exercise, "overload": _overload}
    return [cell for name in options.experiments for cell in runs[name](options)]


def _matrix(options: Options) -> list[Cell]:
    return [
        Cell("matrix", _setup(options, instances, batching), users, options.seconds, _mixed(options))
        for instances, batching, users in itertools.product(options.instances, options.batching, options.users)
    ]


def _serve(options: Options) -> list[Cell]:
    setup = _setup(options, max(options.instances), True, target="serve")
    seconds = min(options.seconds, SERVE_SECONDS)
    return [Cell("serve", setup, users, seconds, _mixed(options)) for users in options.users]


def _exercise(options: Options) -> list[Cell]:
    setup = _setup(options, options.exercise_instances, True)
    behaviour = ("--behaviour", "exercise")
    without_pauses = (*behaviour, "--wait-min", "0", "--wait-max", "0")
    return [
        Cell("exercise", setup, EXERCISE_USERS, options.seconds, behaviour),
        Cell("exercise without pauses", setup, EXERCISE_USERS, options.seconds, without_pauses),
    ]


def _overload(options: Options) -> list[Cell]:
    return [Cell("overload", _setup(options, max(options.instances), True), 0, options.seconds, _mixed(options))]


def _setup(options: Options, instances: int, batching: bool, target: str = "") -> Setup:
    size = options.batch_size if batching else 1
    return Setup(target or options.target, instances, size, options.cache, options.precision)


def _mixed(options: Options) -> tuple[str, ...]:
    """Users that send the next request immediately: as many requests are open as there are users."""
    return ("--wait-min", "0", "--wait-max", "0", *(("--repeats", "0.5") if options.cache else ()))
