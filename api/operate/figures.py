"""The figures of the operator's page, computed from sums of the history and from the quality of the reports."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from storage.history.port import DAY, HOUR, MINUTE, Sum
from storage.reports.port import OPEN, STATUSES, Quality
from wire.orders.messages import DONE, SUGGEST, Known

# Of a normal distribution, for an interval of 95 %.
Z = 1.96
TOP_DRIFT = 10
# The figures read from the history.
TRAFFIC = ("answers", "duration", "dropped", "cache", "version")
DRIFT = ("label", "confidence")
SERVED, CLIENT, SERVER = "answered", "refused by the request", "failed or shed"
KINDS = (SERVED, CLIENT, SERVER)


def moment(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as text with its zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


class Window(NamedTuple):
    """A span of time and how it is divided: `seconds` in all, in steps of `step`, from sums of `period`."""

    name: str
    seconds: int
    step: int
    period: int


WINDOWS = {
    window.name: window
    for window in (
        Window("1h", HOUR, MINUTE, MINUTE),
        Window("24h", DAY, 900, MINUTE),
        Window("7d", 7 * DAY, 2 * HOUR, HOUR),
    )
}


@dataclass
class Step:
    """One step of a window: requests by kind, and the latencies of all."""

    at: int
    kinds: Counter[str] = field(default_factory=Counter)
    buckets: Counter[float] = field(default_factory=Counter)
    versions: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        """Return the number of requests."""
        return sum(self.kinds.values())

    @property
    def label(self) -> str:
        """Return when the step began, with its zone."""
        return moment(self.at)


@dataclass
class Traffic:
    """Requests with images in a window; quantiles in seconds, None without requests."""

    steps: list[Step]
    statuses: Counter[str]
    dropped: Counter[str]
    cache: Counter[str]
    versions: Counter[str]
    p50_s: float | None
    p99_s: float | None

    @property
    def total(self) -> int:
        """Return the number of requests."""
        return sum(self.statuses.values())

    @property
    def hit_share(self) -> float | None:
        """Return the share of look-ups in the result cache that found an answer."""
        return _share(self.cache["hit"], self.cache["hit"] + self.cache["miss"])

    @property
    def marks(self) -> list[tuple[Step, str]]:
        """Return each version that began to answer within the window, with the first step in which it did."""
        seen = set(next((step.versions for step in self.steps if step.versions), ()))
        marks = []
        for step in self.steps:
            marks += [(step, version) for version in sorted(step.versions - seen)]
            seen |= step.versions
        return marks


def traffic(window: Window, now: float, sums: Iterable[Sum]) -> Traffic:
    """Add up the sums of a window that ends with the step of `now`."""
    first = int(now) // window.step * window.step - window.seconds + window.step
    steps = {at: Step(at) for at in range(first, first + window.seconds, window.step)}
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    buckets: Counter[float] = Counter()
    for each in sums:
        step = steps.get(each.at // window.step * window.step)
        if step is None:
            continue
        totals[each.name][each.key] += int(each.amount)
        if each.name == "answers":
            step.kinds[kind_of(each.key)] += int(each.amount)
        elif each.name == "duration":
            step.buckets[float(each.key)] += int(each.amount)
            buckets[float(each.key)] += int(each.amount)
        elif each.name == "version" and each.key:
            step.versions.add(each.key)
    return Traffic(
        list(steps.values()),
        totals["answers"],
        totals["dropped"],
        totals["cache"],
        totals["version"],
        quantile(buckets, 0.5),
        quantile(buckets, 0.99),
    )


def kind_of(status: str) -> str:
    """Return what an HTTP status means for the one who sent an image."""
    return SERVED if status < "400" else CLIENT if status < "500" and status != "429" else SERVER


def quantile(buckets: Mapping[float, int], part: float) -> float | None:
    """Return a quantile of a histogram by upper bounds, linear within a bucket; None where it is empty.

    In the last bucket, which has no upper bound, it is the bound below.
    """
    total, below, lower = sum(buckets.values()), 0.0, 0.0
    for upper, count in sorted(buckets.items()):
        if count and below + count >= part * total:
            return lower if math.isinf(upper) else lower + (upper - lower) * (part * total - below) / count
        below, lower = below + count, lower if math.isinf(upper) else upper
    return None


class Interval(NamedTuple):
    """A share with its interval of 95 % (Wilson)."""

    share: float
    low: float
    high: float


def interval(successes: int, count: int) -> Interval | None:
    """Return a share and where it may be; None without any."""
    if not count:
        return None
    share, scale = successes / count, 1 + Z * Z / count
    middle = (share + Z * Z / (2 * count)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return Interval(share, max(middle - half, 0.0), min(middle + half, 1.0))


@dataclass
class VersionQuality:
    """What reports say of a version: `answers` that it gave, as far as the history goes back."""

    name: str
    answers: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    reviewed: int = 0
    correct: int = 0

    @property
    def reports(self) -> int:
        """Return how many reports there are."""
        return sum(self.statuses.values())

    @property
    def per_thousand(self) -> float | None:
        """Return the reports for each 1,000 answers; None where no answer was counted."""
        return 1000 * self.reports / self.answers if self.answers else None

    @property
    def taken(self) -> Interval | None:
        """Return the share of the decided reports that a reviewer accepted or gave another label."""
        decided = self.reports - self.statuses[OPEN]
        return interval(decided - self.statuses["rejected"], decided)

    @property
    def accuracy(self) -> Interval | None:
        """Return the share of the reviewed cases in which the prediction was the decided label."""
        return interval(self.correct, self.reviewed)


def by_version(quality: Quality, answers: Mapping[str, int]) -> list[VersionQuality]:
    """Return the quality of each version, most answers first."""
    found: dict[str, VersionQuality] = {}

    def of(model: str, version: str) -> VersionQuality:
        name = f"{model}/{version}" if model else "unknown"
        return found.setdefault(name, VersionQuality(name))

    for row in quality.reports:
        of(row["model"], row["model_version"]).statuses[row["status"]] += row["count"]
    for row in quality.cases:
        each = of(row["model"], row["model_version"])
        each.reviewed, each.correct = each.reviewed + row["count"], each.correct + row["correct"]
    for name, count in answers.items():
        found.setdefault(name or "unknown", VersionQuality(name or "unknown")).answers += count
    return sorted(found.values(), key=lambda each: (-each.answers, -each.reports, each.name))


class Measured(NamedTuple):
    """The accuracy of a version on so many labelled images, and by what it was measured."""

    accuracy: Interval
    images: int
    source: str


def accuracies(orders: Iterable[Known], qualities: Iterable[VersionQuality]) -> dict[str, Measured]:
    """Return the accuracy of each version by its last evaluation, else by the reviews of its own answers."""
    found: dict[str, Measured] = {}
    for known in orders:
        if known.outcome is not None and known.outcome.state == DONE:
            for version, measured in _evaluated(known.outcome.result):
                found.setdefault(version, measured)
    for each in qualities:
        if each.accuracy is not None:
            found.setdefault(each.name, Measured(each.accuracy, each.reviewed, "reviewed answers"))
    return found


def _evaluated(result: Mapping[str, Any]) -> Iterator[tuple[str, Measured]]:
    """Yield what an order measured of its two versions: see evaluation.summary in model/."""
    for compared in result.get("comparisons", ()):
        if "top1" in compared:
            source = f"evaluated, {compared['title'].lower()}"
            for version, top1 in zip((result["first"], result["version"]), compared["top1"], strict=True):
                yield version, Measured(Interval(*top1), compared["images"], source)
            return


def counts_by_status(quality: Quality) -> dict[str, int]:
    """Return the number of reports of each status."""
    found = dict.fromkeys(STATUSES, 0)
    for row in quality.reports:
        found[row["status"]] = found.get(row["status"], 0) + row["count"]
    return found


class FeatureDistance(NamedTuple):
    """What the trainer found of a sample of stored images, and when: see evaluation.suggestions.Distances in model/.

    Where `images` is 0, `reason` is the reason why nothing is known.
    """

    reason: str = ""
    at: str = ""
    images: int = 0
    quantiles: Sequence[float] = ()
    in_training: Sequence[float] = ()
    furthest: Sequence[tuple[str, float]] = ()


def feature_distance(orders: Iterable[Known]) -> FeatureDistance:
    """Return the feature distance of the last search for images to review."""
    for known in orders:
        if known.order.kind == SUGGEST and known.outcome is not None and known.outcome.state == DONE:
            result = known.outcome.result
            at = datetime.fromtimestamp(known.order.at_ms / 1000, UTC).isoformat(timespec="seconds")
            if found := result.get("distance"):
                return FeatureDistance("", at, *(found[name] for name in FeatureDistance._fields[2:]))
            return FeatureDistance(result.get("notes", {}).get("unlike", "there are too few images to compare"), at)
    return FeatureDistance("the trainer has not searched stored images yet")


class Change(NamedTuple):
    """The share of a class among the answers, before and now."""

    label: str
    before: float
    now: float


@dataclass
class Drift:
    """The answers of the last seven days compared with the seven before."""

    answers: tuple[int, int]
    confidence: tuple[float | None, float | None]
    # Half the sum of all changes of shares: 0 where both weeks are the same, 1 where they share no class.
    distance: float | None
    changes: Sequence[Change]


def drift(now: float, sums: Iterable[Sum]) -> Drift:
    """Compare the class mix and the confidence of the last seven days, today included, with those before."""
    begin = int(now) // DAY * DAY - 6 * DAY
    labels: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    scores: tuple[Counter[float], Counter[float]] = Counter(), Counter()
    for each in sums:
        week = int(each.at >= begin)
        if each.name == "label":
            labels[week][each.detail] += int(each.amount)
        elif each.name == "confidence":
            scores[week][float(each.key)] += int(each.amount)
    before, present = (sum(week.values()) for week in labels)
    confidence = (_mean_of_tenths(scores[0]), _mean_of_tenths(scores[1]))
    if not (before and present):
        return Drift((before, present), confidence, None, ())
    shares = [Change(each, labels[0][each] / before, labels[1][each] / present) for each in labels[0] | labels[1]]
    shares.sort(key=lambda each: (-abs(each.now - each.before), each.label))
    distance = sum(abs(each.now - each.before) for each in shares) / 2
    return Drift((before, present), confidence, distance, shares[:TOP_DRIFT])


def _mean_of_tenths(buckets: Mapping[float, int]) -> float | None:
    """Return the mean of scores that are counted by tenths, each at the middle of its tenth."""
    known = {upper: count for upper, count in buckets.items() if not math.isinf(upper)}
    return _share(sum((upper - 0.05) * count for upper, count in known.items()), sum(known.values()))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
