"""A folder of pictures through the service: as fast as it wants, going on where an earlier run stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

from sightline.client import Client, Refused, ServiceError, Unreachable
from sightline.pacing import Pacing
from sightline.results import Results, Row

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"})
# A service that is being restarted is waited for.
PATIENCE_S = 60.0


def pictures_in(folder: Path) -> list[Path]:
    """Give the pictures below a folder by name, or the one that it is."""
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def classify(  # noqa: PLR0913  two of them go by keyword
    client: Client, paths: Sequence[Path], folder: Path, results: Results, *, most: int, advance: Callable[[], object]
) -> None:
    """Ask for each picture and keep its row; raises Unreachable where the service stays away."""
    pacing, base = Pacing(most), folder if folder.is_dir() else folder.parent
    with ThreadPoolExecutor(most) as pool:
        queue = iter(paths)
        under_way: set[Future[None]] = set()

        def one(path: Path) -> None:
            results.add(_row(client, path, str(path.relative_to(base)), pacing))
            advance()

        try:
            for path in queue:
                under_way.add(pool.submit(one, path))
                if len(under_way) >= 2 * most:
                    ended, under_way = wait(under_way, return_when="FIRST_COMPLETED")
                    _raise_first(ended)
            ended, _ = wait(under_way, return_when=FIRST_EXCEPTION)
            _raise_first(ended)
        except BaseException:
            pacing.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _row(client: Client, path: Path, name: str, pacing: Pacing) -> Row:
    try:
        content = path.read_bytes()
    except OSError as fault:
        return Row(name, error=f"cannot be read: {fault.strerror}")
    away_since: float | None = None
    while True:
        try:
            with pacing:
                found = client.classify(content)
        except Refused as refusal:
            pacing.was_refused(refusal.retry_after_s)
            away_since = None
        except Unreachable:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > PATIENCE_S:
                raise
            pacing.was_refused(1.0)
        except ServiceError as error:
            if error.status in {401, 403, 404}:
                raise
            return Row(name, error=f"{error.code}: {error}")
        else:
            pacing.went_well()
            return Row(name, found.label, f"{found.score:.4f}", "", found.id, found.model_version)


def _raise_first(ended: set[Future[None]]) -> None:
    for future in ended:
        future.result()
