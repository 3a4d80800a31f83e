"""Simulate how KEDA and a HorizontalPodAutoscaler scale the workers: the source of the chart's targets.

python -m benchmarks.own.autoscaling             print docs/several-machines.md's table; about a minute
python -m benchmarks.own.autoscaling docs/autoscaling.svg      and draw the step of load

The arithmetic is that of Kubernetes' controller (ratio, tolerance, stabilisation windows, policies) and of KEDA's
scalers; the bound of the queue is wire's own. The queue is one of random arrivals and fixed service times, in steps of
one job; benchmarks/tests/test_autoscaling.py holds it against the recorded depth of a real one (queue_depth.csv).
"""

import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from wire.producer.admission import bounds_for
from wire.queue_stats import Capacity

JOB_S = 0.025
CONSUMERS, MAX_BATCH, TIMEOUT_S = 2, 8, 5.0
POD_RATE = CONSUMERS / JOB_S
# What the controllers do by default: kube-controller-manager, metrics-server, a usual ServiceMonitor.
SYNC_S, TOLERANCE, CPU_WINDOW_S, SCRAPE_S, RATE_WINDOW_S = 15.0, 0.1, 30.0, 15.0, 60.0
# From the decision to a worker that takes jobs, on a node that has the image.
POD_START_S = 15.0
# A client that is refused comes again after Retry-After, or not at all.
RETRY_S = 2.0

Load = Callable[[float], float]  # requests a second at a moment


@dataclass(frozen=True)
class Policy:
    """By how much replicas may change in a period: so many pods, or percent of those at its begin."""

    kind: str
    value: float
    period_s: float


@dataclass(frozen=True)
class Scaling:
    """One way to scale: its triggers, and how fast. 0 or False: without that trigger."""

    queue_length: float = 40
    utilization: float = 0.7  # of the demand, by Prometheus
    cpu: float = 0
    minimum: int = 1
    maximum: int = 40
    up: tuple[Policy, ...] = (Policy("Percent", 200, 15), Policy("Pods", 4, 15))
    down: tuple[Policy, ...] = (Policy("Percent", 25, 60), Policy("Pods", 1, 60))
    down_window_s: float = 120


class Autoscaler:
    """The controller's memory: its recommendations and the changes that it made."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._recommended: deque[tuple[float, int]] = deque()
        self._changes: list[tuple[float, int]] = []

    def decide(self, now: float, current: int, desired: int) -> int:
        """Return the new number of replicas, given what the metrics ask for."""
        scaling = self._scaling
        desired = min(max(desired, scaling.minimum), scaling.maximum)
        self._recommended.append((now, desired))
        while self._recommended[0][0] < now - scaling.down_window_s:
            self._recommended.popleft()
        desired = max(desired, min(current, max(count for _, count in self._recommended)))
        if desired > current:
            desired = min(desired, max(self._limit(now, current, policy, 1) for policy in scaling.up))
        elif desired < current:
            desired = max(desired, min(self._limit(now, current, policy, -1) for policy in scaling.down))
        if desired != current:
            self._changes.append((now, desired - current))
        return desired

    def _limit(self, now: float, current: int, policy: Policy, sign: int) -> int:
        start = current - sum(change for at, change in self._changes if at > now - policy.period_s)
        if policy.kind == "Pods":
            return int(start + sign * policy.value)
        share = start * (1 + sign * policy.value / 100)
        return math.ceil(share) if sign > 0 else int(share)


def per_pod(value: float, target: float, replicas: int) -> int:
    """Return the replicas that an external metric of type AverageValue requests."""
    if abs(value / (target * replicas) - 1) <= TOLERANCE:
        return replicas
    return math.ceil(value / target)


def by_cpu(utilization: float, target: float, ready: int, replicas: int) -> int:
    """Return the replicas that a resource metric requests; pods that start count as idle where more are wanted."""
    ratio = utilization / target
    if abs(ratio - 1) <= TOLERANCE:
        return replicas
    if ratio > 1 and ready < replicas:
        ratio = utilization * ready / replicas / target
        if ratio <= 1 + TOLERANCE:
            return replicas
        return math.ceil(ratio * replicas)
    return math.ceil(ratio * ready)


@dataclass
class Queue:
    """Jobs that wait or are in hand, and what became of the others, counted since the begin.

    A consumer takes what has piled up, at most a batch, and answers all of it at the end.
    """

    waiting: int = 0
    in_hand: int = 0
    answered: int = 0
    refused: int = 0
    offered: int = 0
    busy: int = 0
    _now: int = 0
    _ends: dict[int, list[int]] = field(default_factory=dict)
    _again: deque[tuple[int, int]] = field(default_factory=deque)

    @property
    def depth(self) -> int:
        """Return the length of the stream: jobs are deleted as they are answered."""
        return self.waiting + self.in_hand

    def step(self, arrivals: int, pods: int, *, are_patient: bool = False) -> int:
        """Let JOB_S pass; return how many consumers were at work."""
        self._now += 1
        self.offered += arrivals
        while self._again and self._again[0][0] <= self._now:
            arrivals += self._again.popleft()[1]
        admitted = min(arrivals, max(bound_of(pods) - self.depth, 0))
        self.waiting += admitted
        self.refused += arrivals - admitted
        if are_patient and arrivals > admitted:
            self._again.append((self._now + round(RETRY_S / JOB_S), arrivals - admitted))
        for size in self._ends.pop(self._now, ()):
            self.in_hand -= size
            self.answered += size
            self.busy -= 1
        while self.waiting and self.busy < pods * CONSUMERS:
            # Those that came in this step came one after the other, and the idle ones shared them.
            size = min(-(-self.waiting // (pods * CONSUMERS - self.busy)), MAX_BATCH)
            self.waiting -= size
            self.in_hand += size
            self.busy += 1
            self._ends.setdefault(self._now + size, []).append(size)
        return self.busy


def bound_of(pods: int, rate: float = POD_RATE) -> int:
    """Return how many jobs the queue takes with so many workers."""
    return bounds_for(Capacity(rate=pods * rate, in_hand=pods * CONSUMERS * MAX_BATCH), TIMEOUT_S, 0)[0]


@dataclass
class Course:
    """What happened, each second: offered and refused a second, depth, pods that are wanted and that are ready."""

    offered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)

    def catch_up_s(self, begin: int, end: int) -> int:
        """Return after how long nothing is refused any more, and what waits is done within a second."""
        late = [
            at
            for at in range(begin, end)
            if self.refused[at] > 0.01 * self.offered[at] or self.depth[at] > max(POD_RATE * self.ready[at], 1)
        ]
        return late[-1] + 1 - begin if late else 0

    def reversals(self, begin: int, end: int) -> int:
        """Return how often the number of pods turned from growing to shrinking or back."""
        changes = np.diff(self.wanted[begin:end])
        signs = np.sign(changes[changes != 0])
        return int(np.count_nonzero(np.diff(signs)))


class Simulation:
    """A queue, its workers, and what scales them."""

    def __init__(self, scaling: Scaling, load: Load, pods: int, *, seed: int = 1, are_patient: bool = False) -> None:
        self._scaling, self._load, self._are_patient = scaling, load, are_patient
        self._draw = np.random.default_rng(seed)
        self._queue, self._scaler = Queue(), Autoscaler(scaling)
        self._wanted, self._starting = pods, deque[float]()
        self._busy: deque[tuple[float, float]] = deque()  # busy consumers of those there were, each second
        self._scraped: deque[tuple[float, int]] = deque()

    def run(self, seconds: int) -> Course:
        """Return the course of so many seconds."""
        course, steps = Course(), round(1 / JOB_S)
        for second in range(seconds):
            self._control(float(second))
            before = self._queue.offered, self._queue.refused
            ready = self._ready(second)
            arrivals = self._draw.poisson(self._load(second) * JOB_S, steps)
            busy = sum(self._queue.step(int(count), ready, are_patient=self._are_patient) for count in arrivals)
            self._busy.append((busy, ready * CONSUMERS * steps))
            course.offered.append(self._queue.offered - before[0])
            course.refused.append(self._queue.refused - before[1])
            course.depth.append(self._queue.depth)
            course.wanted.append(self._wanted)
            course.ready.append(ready)
        return course

    def _ready(self, now: float) -> int:
        while self._starting and self._starting[0] <= now:
            self._starting.popleft()
        return self._wanted - len(self._starting)

    def _control(self, now: float) -> None:
        if now % SCRAPE_S == 0:
            self._scraped.append((now, self._queue.answered + self._queue.refused))
            while self._scraped[0][0] < now - RATE_WINDOW_S:
                self._scraped.popleft()
        while len(self._busy) > CPU_WINDOW_S:
            self._busy.popleft()
        if now % SYNC_S == 0 and now > 0:
            wanted = self._scaler.decide(now, self._wanted, max(self._asked(now)))
            self._starting.extend([now + POD_START_S] * (wanted - self._wanted))
            for _ in range(min(self._wanted - wanted, len(self._starting))):
                self._starting.pop()
            self._wanted = wanted

    def _asked(self, now: float) -> Iterable[int]:
        scaling, replicas = self._scaling, self._wanted
        if scaling.queue_length:
            yield per_pod(self._queue.depth, scaling.queue_length, replicas)
        if scaling.utilization:
            (begin, first), (end, last) = self._scraped[0], self._scraped[-1]
            rate = (last - first) / max(end - begin, SCRAPE_S)
            yield per_pod(rate / POD_RATE / scaling.utilization, 1, replicas)
        if scaling.cpu:
            busy, there = map(sum, zip(*self._busy, strict=True))
            yield by_cpu(busy / there, scaling.cpu, self._ready(now), replicas)


STEP_AT, STEP_ENDS, LASTS_S = 300, 1200, 2400
# Seconds at the start of a step in which refusals are counted.
FIRST_S = 60
STEADY_PODS = 3
STEADY = 0.65 * STEADY_PODS * POD_RATE


def step_of(factor: float, begin: float = STEP_AT) -> Load:
    """Return a load that is so many times as much, until STEP_ENDS."""
    return lambda now: STEADY * (factor if begin <= now < STEP_ENDS else 1)


# What the chart offers, and what its targets were chosen from.
CHART = Scaling()
CHART_BY_CPU = replace(CHART, utilization=0, cpu=0.7)
# A busy processor shows that more are needed, but not how many more: at 0.7 a step of 5 takes 83 s.
CHART_BY_CPU_ALONE = replace(CHART, queue_length=0, utilization=0, cpu=0.55)
WAYS = {
    "`keda`: depth and CPU": CHART_BY_CPU,
    "`keda` with Prometheus: depth and demand": CHART,
    "`hpa`: CPU": CHART_BY_CPU_ALONE,
    "demand alone": replace(CHART, queue_length=0),
    "depth alone, 40 a pod": replace(CHART, utilization=0),
    "depth alone, 5 a pod": replace(CHART, utilization=0, queue_length=5),
    "depth alone, 40 a pod, down after 300 s": replace(CHART, utilization=0, down_window_s=300),
}
SEEDS = range(1, 6)


@dataclass(frozen=True)
class Verdict:
    """What came of one way to scale: the worst of all seeds, but for the pods, which are the mean after 5 minutes."""

    catch_up_s: int
    refused: float
    turns: int
    turns_under_steady_load: int
    most_pods: int
    pods: float


def judge(scaling: Scaling, *, are_patient: bool = False, seeds: Iterable[int] = SEEDS) -> Verdict:
    """Return what a step of 5 comes to, and what steady load does."""
    verdicts = []
    for seed in seeds:
        begin = STEP_AT + 3 * seed - 2  # at different times before the controller's next look
        course = Simulation(scaling, step_of(5, begin), STEADY_PODS, seed=seed, are_patient=are_patient).run(LASTS_S)
        steady = Simulation(scaling, step_of(1), STEADY_PODS, seed=seed).run(LASTS_S)
        first = slice(begin, begin + FIRST_S)
        verdicts.append(
            Verdict(
                course.catch_up_s(begin, STEP_ENDS),
                sum(course.refused[first]) / sum(course.offered[first]),
                max(course.reversals(begin, STEP_ENDS), course.reversals(STEP_ENDS, LASTS_S)),
                steady.reversals(STEP_AT, LASTS_S),
                max(course.wanted),
                float(np.mean(course.wanted[begin + 300 : STEP_ENDS])),
            )
        )
    worst = [max(column) for column in zip(*(vars(each).values() for each in verdicts), strict=True)]
    return replace(Verdict(*worst), pods=float(np.mean([each.pods for each in verdicts])))


def main(arguments: Sequence[str]) -> None:
    """Print the table, and draw the step."""
    write = sys.stdout.write
    write("| scaled by | caught up after | refused in the first minute | turns, after the step and under steady load |")
    write(" pods at most, and later |\n|---|---|---|---|---|\n")
    for name, scaling in WAYS.items():
        found = judge(scaling)
        caught_up = f"{found.catch_up_s} s" if found.catch_up_s < FIRST_S * 5 else "never"
        turns, pods = f"{found.turns}, {found.turns_under_steady_load}", f"{found.most_pods}, {found.pods:.1f}"
        write(f"| {name} | {caught_up} | {100 * found.refused:.0f} % | {turns} | {pods} |\n")
    if arguments:
        Path(arguments[0]).write_text(drawing(), "utf-8")


# Left, top, width and height of the two panels; from when to when is drawn.
PANELS = ((64, 40, 560, 150), (64, 240, 560, 150))
DRAWN = (STEP_AT - 60, STEP_AT + 360)
DRAWN_WAYS = {"depth and CPU": CHART_BY_CPU, "CPU": WAYS["`hpa`: CPU"], "depth alone": WAYS["depth alone, 40 a pod"]}
STYLE = """
    .sheet { fill: #f4f6f2; } .axis { fill: none; stroke: #84968e; }
    text { fill: #13211d; font: 14px -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; }
    path { fill: none; stroke-width: 2; }
    .way0 { stroke: #0b6351; } .way1 { stroke: #b4540a; } .way2 { stroke: #6a4fa3; }
    .of0 { fill: #0b6351; } .of1 { fill: #b4540a; } .of2 { fill: #6a4fa3; } .end { text-anchor: end; }
    @media (prefers-color-scheme: dark) {
      .sheet { fill: #0d1412; } text { fill: #e9f0ed; } .axis { stroke: #6b7d76; }
      .way0 { stroke: #6ed7bb; } .way1 { stroke: #f0a35e; } .way2 { stroke: #b9a3ec; }
      .of0 { fill: #6ed7bb; } .of1 { fill: #f0a35e; } .of2 { fill: #b9a3ec; }
    }
"""


def drawing() -> str:
    """Return a picture of the step: the pods that take jobs, and what is refused, for some ways to scale."""
    courses = {name: Simulation(scaling, step_of(5), STEADY_PODS).run(DRAWN[1]) for name, scaling in DRAWN_WAYS.items()}
    parts: list[str] = []
    shown: tuple[tuple[tuple[int, int, int, int], str, int, list[Sequence[float]]], ...] = (
        (PANELS[0], "workers that take jobs (14 are needed)", 32, [course.ready for course in courses.values()]),
        (PANELS[1], "images refused, a second", 800, [course.refused for course in courses.values()]),
    )
    for panel, title, most, series in shown:
        left, top, width, height = panel
        parts.append(f'<text x="{left}" y="{top - 12}">{title}</text>')
        parts.append(f'<path class="axis" d="M{left} {top}V{top + height}H{left + width}"/>')
        for tick in (0, most // 2, most):
            y = top + height * (1 - tick / most)
            parts.append(f'<text class="end" x="{left - 8}" y="{y + 5:.0f}">{tick}</text>')
        for seconds in range(-60, 361, 60):
            x = left + width * (seconds + 60) / (DRAWN[1] - DRAWN[0])
            parts.append(f'<text class="end" x="{x + 8:.0f}" y="{top + height + 18}">{seconds}</text>')
        for number, values in enumerate(series):
            parts.append(f'<path class="way{number}" d="{_line(values, panel, most)}"/>')
    for number, name in enumerate(courses):
        parts.append(f'<text class="of{number}" x="{64 + 130 * number}" y="440">{name}</text>')
    parts.append('<text class="end" x="624" y="440">seconds after the step</text>')
    title = "Pods and refused images while the load rises to five times as much"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 644 460" role="img" aria-label="{title}">'
    sheet = '<rect class="sheet" width="644" height="460" rx="14"/>'
    return "\n  ".join([head, f"<style>{STYLE}  </style>", sheet, *parts]) + "\n</svg>\n"


def _line(values: Sequence[float], panel: tuple[int, int, int, int], most: float) -> str:
    left, top, width, height = panel
    begin, end = DRAWN
    points = [
        f"{left + width * (at - begin) / (end - begin):.0f} {top + height * (1 - min(values[at] / most, 1)):.0f}"
        for at in range(begin, end, 2)
    ]
    return "M" + "L".join(points)


if __name__ == "__main__":
    main(sys.argv[1:])
