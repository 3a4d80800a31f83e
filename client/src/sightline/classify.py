"""Many images through the service: as fast as it accepts them, going on where an earlier run stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path

from sightline.client import Client, Refused, ServiceError, Unreachable
from sightline.pacing import Pacing
from sightline.results import Results, Row

# A service that is being restarted is waited for.
PATIENCE_S = 60.0
# A file with which the connection breaks so often, while the service answers others, is at fault itself.
MAX_BREAKS = 3
# Above every limit of a service; such a file is not even read.
MAX_FILE_BYTES = 256 * 1024**2


def classify(  # noqa: PLR0913  three of them go by keyword
    client: Client,
    images: Mapping[str, Path],
    results: Results,
    *,
    most: int,
    top_k: int = 1,
    advance: Callable[[], object],
    notice: Callable[[str], object],
) -> None:
    """Send each image, `most` at a time at most, and add its row, with several classes where `top_k` is more than 1.

    `notice` gets what the user should know meanwhile.

    Raises Unreachable where the service stays away, and ServiceError where it accepts no request of this client.
    """
    run = _Run(client, Pacing(most), notice, top_k)
    with ThreadPoolExecutor(most) as pool:
        under_way: set[Future[None]] = set()

        def one(name: str, path: Path) -> None:
            results.add(run.row(name, path))
            advance()

        try:
            for name, path in images.items():
                under_way.add(pool.submit(one, name, path))
                if len(under_way) >= 2 * most:
                    ended, under_way = wait(under_way, return_when="FIRST_COMPLETED")
                    _raise_first(ended)
            ended, _ = wait(under_way, return_when=FIRST_EXCEPTION)
            _raise_first(ended)
        except BaseException:
            run.pacing.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Run:
    """What the threads of one run share."""

    def __init__(self, client: Client, pacing: Pacing, notice: Callable[[str], object], top_k: int) -> None:
        self.pacing = pacing
        self._client = client
        self._notice = notice
        self._top_k = top_k
        self._noticed: set[str] = set()

    def row(self, name: str, path: Path) -> Row:
        """Return the row of one image, however often it has to be sent."""
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                return Row(name, error=f"too_large: the file has more than {MAX_FILE_BYTES} bytes")
            content = path.read_bytes()
        except OSError as fault:
            return Row(name, error=f"cannot be read: {fault.strerror}")
        return self._answered(name, content)

    def _answered(self, name: str, content: bytes) -> Row:
        away_since, breaks = 0.0, 0
        while True:
            try:
                with self.pacing:
                    found = self._client.classify(content, top_k=self._top_k)
            except Refused as refusal:
                self.pacing.was_refused(refusal.retry_after_s)
                away_since = 0.0
                if refusal.code not in {"queue_full", "overloaded", "rate_limited"}:
                    self._tell_once(refusal.code, f"waiting for the service: {refusal}")
            except Unreachable as fault:
                if self._client.is_alive():
                    away_since, breaks = 0.0, breaks + 1
                    if breaks == MAX_BREAKS:
                        return Row(name, error=f"connection_lost: {fault}")
                    continue
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_S:
                    raise
                self._tell_once("away", f"{fault}; waiting for it for up to {PATIENCE_S:.0f} s")
                self.pacing.was_refused(1.0)
            except ServiceError as error:
                if error.status in {401, 403, 404}:
                    raise
                return Row(name, error=f"{error.code}: {error}")
            else:
                self.pacing.went_well()
                several = found.predictions if self._top_k > 1 else ()
                return Row(name, found.label, f"{found.score:.4f}", "", found.id, found.model_version, several)

    def _tell_once(self, code: str, text: str) -> None:
        if code not in self._noticed:
            self._noticed.add(code)
            self._notice(text)


def _raise_first(ended: set[Future[None]]) -> None:
    for future in ended:
        future.result()
