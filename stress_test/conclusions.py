"""What follows from the figures of a run, by rules: sentences for the report, and verdicts on what was promised."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

# A line of the table is saturated where more users bring less than this share more.
SATURATED_SHARE = 0.95
# From this share of the cores on, the processor is what limits.
BUSY_SHARE = 0.9
# Differences below this share are no difference: runs of the same setting differ by as much.
NOTABLE_SHARE = 0.05
# From here on other programs decide the figures.
NOISY_CORES = 0.2
FAIR_RATIO = 3.0
PUBLISHED_PER_SECOND = 31.0
PUBLISHED = "the best published run of this exercise (a laptop with a GPU, 100 users, 4 model containers)"


@dataclass(frozen=True)
class Verdict:
    """One promise, and whether this run kept it."""

    held: bool
    text: str


def rate(row: Row) -> float:
    """Images that were named rightly, each second."""
    return float(row["requests"].get("predict", {}).get("per_second", 0.0))


def latency(row: Row, name: str) -> float:
    """Return a latency of `POST /predict` in milliseconds: p50_ms, p95_ms, p99_ms or max_ms."""
    return float(row["requests"].get("predict", {}).get(name, 0.0))


def of(rows: Iterable[Row], experiment: str) -> list[Row]:
    """Return the runs of one experiment."""
    return [row for row in rows if row["experiment"] == experiment]


def lines(rows: list[Row]) -> dict[tuple[int, int], list[Row]]:
    """Group the matrix by instances and batch size, each in the order of users."""
    found: dict[tuple[int, int], list[Row]] = {}
    for row in sorted(of(rows, "matrix"), key=lambda row: (row["instances"], row["batch_size"], row["users"])):
        found.setdefault((row["instances"], row["batch_size"]), []).append(row)
    return found


def saturation(line: list[Row]) -> Row:
    """Return the run from which on more users bring no more."""
    best = max(map(rate, line))
    return next(row for row in line if rate(row) >= SATURATED_SHARE * best)


def conclude(rows: list[Row], cores: int) -> list[str]:
    """Return the sentences, one paragraph each."""
    rules: list[Callable[[list[Row], int], list[str]]] = [_noise, _saturation, _scaling, _batching, _queue]
    return [sentence for rule in rules for sentence in rule(rows, cores)]


def verdicts(rows: list[Row]) -> list[Verdict]:
    """Return what was promised, judged."""
    rules: list[Callable[[list[Row]], list[Verdict]]] = [_failures, _fairness, _overload, _published]
    return [verdict for rule in rules for verdict in rule(rows)]


def _noise(rows: list[Row], cores: int) -> list[str]:
    shares = sorted(row["others_cores"] for row in rows if "others_cores" in row)
    middle = shares[len(shares) // 2] if shares else 0.0
    if middle < NOISY_CORES:
        return []
    return [
        f"**Other programs kept {middle:.1f} of {cores} cores busy** (median of the runs). Rates and latencies are "
        "theirs as much as the service's; only what is compared within one row can be used."
    ]


def _saturation(rows: list[Row], cores: int) -> list[str]:
    found = lines(rows)
    if not found:
        return []
    best = max(found.values(), key=lambda line: rate(saturation(line)))
    full = saturation(best)
    alone = f" A user alone has an answer after {latency(best[0], 'p50_ms'):.0f} ms." if best[0]["users"] == 1 else ""
    said = f"**It saturates at {full['users']} users**: {rate(full):.0f} images/s ({_named(full)}).{alone}"
    return [f"{said} {_limit(full, cores)}"]


def _limit(row: Row, cores: int) -> str:
    used = row.get("cpu_cores")
    if not used:
        return "What limits it was not measured."
    busy, others = row["busy_cores"], row["others_cores"]
    if others >= NOISY_CORES:
        return f"Other programs had {others:.2f} of the {cores} cores, so where its own limit lies does not show."
    parts = ", ".join(f"{name} {share:.2f}" for name, share in sorted(used.items(), key=lambda item: -item[1]))
    largest = max((name for name in used if name != "locust"), key=lambda name: used[name])
    if busy >= BUSY_SHARE * cores:
        generator = used.get("locust", 0.0)
        return (
            f"What limits it is the processor: {busy:.2f} of {cores} cores are busy ({parts}), most of them with "
            f"{largest}. The generator's {generator:.2f} come from the same cores; with it elsewhere, the service "
            f"would have them too."
        )
    return (
        f"The processor is not what limits it: {busy:.2f} of {cores} cores are busy ({parts}). "
        "Waiting does: for the network, the disk, or users that are too few."
    )


def _scaling(rows: list[Row], cores: int) -> list[str]:
    found = lines(rows)
    counts = sorted({instances for instances, _ in found})
    sizes = sorted({size for _, size in found})
    if len(counts) < 2:
        return []
    few, many = counts[0], counts[-1]
    pairs = [
        (found[few, size][-1], found[many, size][-1]) for size in sizes if {(few, size), (many, size)} <= set(found)
    ]
    if not pairs:
        return []
    less, more = max(pairs, key=lambda pair: rate(pair[0]))
    change = _change(rate(less), rate(more))
    said = f"**{many} model instances instead of {few}** answer {change} at {more['users']} users"
    return [f"{said} ({rate(less):.0f} and {rate(more):.0f} images/s). {_why_scaling(less, more, few, cores)}"]


def _why_scaling(less: Row, more: Row, few: int, cores: int) -> str:
    if rate(more) >= (1 + NOTABLE_SHARE) * rate(less):
        return f"{few} did not use every core: {less.get('busy_cores', 0):.2f} of {cores} were busy."
    if less.get("busy_cores", 0) >= BUSY_SHARE * cores:
        return (
            f"An instance has a consumer for each core, so {few} keeps all {cores} busy already; another one shares "
            "them. It helps where there are more cores or machines, and it keeps the service up while one restarts."
        )
    return "The workers were not what it waited for."


def _batching(rows: list[Row], cores: int) -> list[str]:
    found = lines(rows)
    pairs = [
        (found[instances, 1][-1], line[-1])
        for (instances, size), line in found.items()
        if size > 1 and (instances, 1) in found
    ]
    if not pairs:
        return []
    single, batched = max(pairs, key=lambda pair: rate(pair[1]))
    said = (
        f"**Batching** answers {_change(rate(single), rate(batched))} at {batched['users']} users, {_named(batched)} "
        f"({rate(single):.0f} images/s without, {rate(batched):.0f} with)."
    )
    return [f"{said} {_why_batching(single, batched)}"]


def _why_batching(single: Row, batched: Row) -> str:
    mean = batched.get("mean_batch")
    if not mean or not single.get("cpu_cores") or not batched.get("cpu_cores"):
        return ""
    costs = ", ".join(
        f"{service} {_cost_ms(single, service):.2f} and {_cost_ms(batched, service):.2f}"
        for service in ("model", "redis")
    )
    return (
        f"{mean:.1f} jobs went together on average. Milliseconds of processor time an image, without and with: "
        f"{costs}. On a processor the engine computes one image after the other, so what a batch saves is round "
        "trips to Redis, not arithmetic; a GPU is what batches are for."
    )


def _cost_ms(row: Row, service: str) -> float:
    return 1000 * float(row["cpu_cores"].get(service, 0.0)) / rate(row) if rate(row) else 0.0


def _queue(rows: list[Row], cores: int) -> list[str]:
    looked = [row for row in of(rows, "matrix") if row.get("queue")]
    if not looked:
        return []
    deepest = max(looked, key=lambda row: max(depth for _, depth in row["queue"]))
    most = max(depth for _, depth in deepest["queue"])
    return [
        f"**The queue** held at most {most:.0f} jobs ({deepest['users']} users, {_named(deepest)}): with every user "
        "waiting for an answer, it is never longer than there are users."
    ]


def _failures(rows: list[Row]) -> list[Verdict]:
    chosen = [row for row in rows if row["experiment"] != "overload"]
    if not chosen:
        return []
    failed = sum(row["all"]["failed"] + row["all"]["refused"] for row in chosen)
    asked = failed + sum(row["all"]["answered"] for row in chosen)
    faults = "; ".join(dict.fromkeys(fault for row in chosen for fault in row["faults"]))
    return [Verdict(failed == 0, f"No failure: {failed} of {asked} requests failed{f' ({faults})' if faults else ''}.")]


def _fairness(rows: list[Row]) -> list[Verdict]:
    most = max((row["users"] for row in of(rows, "matrix")), default=0)
    return [
        Verdict(
            0 < latency(row, "max_ms") <= FAIR_RATIO * latency(row, "p50_ms"),
            f"First come, first served at {most} users, {_named(row)}: the slowest answer took "
            f"{latency(row, 'max_ms'):.0f} ms, {latency(row, 'max_ms') / max(1.0, latency(row, 'p50_ms')):.1f} times "
            f"the median (wanted: at most {FAIR_RATIO:g}).",
        )
        for row in of(rows, "matrix")
        if row["users"] == most
    ]


def _overload(rows: list[Row]) -> list[Verdict]:
    return [verdict for row in of(rows, "overload") for verdict in (_refusal(row), _recovery(row))]


def _refusal(row: Row) -> Verdict:
    every = row["all"]
    faults = "; ".join(f"{fault}: {count}" for fault, count in row["faults"].items())
    return Verdict(
        every["failed"] == 0 and every["refused"] > 0,
        f"Past the queue's bound of {row['bound']:.0f} ({row['users']} users): {every['answered']} answered, "
        f"{every['refused']} refused with 503 and Retry-After, {every['failed']} failed otherwise "
        f"({faults or 'nothing'}).",
    )


def _recovery(row: Row) -> Verdict:
    after = row["recovery"]
    predict = after.get("predict", {})
    return Verdict(
        not after["faults"] and predict.get("answered", 0) > 0,
        f"It recovers: right afterwards {after['users']} users had {predict.get('answered', 0)} images named, "
        f"p50 {predict.get('p50_ms', 0):.0f} ms, {sum(after['faults'].values())} failures.",
    )


def _published(rows: list[Row]) -> list[Verdict]:
    paused, unpaused = of(rows, "exercise"), of(rows, "exercise without pauses")
    found = []
    if paused:
        users = paused[0]["users"]
        found.append(
            Verdict(
                paused[0]["all"]["failed"] == 0,
                f"The exercise's own Locust file, {users} users: {paused[0]['all']['per_second']:.1f} requests/s, p50 "
                f"{latency(paused[0], 'p50_ms'):.0f} ms. Its users pause 3 s on average between requests, so they "
                f"cannot ask for more than {users / 3:.0f} requests/s; {PUBLISHED} had {PUBLISHED_PER_SECOND:g}.",
            )
        )
    if unpaused:
        per_second = unpaused[0]["all"]["per_second"]
        found.append(
            Verdict(
                per_second >= PUBLISHED_PER_SECOND,
                f"The same without pauses: {per_second:.1f} requests/s, {per_second / PUBLISHED_PER_SECOND:.1f} times "
                f"the published {PUBLISHED_PER_SECOND:g}.",
            )
        )
    return found


def _named(row: Row) -> str:
    batching = f"batches up to {row['batch_size']}" if row["batch_size"] > 1 else "no batching"
    return f"{row['instances']} x model, {batching}"


def _change(before: float, after: float) -> str:
    if not before or abs(after / before - 1) < NOTABLE_SHARE:
        return "no more and no fewer"
    return f"{100 * (after / before - 1):+.0f} %"
