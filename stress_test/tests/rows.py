"""Rows as a run leaves them, with figures to vary."""

from typing import Any


def row(users: int, images: float, *, instances: int = 1, batch_size: int = 1, **changes: Any) -> dict[str, Any]:
    """A run of the matrix on two cores that no other process uses."""
    p50_ms = 1000 * users / images
    times = {"p50_ms": p50_ms, "p95_ms": 1.2 * p50_ms, "p99_ms": 1.4 * p50_ms, "max_ms": 1.5 * p50_ms}
    counts = {"answered": round(images * 40), "refused": 0, "failed": 0, "per_second": images}
    cpu = {"api": 0.4, "model": 1.2, "redis": 0.1, "locust": 0.25}
    return {
        "experiment": "matrix",
        "target": "compose",
        "instances": instances,
        "batch_size": batch_size,
        "cache": False,
        "precision": "int8",
        "seconds": 40,
        "users": users,
        "measured_s": 40.0,
        "all": counts,
        "requests": {"predict": counts | times},
        "faults": {},
        "cpu_cores": cpu,
        "busy_cores": 1.97,
        "others_cores": 0.02,
        "memory_mb": {"api": 60.0, "model": 220.0, "redis": 12.0, "locust": 140.0},
        "mean_batch": 1.0 if batch_size == 1 else 5.5,
        "batch_sizes": {"1": 9},
        "queue": [[0.0, users * 0.9], [2.0, users * 1.0]],
        "batches": [[2.0, 1.0 if batch_size == 1 else 5.5]],
        **changes,
    }


def matrix() -> list[dict[str, Any]]:
    """Two cores that one instance fills; batching saves a little."""
    images = {1: 40.0, 8: 120.0, 32: 124.0, 128: 122.0}
    return [
        row(
            users,
            rate * (1.1 if size > 1 else 1.0) * (0.99 if instances > 1 else 1.0),
            instances=instances,
            batch_size=size,
        )
        for instances in (1, 2)
        for size in (1, 8)
        for users, rate in images.items()
    ]


def overload(**counts: int) -> dict[str, Any]:
    """A run past the queue's bound, and the one after it."""
    every = {"answered": 4000, "refused": 9000, "failed": 0, "per_second": 100.0} | counts
    faults = {"refused: 503 with Retry-After": every["refused"]}
    recovery = {"users": 8, "predict": {"answered": 900, "p50_ms": 70.0}, "faults": {}}
    return row(
        1100, 100.0, instances=2, experiment="overload", bound=500.0, all=every, faults=faults, recovery=recovery
    )


def exercise() -> list[dict[str, Any]]:
    """The exercise's own load, with its pauses and without."""
    counts = {"answered": 1300, "refused": 0, "failed": 0}
    return [
        row(100, 24.0, instances=4, experiment="exercise", all=counts | {"per_second": 32.5}),
        row(100, 100.0, instances=4, experiment="exercise without pauses", all=counts | {"per_second": 155.0}),
    ]
