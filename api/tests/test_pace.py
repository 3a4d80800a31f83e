import socket
import threading
import time
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


def drip(theirs: socket.socket, stop: threading.Event, piece: bytes) -> None:
    while not stop.wait(SHORT_S / 5):
        theirs.sendall(piece)


@pytest.fixture
def dripping(pair: tuple[socket.socket, socket.socket]) -> Iterator[socket.socket]:
    """Our end of a connection whose other end sends a byte again and again, more often than any deadline."""
    ours, theirs = pair
    stop = threading.Event()
    thread = threading.Thread(target=drip, args=(theirs, stop, b"x"))
    thread.start()
    yield ours
    stop.set()
    thread.join()


def read_for_ever(reader: PacedReader) -> None:
    while True:
        reader.chunk()


def test_a_quiet_connection_is_let_go_in_silence(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0], idle_s=SHORT_S)
    reader.expect_head()
    assert reader.is_idle
    with pytest.raises(ClientIdle):
        reader.chunk()


def test_a_head_byte_by_byte_ends_at_its_deadline(dripping: socket.socket) -> None:
    reader = reader_on(dripping, head_s=SHORT_S)
    reader.expect_head()
    with pytest.raises(ClientTooSlow, match="headers"):
        read_for_ever(reader)


def test_a_head_that_stops_half_way_ends_at_its_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0], head_s=SHORT_S)
    reader.expect_head()
    pair[1].sendall(b"GET / HT")
    with pytest.raises(ClientTooSlow, match="headers"):
        read_for_ever(reader)


def test_a_body_byte_by_byte_ends_with_its_window(dripping: socket.socket) -> None:
    reader = reader_on(dripping, window_s=SHORT_S)
    reader.expect_body()
    with pytest.raises(ClientTooSlow, match="body"):
        read_for_ever(reader)


def test_a_body_that_keeps_the_pace_gets_window_after_window(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(pace, "monotonic", lambda: now[0])
    reader = reader_on(pair[0], window_s=10, body_s=100)
    reader.expect_body()
    for _ in range(9):
        now[0] += 9.9
        pair[1].sendall(b"x" * pace.WINDOW_BYTES)
        taken = 0
        while taken < pace.WINDOW_BYTES:
            taken += len(reader.chunk())
    now[0] += 9.9
    pair[1].sendall(b"x" * (pace.WINDOW_BYTES - 1))
    taken = 0
    while taken < pace.WINDOW_BYTES - 1:
        taken += len(reader.chunk())
    now[0] += 0.2
    with pytest.raises(ClientTooSlow):
        reader.chunk()


def test_a_body_ends_at_its_last_deadline_however_fast_it_comes(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(pace, "monotonic", lambda: now[0])
    reader = reader_on(pair[0], window_s=10, body_s=15)
    reader.expect_body()
    for _ in range(2):
        pair[1].sendall(b"x" * pace.WINDOW_BYTES)
        reader.chunk(pace.WINDOW_BYTES)
        now[0] += 7
    now[0] += 2
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
    time.sleep(SHORT_S)
    with pytest.raises(ClientTooSlow):
        reader.chunk()
