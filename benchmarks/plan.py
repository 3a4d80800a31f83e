"""What a run consists of: steps, each of which starts one system once, interleaved over the repeats."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.errors import PreparationError
from benchmarks.options import Options
from benchmarks.systems import (
    ALL_PEERS,
    LITSERVE,
    MOSEC,
    MOSEC_DRAFT,
    MOSEC_SINGLE,
    MOSEC_WIDE,
    NAIVE,
    SIGHTLINE,
    SIGHTLINE_CACHED,
    TUNINGS,
    Pipeline,
    Setting,
)

CONNECTIONS = (1, 8, 32, 128)
BUSY = 32
PHOTOGRAPHS = "photographs"
SIZES = ("30-kb", "500-kb", "1500-kb")
LARGEST = "12-megapixel"
# One of the photographs, again and again.
SAME_IMAGE = "same-picture"
DEPTHS = (1, 10, 1000, 10_000)
INT8 = Setting()
# The two parts of a run that are no server.
DIRECT = {Pipeline.OWN: "direct-own", Pipeline.PILLOW_ONNX: "direct-pillow"}
QUEUE = "queue"


@dataclass(frozen=True)
class Case:
    """One load on a running system: body, set of images, open requests, how much longer than others."""

    body: str
    images: str
    connections: int
    stretch: int = 1


@dataclass(frozen=True)
class Step:
    """One start of one system and the loads put on it."""

    experiment: str
    system: str
    repeat: int
    setting: Setting = INT8
    cases: tuple[Case, ...] = ()

    @property
    def key(self) -> str:
        """Return the name under which the step's results are kept."""
        workers = f"/{self.setting.workers}-workers" if self.setting.workers else ""
        return f"{self.experiment}/{self.system}/{self.setting.precision}{workers}/{self.repeat}"


def plan(options: Options) -> list[Step]:
    """Return the steps in their order; each repeat starts with another system, so that drift affects all of them."""
    steps: list[Step] = []
    for repeat in range(1, options.repeats + 1):
        for experiment in options.experiments:
            steps += _rotated(list(EXPERIMENTS[experiment](repeat, options)), repeat - 1)
    chosen = [step for step in steps if not options.systems or step.system in options.systems]
    if not chosen:
        there = sorted({step.system for step in steps})
        raise PreparationError(f"no step is for {options.systems}; there are: {', '.join(there)}")
    return chosen


def _rotated(steps: list[Step], by: int) -> list[Step]:
    by %= max(1, len(steps))
    return steps[by:] + steps[:by]


def _accuracy(repeat: int, _options: Options) -> Iterator[Step]:
    # The same images give the same labels every time.
    if repeat == 1:
        for precision in ("int8", "fp32"):
            yield Step("accuracy", DIRECT[Pipeline.OWN], repeat, Setting(precision))


def _limit(repeat: int, options: Options) -> Iterator[Step]:
    for precision in ("int8",) if options.quick else ("int8", "fp32"):
        for name in DIRECT.values():
            yield Step("limit", name, repeat, Setting(precision))


def _speed(repeat: int, options: Options) -> Iterator[Step]:
    connections = (1, BUSY) if options.quick else CONNECTIONS
    for system in (NAIVE, LITSERVE, MOSEC, MOSEC_SINGLE, SIGHTLINE):
        cases = tuple(Case(body, PHOTOGRAPHS, number) for body in system.bodies for number in connections)
        yield Step("speed", system.name, repeat, INT8, cases)
    # For a lone request only: with more, its cores would be shared by fewer workers.
    yield Step("speed", MOSEC_WIDE.name, repeat, INT8, _raw([PHOTOGRAPHS], 1))


def _sizes(repeat: int, options: Options) -> Iterator[Step]:
    # Each of these may take a system a tenth of a second, times 32: too few of them in the usual time.
    largest = (Case("raw", LARGEST, BUSY, stretch=2),)
    cases = largest if options.quick else _raw(SIZES, BUSY) + largest
    yield Step("sizes", MOSEC.name, repeat, INT8, cases)
    yield Step("sizes", MOSEC_DRAFT.name, repeat, INT8, largest)
    yield Step("sizes", SIGHTLINE.name, repeat, INT8, cases)


def _workers(repeat: int, _options: Options) -> Iterator[Step]:
    # The other number is the default of each, and measured above.
    for system, workers in ((MOSEC, 1), (SIGHTLINE, 2)):
        yield Step("workers", system.name, repeat, Setting(workers=workers), _raw([PHOTOGRAPHS], BUSY))


def _fp32(repeat: int, _options: Options) -> Iterator[Step]:
    for system in (MOSEC, SIGHTLINE):
        yield Step("fp32", system.name, repeat, Setting("fp32"), _raw([PHOTOGRAPHS], 1, BUSY))


def _depth(repeat: int, _options: Options) -> Iterator[Step]:
    yield Step("depth", QUEUE, repeat)


def _cache(repeat: int, _options: Options) -> Iterator[Step]:
    for system in (SIGHTLINE, SIGHTLINE_CACHED):
        yield Step("cache", system.name, repeat, INT8, _raw([SAME_IMAGE], 1, BUSY))


def _peers(repeat: int, options: Options) -> Iterator[Step]:
    connections = (1, BUSY) if options.quick else (1, BUSY, 128)
    for system in (*ALL_PEERS, SIGHTLINE):
        cases = tuple(Case(system.bodies[0], PHOTOGRAPHS, number) for number in connections)
        yield Step("peers", system.name, repeat, INT8, cases)


def _tuning(repeat: int, _options: Options) -> Iterator[Step]:
    for system in TUNINGS:
        yield Step("tuning", system.name, repeat, INT8, _raw([PHOTOGRAPHS], 1, BUSY))


def _raw(sets: Sequence[str], *connections: int) -> tuple[Case, ...]:
    return tuple(Case("raw", name, number) for name in sets for number in connections)


EXPERIMENTS = {
    "accuracy": _accuracy,
    "limit": _limit,
    "speed": _speed,
    "sizes": _sizes,
    "workers": _workers,
    "fp32": _fp32,
    "depth": _depth,
    "cache": _cache,
    "peers": _peers,
    "tuning": _tuning,
}
