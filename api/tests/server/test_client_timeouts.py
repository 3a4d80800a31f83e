import socket
from collections.abc import Iterator

import gevent
import pytest
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData

from problems import Problem
from server import client_timeouts
from server.client_timeouts import Budget, ClientIdle, ClientTimeouts, PacedReader, Share, Turns

# Far apart, so that the deadline can be identified without a clock.
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
    return PacedReader(ours, ClientTimeouts(**times), budget or Budget(2**30), Turns(1))


class Clock:
    """A worker that stops only on request."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(client_timeouts, "monotonic", clock)
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
    with pytest.raises(Problem, match="headers"):
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
    with pytest.raises(Problem, match="headers"):
        reader.chunk()


def test_a_body_byte_by_byte_ends_with_its_window(pair: tuple[socket.socket, socket.socket], clock: Clock) -> None:
    reader = reader_on(pair[0], window_s=10)
    reader.expect_body()
    for _ in range(3):
        take(reader, pair[1], 1)
        clock.now += 4
    pair[1].sendall(b"x")
    with pytest.raises(Problem, match="body"):
        reader.chunk()


def test_a_body_that_keeps_the_pace_gets_window_after_window(
    pair: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    reader = reader_on(pair[0], window_s=10, body_s=1000)
    reader.expect_body()
    for _ in range(9):
        clock.now += 9.9
        take(reader, pair[1], client_timeouts.WINDOW_BYTES)
    clock.now += 9.9
    take(reader, pair[1], client_timeouts.WINDOW_BYTES - 1)
    clock.now += 0.2
    pair[1].sendall(b"x")
    with pytest.raises(Problem, match="client_too_slow"):
        reader.chunk()


def test_a_body_ends_at_its_last_deadline_however_fast_it_comes(
    pair: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    reader = reader_on(pair[0], window_s=10, body_s=15)
    reader.expect_body()
    for _ in range(2):
        take(reader, pair[1], client_timeouts.WINDOW_BYTES)
        clock.now += 7
    clock.now += 2
    pair[1].sendall(b"x")
    with pytest.raises(Problem, match="client_too_slow"):
        reader.chunk()


def test_what_is_sent_has_a_time_of_its_own(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0], send_s=123.0)
    reader.expect_head()
    pair[1].sendall(b"x")
    reader.chunk()
    assert pair[0].gettimeout() == 123.0


def test_uploads_share_the_memory_there_is(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_timeouts, "STANDSTILL_S", 0.0)
    budget = Budget(100)
    first, second = reader_on(pair[0], budget), reader_on(pair[1], budget)
    first.expect_body()
    second.expect_body()
    pair[1].sendall(b"x" * 60)
    pair[0].sendall(b"x" * 60)
    first.chunk()
    with pytest.raises(Problem, match="uploads_full"):
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
    with pytest.raises(Problem, match="client_too_slow"):
        reader.chunk()


class CountedTurns(Turns):
    """Turns whose pauses are counted, and last no time."""

    pauses = 0

    def pause(self, seconds: float) -> None:
        self.pauses += 1


HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
MAX_LINE = 4094


class TestReadHead:
    def test_a_head_is_given_as_a_whole_with_what_came_behind_it(
        self, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        reader = reader_on(pair[0])
        reader.unread(HEAD[:20])
        reader.expect_head()
        pair[1].sendall(HEAD[20:] + b"body")
        assert reader.read_head(MAX_LINE) == HEAD + b"body"

    def test_a_head_may_come_byte_by_byte_or_after_an_empty_line(
        self, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        ours, theirs = pair
        turns = CountedTurns(1)
        reader = PacedReader(ours, ClientTimeouts(LONG_S, LONG_S, LONG_S, LONG_S, LONG_S), Budget(0), turns)
        reader.mxchunk = 1
        theirs.sendall(b"\r\n" + HEAD)
        reader.expect_head()
        assert reader.read_head(MAX_LINE) == b"\r\n" + HEAD
        # So small packets, once there are many of them, are waited for.
        assert turns.pauses == len(HEAD) + 2 - client_timeouts.FREE_SMALL_READS - 1

    def test_a_head_is_bounded(self, pair: tuple[socket.socket, socket.socket]) -> None:
        reader = reader_on(pair[0])
        pair[1].sendall(HEAD[:-2] + b"X: y\r\n" * 10_000)
        with pytest.raises(LimitRequestHeaders, match=f"{client_timeouts.MAX_HEAD_BYTES} bytes"):
            reader.read_head(MAX_LINE)
        assert reader.received <= client_timeouts.MAX_HEAD_BYTES + 8192

    @pytest.mark.parametrize("headers", [b"Cookie: " + b"a=b; " * 600, b"Accept: " + b"a/b," * 300 + b"a/b;q=1" * 300])
    def test_what_its_headers_list_is_bounded(self, pair: tuple[socket.socket, socket.socket], headers: bytes) -> None:
        reader = reader_on(pair[0])
        pair[1].sendall(HEAD[:-2] + headers + b"\r\n\r\n")
        with pytest.raises(LimitRequestHeaders, match=f"more than {client_timeouts.MAX_LISTED} values"):
            reader.read_head(MAX_LINE)

    def test_what_a_body_lists_behind_it_is_not(self, pair: tuple[socket.socket, socket.socket]) -> None:
        reader = reader_on(pair[0])
        pair[1].sendall(HEAD + b";" * 5000)
        assert reader.read_head(MAX_LINE).count(b";") == 5000

    @pytest.mark.parametrize(
        "begin",
        [
            b"nonsense\r\n",
            b"\r\nnonsense\r\n",
            b"\r\n\r",
            b"GET / HTTP/1\r\n",
            b"GET /\n",
            b"GET / HTTP/1.1\r\nHost: a\n",
            b"GET /" + b"x" * MAX_LINE,
            b"\x16\x03\x01\r\n",
        ],
    )
    def test_what_no_parser_takes_is_given_before_its_end(
        self, pair: tuple[socket.socket, socket.socket], begin: bytes
    ) -> None:
        reader = reader_on(pair[0], head_s=SHORT_S)
        reader.expect_head()
        pair[1].sendall(begin)
        if begin == b"\r\n\r":  # an empty line, and perhaps another one
            with pytest.raises(Problem, match="client_too_slow"):
                reader.read_head(MAX_LINE)
        else:
            assert reader.read_head(MAX_LINE) == begin

    @pytest.mark.parametrize("begin", [b"", b"GET / HT", HEAD[:-2], HEAD[:-1]])
    def test_at_the_end_of_the_stream_it_is_given_as_far_as_it_came(
        self, pair: tuple[socket.socket, socket.socket], begin: bytes
    ) -> None:
        reader = reader_on(pair[0])
        pair[1].sendall(begin)
        pair[1].shutdown(socket.SHUT_WR)
        assert reader.read_head(MAX_LINE) == begin


def test_who_was_answered_may_send_on_at_the_pace_of_a_body(
    pair: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    reader = reader_on(pair[0], window_s=3, body_s=1000)
    pair[1].sendall(b"x" * 100_000)
    clock.now = 7
    pair[1].shutdown(socket.SHUT_WR)
    reader.drain()
    assert reader.received == 100_000


def test_who_was_answered_and_stops_sending_is_let_go(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0], window_s=SHORT_S)
    pair[1].sendall(b"x" * 100_000)
    reader.drain()
    assert reader.received == 100_000


def test_a_rest_that_does_not_come_is_waited_for_in_silence(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0], head_s=SHORT_S)
    pair[1].sendall(b"x")
    with pytest.raises(ClientIdle):
        reader.discard(2)


def test_word_to_go_on_is_sent_once_and_only_where_the_body_is_waited_for(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    reader = reader_on(pair[0])
    reader.expect_body(owes_continue=True)
    assert reader.owes_continue
    pair[1].sendall(b"x")
    reader.chunk()
    pair[1].sendall(b"x")
    reader.chunk()
    assert pair[1].recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not reader.owes_continue


class Uploads:
    """Bodies that arrive in parallel, each as fast as the others, and take a moment to be stored."""

    PIECE = 2_000

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.refused = self.most = 0

    def upload(self, length: int, until: int | None = None) -> Share:
        share = Share(length)
        try:
            for _ in range(0, length if until is None else until, self.PIECE):
                self.budget.take(share, min(self.PIECE, length - share.held), gevent.sleep)
                self.most = max(self.most, self.budget.held)
                gevent.sleep(0)
        except Problem:
            self.refused += 1
            self.budget.release(share)
        return share

    def store(self, length: int) -> None:
        share = self.upload(length)
        gevent.sleep(0.002)
        self.budget.release(share)


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Uploads:
    monkeypatch.setattr(client_timeouts, "WAIT_POLL_S", 0.005)
    monkeypatch.setattr(client_timeouts, "STANDSTILL_S", 30.0)
    return Uploads(Budget(1_000_000))


def test_large_bodies_that_arrive_at_once_are_all_taken_and_leave_room_for_small_ones(uploads: Uploads) -> None:
    large = [gevent.spawn(uploads.store, 140_000) for _ in range(100)]
    small = 0
    while not all(each.ready() for each in large):
        uploads.store(1_000)
        small += 1
    assert (uploads.refused, uploads.budget.held) == (0, 0)
    assert small > 20
    assert uploads.most <= uploads.budget.limit


def test_bodies_of_all_sizes_that_arrive_at_once_are_all_taken(uploads: Uploads) -> None:
    lengths = [1_000, 5_000, 20_000, 60_000, 140_000, 300_000] * 10
    gevent.joinall([gevent.spawn(uploads.store, length) for length in lengths])
    assert (uploads.refused, uploads.budget.held) == (0, 0)
    assert uploads.most <= uploads.budget.limit


def test_a_body_that_stops_coming_lets_others_go_first(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [uploads.upload(140_000, 139_000) for _ in range(4)]
    monkeypatch.setattr(client_timeouts, "TURN_S", 0.01)
    slow = uploads.upload(140_000, 2_000)
    gevent.joinall([gevent.spawn(uploads.store, 140_000) for _ in range(10)])
    assert uploads.refused == 0
    assert uploads.budget.held == sum(share.held for share in held) + slow.held


def test_bodies_are_refused_where_none_makes_room(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_timeouts, "STANDSTILL_S", 0.1)
    monkeypatch.setattr(client_timeouts, "TURN_S", 0.02)
    uploading = [gevent.spawn(uploads.upload, 140_000, 139_000) for _ in range(20)]
    gevent.joinall(uploading)
    held = [each.value for each in uploading if each.value.held]
    assert 0 < len(held) == 20 - uploads.refused <= 6
    uploads.store(1_000)
    for share in held:
        uploads.budget.release(share)
    uploads.store(140_000)
    assert uploads.refused == 20 - len(held)


def test_only_so_many_bodies_wait_for_room(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_timeouts, "MAX_WAITING", 5)
    gevent.joinall([gevent.spawn(uploads.store, 140_000) for _ in range(50)])
    assert 0 < uploads.refused < 45


def test_one_body_may_have_most_of_the_memory_but_not_all() -> None:
    Budget(1_000).take(Share(800), 800, gevent.sleep)
    with pytest.raises(Problem, match="uploads_full"):
        Budget(1_000).take(Share(850), 100, gevent.sleep)
    with pytest.raises(Problem, match="uploads_full"):
        Budget(1_000).take(Share(), 850, gevent.sleep)


def test_the_time_that_a_body_waits_for_room_is_not_the_client_s(
    pair: tuple[socket.socket, socket.socket], uploads: Uploads
) -> None:
    other = uploads.upload(700_000)
    reader = reader_on(pair[0], uploads.budget, body_s=0.2, window_s=0.2)
    reader.expect_body(200_000)
    gevent.spawn_later(0.3, uploads.budget.release, other)
    take(reader, pair[1], 1_000)
    take(reader, pair[1], 1_000)


def test_a_body_that_ends_early_is_no_body(pair: tuple[socket.socket, socket.socket]) -> None:
    reader = reader_on(pair[0])
    reader.expect_body()
    take(reader, pair[1], 10)
    pair[1].shutdown(socket.SHUT_WR)
    with pytest.raises(NoMoreData):
        reader.chunk()
    reader.expect_head()
    assert reader.chunk() == b""
