"""What the command line of the bench takes."""

import argparse
from dataclasses import dataclass

# In the order in which they run; the last two only if they are named.
EXPERIMENT_NAMES = ("accuracy", "limit", "speed", "sizes", "workers", "fp32", "depth", "cache", "peers", "tuning")
DEFAULT_EXPERIMENTS = EXPERIMENT_NAMES[:-2]
QUICK_EXPERIMENTS = ("accuracy", "limit", "speed", "sizes")

REPEATS, QUICK_REPEATS = 3, 1
DURATION_S, QUICK_DURATION_S = 6.0, 3.0
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Options:
    """One run: what is measured, how often, how long each load lasts, and whether an earlier run continues."""

    experiments: tuple[str, ...]
    systems: tuple[str, ...] | None
    repeats: int
    duration_s: float
    quick: bool
    resume: str | None


def parse_options(arguments: list[str] | None = None) -> Options:
    """Read the command line."""
    given = _parser().parse_args(arguments)
    default_experiments = QUICK_EXPERIMENTS if given.quick else DEFAULT_EXPERIMENTS
    return Options(
        experiments=given.only or default_experiments,
        systems=given.systems,
        repeats=given.repeats or (QUICK_REPEATS if given.quick else REPEATS),
        duration_s=given.duration or (QUICK_DURATION_S if given.quick else DURATION_S),
        quick=given.quick,
        resume=given.resume,
    )


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description="Compare Sightline with this machine's limit and other serving systems."
    )
    parser.add_argument("--quick", action="store_true", help="a look in under 5 minutes: one repeat, short loads")
    parser.add_argument("--only", type=_names(EXPERIMENT_NAMES), help=f"experiments, of {','.join(EXPERIMENT_NAMES)}")
    parser.add_argument("--systems", type=_comma_separated, help="systems, by the names of the steps")
    parser.add_argument("--repeats", type=int, help=f"interleaved repeats (default {REPEATS})")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help=f"of each load (default {DURATION_S:g})")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        metavar="RUN",
        help="continue an earlier run (the latest, or the named folder of benchmarks/results)",
    )
    return parser


class _names:  # noqa: N801 - reads as a type in the parser's table
    """Accepts a comma-separated choice of the known names."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def __call__(self, text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        unknown = [name for name in chosen if name not in self._known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(self._known)}")
        return chosen
