"""Exemplars: for each bucket of the requests' durations, the trace of a request that fell into it.

Prometheus' client keeps none where several processes count together, so these are those of the process that answers.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

# Where a request's environment has the ids of its trace, if that is recorded.
EXEMPLAR: Final = "sightline.exemplar"


class Exemplars:
    """The last exemplar of each bucket of one histogram."""

    def __init__(self, name: str, bounds: Sequence[float]) -> None:
        self._bucket = f"{name}_bucket"
        self._bounds = (*bounds, float("inf"))
        self._found: dict[tuple[float, tuple[tuple[str, str], ...]], Exemplar] = {}

    def note(self, labels: Mapping[str, str], value: float, ids: Mapping[str, str]) -> None:
        """Keep the ids of a trace for the bucket of a value."""
        bound = self._bounds[bisect_left(self._bounds, value)]
        self._found[bound, tuple(sorted(labels.items()))] = Exemplar(dict(ids), value, time.time())

    def added_to(self, families: Any) -> Iterator[Metric]:
        """Yield metrics with what is known of their buckets."""
        for family in families:
            if self._found:
                family.samples = [each._replace(exemplar=self._of(each)) for each in family.samples]
            yield family

    def _of(self, sample: Any) -> Exemplar | None:
        if sample.name != self._bucket:
            known: Exemplar | None = sample.exemplar
            return known
        labels = dict(sample.labels)
        bound = float(labels.pop("le"))
        return self._found.get((bound, tuple(sorted(labels.items()))))
