"""Many images through the service: as fast as it accepts them, going on where an earlier run stopped.

Small images go several to a request: each request costs the service and this process about as much as an image's own
work does.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from sightline.client import OF_ALL_REQUESTS, Client, Prediction, Refused, ServiceError, Unreachable
from sightline.pacing import REQUESTS, Pacing
from sightline.reading import read_regular
from sightline.results import Results, Row

# A service that is being restarted is waited for.
PATIENCE_S = 60.0
# A file with which the connection breaks so often, while the service answers others, is at fault itself.
MAX_BREAKS = 3
# What a request has at most; a larger image goes by itself.
GROUP_IMAGES, GROUP_BYTES = 8, 1024**2
# A service that is busy, as opposed to one that cannot do anything now.
_USUAL = frozenset({"queue_full", "overloaded", "rate_limited"})

Group = list[tuple[str, Path]]


class _Image(NamedTuple):
    name: str
    content: bytes


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
        under_way: dict[Future[None], int] = {}

        def work(group: Group) -> None:
            for row in run.rows(group):
                results.add(row)
                advance()

        try:
            for group in groups(images, min(GROUP_IMAGES, max(1, most // REQUESTS))):
                under_way[pool.submit(work, group)] = len(group)
                while sum(under_way.values()) >= 2 * most:
                    ended, _ = wait(under_way, return_when="FIRST_COMPLETED")
                    for future in ended:
                        del under_way[future]
                    _raise_first(ended)
            ended, _ = wait(under_way, return_when=FIRST_EXCEPTION)
            _raise_first(ended)
        except BaseException:
            run.pacing.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def groups(images: Mapping[str, Path], most: int) -> Iterator[Group]:
    """Yield the images in order, in groups of up to `most` and up to GROUP_BYTES; a larger image by itself."""
    group: Group = []
    group_bytes = 0
    for name, path in images.items():
        size = _size(path)
        if group and (len(group) == most or group_bytes + size > GROUP_BYTES):
            yield group
            group, group_bytes = [], 0
        group.append((name, path))
        group_bytes += size
    if group:
        yield group


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # reported when it is read
        return 0


class _Run:
    """What the threads of one run share."""

    def __init__(self, client: Client, pacing: Pacing, notice: Callable[[str], object], top_k: int) -> None:
        self.pacing = pacing
        self._client = client
        self._notice = notice
        self._top_k = top_k
        self._noticed: set[str] = set()

    def rows(self, group: Group) -> Iterator[Row]:
        """Yield the row of each image of a group, however often it has to be sent."""
        images: list[_Image] = []
        for name, path in group:
            try:
                images.append(_Image(name, read_regular(path)))
            except OSError as fault:
                is_large = fault.errno == errno.EFBIG
                yield Row(name, error=f"{'too_large' if is_large else 'cannot be read'}: {fault.strerror}")
            except ValueError as fault:  # no file can have this name
                yield Row(name, error=f"cannot be read: {fault}")
        yield from self._answered(images)

    def _answered(self, left: list[_Image]) -> Iterator[Row]:
        away_since, breaks = 0.0, 0
        is_single = False  # one of them may be at fault for what failed as a whole
        while left:
            sent: list[_Image] = []
            try:
                with self.pacing.places(1 if is_single else len(left)) as count:
                    sent = left[:count]
                    found = self._client.classify_batch([image.content for image in sent], top_k=self._top_k)
            except Refused as refusal:
                away_since = 0.0
                self._wait_after(refusal)
            except Unreachable as fault:
                if self._client.is_alive():
                    away_since, breaks, is_single = 0.0, breaks + (len(sent) == 1), True
                    if breaks == MAX_BREAKS:
                        yield Row(left.pop(0).name, error=f"connection_lost: {fault}")
                        breaks = 0
                    continue
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_S:
                    raise
                self._tell_once("away", f"{fault}; waiting for it for up to {PATIENCE_S:.0f} s")
                self.pacing.was_refused(1.0)
            except ServiceError as error:
                if len(sent) == 1 or error.status in OF_ALL_REQUESTS:
                    raise
                is_single = True
            else:
                away_since, breaks = 0.0, 0
                del left[: len(sent)]
                outcomes = list(zip(sent, found))
                refused = [(image, outcome) for image, outcome in outcomes if isinstance(outcome, Refused)]
                left += [image for image, _ in refused]
                if refused:
                    self._wait_after(refused[0][1])
                else:
                    self.pacing.went_well(len(sent))
                yield from (
                    self._row(image, outcome) for image, outcome in outcomes if not isinstance(outcome, Refused)
                )

    def _row(self, image: _Image, outcome: Prediction | ServiceError) -> Row:
        if isinstance(outcome, ServiceError):
            return Row(image.name, error=f"{outcome.code}: {outcome}")
        several = outcome.predictions if self._top_k > 1 else ()
        return Row(image.name, outcome.label, f"{outcome.score:.4f}", "", outcome.id, outcome.model_version, several)

    def _wait_after(self, refusal: Refused) -> None:
        self.pacing.was_refused(refusal.retry_after_s)
        if refusal.code not in _USUAL:
            self._tell_once(refusal.code, f"waiting for the service: {refusal}")

    def _tell_once(self, code: str, text: str) -> None:
        if code not in self._noticed:
            self._noticed.add(code)
            self._notice(text)


def _raise_first(ended: set[Future[None]]) -> None:
    for future in ended:
        future.result()
