"""Clients that send each report, with its key, until it is acknowledged; and what must hold for what is kept."""

import csv
import itertools
import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from threading import Event

import pytest

from sightline_testing.client import Client

ANSWERED = 201
PAUSE_S = 0.05


class Writing:
    """Clients that report one prediction again and again, each time with another comment."""

    def __init__(self, client: Client, prediction_id: str) -> None:
        self._client = client
        self._prediction_id = prediction_id
        self.accepted = itertools.count()
        self.last_accepted = 0
        self.again = 0
        self.broken_off = Event()

    @contextmanager
    def by(self, writers: int, reports: int) -> Iterator[list["Future[list[tuple[str, str]]]"]]:
        """Have so many clients write so many reports each, while the block is executed."""
        with ThreadPoolExecutor(writers) as pool:
            written = [pool.submit(self.write, f"writer-{number}", reports) for number in range(writers)]
            try:
                yield written
            except BaseException:
                self.broken_off.set()
                raise

    def write(self, writer: str, reports: int) -> list[tuple[str, str]]:
        """Give the comment and the id of each."""
        return list(self._ids(writer, reports))

    def _ids(self, writer: str, reports: int) -> Iterator[tuple[str, str]]:
        for number in range(reports):
            comment = f'{writer}, report {number}:\nit is "no", and more'
            yield comment, self._sent(f"{writer}-{number}", comment)

    def _sent(self, key: str, comment: str) -> str:
        body = json.dumps({"prediction_id": self._prediction_id, "label": "tabby", "comment": comment}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        while not self.broken_off.is_set():
            try:
                response = self._client.send("POST", "/feedback", body, headers)
            except (OSError, HTTPException):
                pass  # it was killed; the report may be stored or not
            else:
                assert response.status == ANSWERED or response.status >= 500, response.text
                if response.status == ANSWERED:
                    self.last_accepted = next(self.accepted)
                    return str(response.json()["report_id"])
            self.again += 1
            time.sleep(PAUSE_S)
        pytest.fail("broken off")


def ids_of(written: Iterable["Future[list[tuple[str, str]]]"]) -> dict[str, str]:
    """Return the id of each comment that was acknowledged."""
    return dict(itertools.chain.from_iterable(future.result() for future in written))


def check_rows(text: str, ids: dict[str, str]) -> None:
    """Hold the text of a CSV file against what was acknowledged; no other report may be in it."""
    assert text.endswith("\n")
    rows = whole_rows(text)
    kept = [(row["report_id"], row["comment"]) for row in rows]
    assert len(kept) == len(set(kept)), "a report is there twice"
    lost = set(ids.values()) - {report_id for report_id, _ in kept}
    assert not lost, f"{len(lost)} acknowledged reports are lost"
    assert len(kept) == len(ids), "a report is there twice under one key"


def whole_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of the CSV; AssertionError where one is not whole."""
    try:
        rows = list(csv.DictReader(text.splitlines(keepends=True), strict=True))
    except csv.Error as fault:
        raise AssertionError(f"a row is torn: {fault}") from fault
    torn = [row for row in rows if None in row or None in row.values()]
    assert not torn, f"a row is torn: {torn}"
    return rows
