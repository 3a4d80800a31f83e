"""What a run consists of: steps, each of which starts one system once, interleaved over the repeats."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.errors import PreparationError
from benchmarks.options import Options
from benchmarks.systems import LITSERVE, MOSEC, MOSEC_DRAFT, MOSEC_SINGLE, NAIVE, SIGHTLINE, TUNINGS, Pipeline, Setting

CONNECTIONS = (1, 8, 32, 128)
BUSY = 32
PHOTOGRAPHS = "photographs"
SIZES = ("30-kb", "500-kb", "1500-kb", "12-megapixel")
DEPTHS = (1, 10, 100, 1000, 10_000)
INT8 = Setting()
# The two parts of a run that are no server.
DIRECT = {Pipeline.OWN: "direct-own", Pipeline.PILLOW_ONNX: "direct-pillow"}
QUEUE = "queue"


@dataclass(frozen=True)
class Case:
    """One load on a running system: kind of body, set of pictures, requests at once."""

    body: str
    pictures: str
    connections: int


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
        """The name under which the step's results are kept."""
        cache = "/cache" if self.setting.cache else ""
        return f"{self.experiment}/{self.system}/{self.setting.precision}/{self.setting.workers}{cache}/{self.repeat}"


def plan(options: Options) -> list[Step]:
    """Return the steps in their order; each repeat begins with another system, so that drift hits all alike."""
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
    by %= len(steps)
    return steps[by:] + steps[:by]


def _limit(repeat: int, options: Options) -> Iterator[Step]:
    for precision in ("int8",) if options.quick else ("int8", "fp32"):
        for name in DIRECT.values():
            yield Step("limit", name, repeat, Setting(precision))


def _speed(repeat: int, options: Options) -> Iterator[Step]:
    connections = (1, BUSY) if options.quick else CONNECTIONS
    for system in (NAIVE, LITSERVE, MOSEC, MOSEC_SINGLE, SIGHTLINE):
        cases = tuple(Case(body, PHOTOGRAPHS, number) for body in system.bodies for number in connections)
        yield Step("speed", system.name, repeat, INT8, cases)


def _sizes(repeat: int, options: Options) -> Iterator[Step]:
    sizes = SIZES[-1:] if options.quick else SIZES
    yield Step("sizes", MOSEC.name, repeat, INT8, _raw(sizes, BUSY))
    yield Step("sizes", MOSEC_DRAFT.name, repeat, INT8, _raw(SIZES[-1:], BUSY))
    yield Step("sizes", SIGHTLINE.name, repeat, INT8, _raw(sizes, BUSY))


def _workers(repeat: int, _options: Options) -> Iterator[Step]:
    for workers in (1, 2):
        for system in (MOSEC, SIGHTLINE):
            yield Step("workers", system.name, repeat, Setting(workers=workers), _raw([PHOTOGRAPHS], BUSY))


def _fp32(repeat: int, _options: Options) -> Iterator[Step]:
    for system in (MOSEC, SIGHTLINE):
        yield Step("fp32", system.name, repeat, Setting("fp32"), _raw([PHOTOGRAPHS], 1, BUSY))


def _depth(repeat: int, _options: Options) -> Iterator[Step]:
    yield Step("depth", QUEUE, repeat)


def _tuning(repeat: int, _options: Options) -> Iterator[Step]:
    for system in TUNINGS:
        yield Step("tuning", system.name, repeat, INT8, _raw([PHOTOGRAPHS], 1, BUSY))


def _raw(sets: Sequence[str], *connections: int) -> tuple[Case, ...]:
    return tuple(Case("raw", name, number) for name in sets for number in connections)


EXPERIMENTS = {
    "limit": _limit,
    "speed": _speed,
    "sizes": _sizes,
    "workers": _workers,
    "fp32": _fp32,
    "depth": _depth,
    "tuning": _tuning,
}
