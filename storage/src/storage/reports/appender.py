"""Reports on their way into the files: those that come while others are being written are written together.

Each write waits for the disk, and for other processes. In turn, many simultaneous reports would take longer than their
clients wait.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from storage.files import Run
from storage.reports import files
from storage.reports.files import MAX_TOGETHER, Addition, Appended


class _Waiting:
    """A report that is to be appended, and what became of it; None until that is known."""

    def __init__(self, addition: Addition, when_kept: Callable[[], None]) -> None:
        self.addition = addition
        self.when_kept = when_kept
        self.result: Appended | None = None

    @property
    def report_id(self) -> bytes | None:
        """Return the id that the report may have once; None where it came without a key."""
        return None if self.addition.once is None else self.addition.once.key.report_id


class Appender:
    """Appends to the files of one folder; its threads may share it.

    `check_room` is called before reports are written, under their lock; what it raises keeps them out.
    """

    def __init__(self, lines: Path, rows: Path, run: Run, check_room: Callable[[], None] = lambda: None) -> None:
        self._lines = lines
        self._rows = rows
        self._run = run
        self._check_room = check_room
        self._waiting: deque[_Waiting] = deque()

    def add(self, addition: Addition, when_kept: Callable[[], None] = lambda: None) -> bool:
        """Append a report, with others that wait; return False where it was there already.

        `when_kept` is called by the thread that has appended it, whether or not the caller still waits.
        """
        mine = _Waiting(addition, when_kept)
        self._waiting.append(mine)
        try:
            self._run(lambda: self._append_until(mine))
        except BaseException:
            # Where another thread has taken it, it is being written.
            with suppress(ValueError):
                self._waiting.remove(mine)
                mine.result = False
            raise
        if isinstance(mine.result, Exception):
            raise mine.result
        return mine.result is True

    def _append_until(self, mine: _Waiting) -> None:
        """Append what waits until there is a result for this report; another thread may have it."""
        while mine.result is None:
            taken: list[_Waiting] = []
            try:
                results: Sequence[Appended] = files.append_due(self._lines, self._rows, lambda: self._take(taken))  # noqa: B023  called before it returns
            except Exception as error:
                if not taken:
                    raise
                results = [error] * len(taken)
            for each, result in zip(taken, results, strict=True):
                if result is True:
                    each.when_kept()
                each.result = result

    def _take(self, taken: list[_Waiting]) -> list[Addition]:
        """Take the reports to write now from those that wait, oldest first."""
        self._check_room()
        ids: set[bytes] = set()
        while len(taken) < MAX_TOGETHER:
            try:
                each = self._waiting.popleft()
            except IndexError:
                break
            if each.report_id in ids:
                # It is checked again once the other one is written.
                self._waiting.appendleft(each)
                break
            if each.report_id is not None:
                ids.add(each.report_id)
            taken.append(each)
        return [each.addition for each in taken]
