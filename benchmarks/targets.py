"""What the product promises about its speed, judged on the rows of one run."""

from dataclasses import dataclass

from benchmarks.results import Row
from benchmarks.summary import Figure, ratio, summarise

SIGHTLINE: Row = {"system": "sightline", "precision": "int8", "body": "raw"}
MOSEC: Row = {"system": "mosec", "precision": "int8", "body": "raw"}
MOSEC_SINGLE: Row = MOSEC | {"system": "mosec-single"}
CACHED: Row = SIGHTLINE | {"system": "sightline-cached"}
LIMIT: Row = {"experiment": "limit", "system": "direct-own", "precision": "int8", "part": "decode + inference"}
ACCURACY: Row = {"experiment": "accuracy", "precision": "int8"}
# CPU ms/image: 6.5 where Mosec takes 9.4.
CPU_SHARE_OF_MOSEC = 6.5 / 9.4


@dataclass(frozen=True)
class Verdict:
    """One promise: the figure wanted, the figure measured (none: not measured in this run)."""

    what: str
    wanted: str
    measured: Figure | None
    held: bool

    def text(self) -> str:
        """Say it in one line."""
        if self.measured is None:
            return f"  --    {self.what}: {self.wanted} (not measured)"
        figure = self.measured
        mark = "held  " if self.held else "MISSED"
        spread = "" if figure.low == figure.high else f" ({figure.low:.3g} to {figure.high:.3g})"
        return f"  {mark}  {self.what}: {figure.median:.3g}{spread}, wanted {self.wanted}"


def judge(rows: list[Row]) -> list[Verdict]:
    """Return every target with the result of this run."""
    return [
        *(
            _at_least(
                f"images/s at {connections} connections, of Mosec's",
                ratio(rows, SIGHTLINE | _at(connections), MOSEC | _at(connections), "images_per_s"),
                1.5,
            )
            for connections in (32, 128)
        ),
        *(
            _at_most(
                f"CPU ms/image at {connections} connections, of Mosec's",
                ratio(rows, SIGHTLINE | _at(connections), MOSEC | _at(connections), "cpu_ms"),
                CPU_SHARE_OF_MOSEC,
            )
            for connections in (32, 128)
        ),
        _at_least("images/s of this machine's limit", _share_of_limit(rows), 0.8),
        _at_most("p50 at 1 connection, of Mosec's", _lone_request(rows), 0.6),
        _at_most(
            "p99 at 32 connections, of Mosec's", ratio(rows, SIGHTLINE | _at(32), MOSEC | _at(32), "p99_ms"), 0.75
        ),
        _at_least(
            "12-megapixel images/s at 32 connections, of Mosec's",
            ratio(rows, SIGHTLINE | _large(), MOSEC | _large(), "images_per_s"),
            3,
        ),
        _at_most("idle memory, MB", _figure(rows, {"experiment": "speed", "system": "sightline"}, "idle_mb"), 300),
        _at_most(
            "first right answer, s", _figure(rows, {"experiment": "speed", "system": "sightline"}, "cold_start_s"), 3
        ),
        _at_least("same class as fp32 with Pillow", _figure(rows, ACCURACY, "same_class"), 0.96),
        _at_most("labelled photographs fewer right than fp32 with Pillow", _fewer_right(rows), 2),
        _at_most("cost of a job among 10,000, of an empty queue's", _depth_ratio(rows), 1.05),
        _at_least("cache on, same image: images/s at 32 connections, of those with it off", _cached_ratio(rows), 5),
        _at_most("cache on, same image: p50 at 1 connection, ms", _figure(rows, CACHED | _same(1), "p50_ms"), 3),
    ]


def _at(connections: int) -> Row:
    return {"experiment": "speed", "connections": connections}


def _large() -> Row:
    return {"experiment": "sizes", "pictures": "12-megapixel", "connections": 32}


def _same(connections: int) -> Row:
    return {"experiment": "cache", "connections": connections}


def _cached_ratio(rows: list[Row]) -> Figure | None:
    return ratio(rows, CACHED | _same(32), SIGHTLINE | _same(32), "images_per_s")


def _share_of_limit(rows: list[Row]) -> Figure | None:
    """Take the better of 32 and 128 connections, as the limit too is a best case."""
    shares = [ratio(rows, SIGHTLINE | _at(connections), LIMIT, "images_per_s") for connections in (32, 128)]
    return max((share for share in shares if share), key=lambda share: share.median, default=None)


def _lone_request(rows: list[Row]) -> Figure | None:
    """Compare with the setting of Mosec that answers a lone request soonest."""
    ratios = [ratio(rows, SIGHTLINE | _at(1), mosec | _at(1), "p50_ms") for mosec in (MOSEC, MOSEC_SINGLE)]
    return max((found for found in ratios if found), key=lambda found: found.median, default=None)


def _depth_ratio(rows: list[Row]) -> Figure | None:
    deep, shallow = {"experiment": "depth", "depth": 10_000}, {"experiment": "depth", "depth": 10}
    return ratio(rows, deep, shallow, "cpu_ms")


def _fewer_right(rows: list[Row]) -> Figure | None:
    right, usual = _figure(rows, ACCURACY, "right"), _figure(rows, ACCURACY, "usual_right")
    images = _figure(rows, ACCURACY, "pictures_checked")
    if not (right and usual and images):
        return None
    fewer = round((usual.median - right.median) * images.median)
    return Figure(fewer, fewer, fewer)


def _figure(rows: list[Row], wanted: Row, metric: str) -> Figure | None:
    lines = [line for line in summarise(rows) if line.matches(wanted) and metric in line.figures]
    return lines[0].figures[metric] if lines else None


def _at_least(what: str, measured: Figure | None, bound: float) -> Verdict:
    return Verdict(what, f">= {bound:g}", measured, measured is not None and measured.median >= bound)


def _at_most(what: str, measured: Figure | None, bound: float) -> Verdict:
    return Verdict(what, f"<= {bound:.3g}", measured, measured is not None and measured.median <= bound)
