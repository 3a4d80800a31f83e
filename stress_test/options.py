"""The command line of a stress run."""

import argparse
from dataclasses import dataclass

EXPERIMENTS = ("matrix", "serve", "exercise", "overload")
TARGETS = ("compose", "serve")


@dataclass(frozen=True)
class Options:
    """What is run, against what, and how long each run takes."""

    experiments: tuple[str, ...]
    target: str
    users: tuple[int, ...]
    instances: tuple[int, ...]
    batching: tuple[bool, ...]
    cache: bool
    precision: str
    batch_size: int
    seconds: float
    warm_up: float
    exercise_instances: int
    most_users: int
    port: int
    project: str
    quick: bool
    resume: bool
    report_only: bool


def parse_options(arguments: list[str] | None = None) -> Options:
    """Read the command line; `--quick` changes the defaults."""
    given = _parser().parse_args(arguments)
    quick = given.quick
    return Options(
        experiments=given.only or (("matrix",) if quick else EXPERIMENTS),
        target=given.target or ("serve" if quick else "compose"),
        users=given.users or ((1, 32) if quick else (1, 8, 32, 128)),
        instances=given.instances or ((2,) if quick else (1, 2)),
        batching=given.batching,
        cache=given.cache,
        precision=given.precision,
        batch_size=given.batch_size,
        seconds=given.seconds or (8 if quick else 40),
        warm_up=given.warm_up if given.warm_up is not None else (3 if quick else 8),
        exercise_instances=given.exercise_instances,
        most_users=given.most_users,
        port=given.port,
        project=given.project,
        quick=quick,
        resume=given.resume,
        report_only=given.report_only,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stress_test", description="Put load on the whole service, one setting after the other, and report."
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a look in under 2 minutes, from `make serve`, without Docker")
    add("--only", type=_names(EXPERIMENTS), help=f"of {','.join(EXPERIMENTS)}")
    add("--target", choices=TARGETS, help="where the matrix runs (default compose, with --quick serve)")
    add("--users", type=_numbers, help="numbers of concurrent users (default 1,8,32,128)")
    add("--instances", type=_numbers, help="model instances (default 1,2)")
    add("--batching", type=_switches, default=(False, True), help="off,on (default both)")
    add("--batch-size", type=int, default=8, help="most jobs together, with batching on (default %(default)s)")
    add("--cache", action="store_true", help="with the result cache, and half of the uploads sent before")
    add("--precision", choices=("int8", "fp32"), default="int8", help="of the default bundle (default %(default)s)")
    add("--seconds", type=float, help="that each run is measured (default 40)")
    add("--warm-up", type=float, help="seconds before that (default 8)")
    add("--exercise-instances", type=int, default=4, help="model instances of the exercise (default %(default)s)")
    add("--most-users", type=int, default=4000, help="that an overload may take (default %(default)s)")
    add("--port", type=int, default=8890, help="of the service under load (default %(default)s)")
    add("--project", default="sightline-stress", help="name of the compose project (default %(default)s)")
    add("--resume", action="store_true", help="continue with the last run where it broke off")
    add("--report-only", action="store_true", help="write the report of the last run again")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give whole numbers, such as 1,8,32") from None
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: each must be at least 1")
    return numbers


def _switches(text: str) -> tuple[bool, ...]:
    return tuple(name == "on" for name in _names(("off", "on"))(text))


class _names:  # noqa: N801 - reads as a type in the parser's table
    """Accepts a comma-separated choice of the known names."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def __call__(self, text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := [name for name in chosen if name not in self._known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(self._known)}")
        return chosen
