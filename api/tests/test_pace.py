import socket
from collections.abc import Iterator

import pytest

import pace
from pace import Budget, ClientIdle, ClientTooSlow, Pace, PacedReader, UploadsFull

# Far apart, so that which deadline it was can be told without looking at a clock.
LONG_S = 3600.0
SHORT_S = 0.05


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def reader_on(ours: socket.socket, budget: Budget | None = None, **seconds: float) -> PacedReader:
    times = {"idle_s": LONG_S, "head_s": LONG_S, "body_s": LONG_S, "window_s": LONG_S, "send_s": LONG_S} | seconds
    return PacedReader(ours, Pace(**times), budget or Budget(2**30))


class Clock:
    """Goes only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "monotonic", clock)
    return clock


def take(reader: PacedReader, theirs: socket.socket, size: int) -> None:
    """Send so many bytes and read them."""
    theirs.sendall(b"x" * size)
    while size:
        size -= len(reader.chunk())


def test_a_quiet_connection_is_let_go_in_silence(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0], idle_s=SHORT_S)
    reader.expect_head()
    assert reader.is_idle
    with pytest.raises(ClientIdle):
        reader.chunk()


def test_a_head_that_stops_half_way_ends_at_its_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0], head_s=SHORT_S)
    reader.expect_head()
    take(reader, pair[1], 8)
    with pytest.raises(ClientTooSlow, match="headers"):
        reader.chunk()


def test_a_head_byte_by_byte_ends_at_the_deadline_set_by_its_first(
    pair: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    reader = reader_on(pair[0], idle_s=1000, head_s=10)
    reader.expect_head()
    clock.now = 999
    for _ in range(3):
        take(reader, pair[1], 1)
        clock.now += 4
    pair[1].sendall(b"x")
    with pytest.raises(ClientTooSlow, match="headers"):
        reader.chunk()


def test_a_body_byte_by_byte_ends_with_its_window(pair: tuple[socket.socket, socket.socket], clock: Clock) -> None:
    reader = reader_on(pair[0], window_s=10)
    reader.expect_body()
    for _ in range(3):
        take(reader, pair[1], 1)
        clock.now += 4
    pair[1].sendall(b"x")
    with pytest.raises(ClientTooSlow, match="body"):
        reader.chunk()


def test_a_body_that_keeps_the_pace_gets_window_after_window(
    pair: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    reader = reader_on(pair[0], window_s=10, body_s=1000)
    reader.expect_body()
    for _ in range(9):
        clock.now += 9.9
        take(reader, pair[1], pace.WINDOW_BYTES)
    clock.now += 9.9
    take(reader, pair[1], pace.WINDOW_BYTES - 1)
    clock.now += 0.2
    pair[1].sendall(b"x")
    with pytest.raises(ClientTooSlow):
        reader.chunk()


def test_a_body_ends_at_its_last_deadline_however_fast_it_comes(
    pair: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    reader = reader_on(pair[0], window_s=10, body_s=15)
    reader.expect_body()
    for _ in range(2):
        take(reader, pair[1], pace.WINDOW_BYTES)
        clock.now += 7
    clock.now += 2
    pair[1].sendall(b"x")
    with pytest.raises(ClientTooSlow):
        reader.chunk()


def test_what_is_sent_has_a_time_of_its_own(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0], send_s=123.0)
    reader.expect_head()
    pair[1].sendall(b"x")
    reader.chunk()
    assert pair[0].gettimeout() == 123.0


def test_uploads_share_the_memory_there_is(pair: tuple[socket.socket, socket.socket]) -> None:
    budget = Budget(100)
    first, second = reader_on(pair[0], budget), reader_on(pair[1], budget)
    first.expect_body()
    second.expect_body()
    pair[1].sendall(b"x" * 60)
    pair[0].sendall(b"x" * 60)
    first.chunk()
    with pytest.raises(UploadsFull):
        second.chunk()
    first.forget_body()
    pair[0].sendall(b"x" * 60)
    second.chunk()
    second.expect_head()
    assert budget.held == 0


def test_a_head_counts_for_no_upload(pair: tuple[socket.socket, socket.socket]) -> None:
    budget = Budget(0)
    reader = reader_on(pair[0], budget)
    reader.expect_head()
    pair[1].sendall(b"GET / HTTP/1.1\r\n")
    assert reader.chunk() == b"GET / HTTP/1.1\r\n"


def test_a_request_that_came_with_the_last_one_is_not_idle(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0], head_s=SHORT_S)
    reader.unread(b"GET / HT")
    reader.expect_head()
    assert not reader.is_idle
    with pytest.raises(ClientTooSlow):
        reader.chunk()
