"""Images are read a few in each pass of the event loop, so that others are refused meanwhile."""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.socket import socket as gevent_socket

import settings
from server.client_timeouts import Budget, ClientTimeouts, PacedReader, Turns
from server.load_shedding import LoadShedder
from server.read_turns import IMAGES_PER_PASS, REFUSALS_PER_IMAGE, ReadTurns
from server.worker import Worker
from tests.serving import raw_image
from wire import QueueFull

MANY = 5 * IMAGES_PER_PASS
LARGE = b"\xff\xd8\xff" + bytes(20_000)
LONG_S = 600.0


@pytest.fixture(autouse=True)
def whole_passes() -> Iterator[None]:
    """Let gevent start all greenlets in one pass of the loop, however slow the machine is."""
    usual = gevent.getswitchinterval()
    gevent.setswitchinterval(LONG_S)
    yield
    gevent.setswitchinterval(usual)
    gevent.sleep(0.001)  # a pass keeps the interval with which it began: end this one


def begun_by_pass(turns: ReadTurns, count: int) -> list[tuple[int, int]]:
    """Let so many images take their turns; return the pass and the number of each, in the order of their turns."""
    begun: list[tuple[int, int]] = []

    def image(number: int) -> None:
        turns.take()
        begun.append((gevent.get_hub().loop.iteration, number))

    gevent.joinall([gevent.spawn(image, number) for number in range(count)])
    return begun


class TestReadTurns:
    def test_few_images_do_not_wait(self) -> None:
        turns = ReadTurns()
        for _ in range(IMAGES_PER_PASS):
            turns.take()
            assert turns.waiting == 0

    def test_more_take_turns_in_the_order_of_their_arrival(self) -> None:
        turns = ReadTurns()
        begun = begun_by_pass(turns, MANY)
        assert [number for _, number in begun] == [*range(MANY)]
        assert set(Counter(at for at, _ in begun).values()) == {IMAGES_PER_PASS}
        assert turns.waiting == 0

    def test_they_take_turns_again_later(self) -> None:
        turns = ReadTurns()
        for _ in range(2):
            assert len(begun_by_pass(turns, MANY)) == MANY

    def test_what_is_refused_meanwhile_does_not_keep_them_out(self) -> None:
        turns = ReadTurns()
        for _ in range(IMAGES_PER_PASS * REFUSALS_PER_IMAGE):
            turns.note_refusal()
        begun = Counter(at for at, _ in begun_by_pass(turns, MANY))
        share = IMAGES_PER_PASS
        assert [*begun.values()] == [share, 2 * share, share, share]

    def test_what_arrives_is_read_before_the_last_of_them(self) -> None:
        turns, order = ReadTurns(), []
        ours, theirs = socket.socketpair()
        with closing(theirs), closing(gevent_socket(fileno=ours.detach())) as connection:

            def image() -> None:
                turns.take()
                order.append("image")

            def other() -> None:
                connection.recv(1)
                order.append("other")

            waiting = gevent.spawn(other)
            images = [gevent.spawn(image) for _ in range(MANY)]
            theirs.sendall(b"x")
            gevent.joinall([waiting, *images])
        assert order.index("other") < MANY - IMAGES_PER_PASS


@pytest.mark.parametrize("keys", ["", "/run/keys"])
def test_images_that_wait_count_for_those_that_come_unless_anyone_may_have_sent_them(
    monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    monkeypatch.setattr(settings, "API_KEYS_FILE", keys)
    asked_for: list[int] = []

    def room_fault(count: int, client: str | None) -> QueueFull | None:
        asked_for.append(count)
        return QueueFull(1, 4, 1.0) if count > 4 else None

    worker: Any = Worker.__new__(Worker)
    worker.cfg, worker.alive = SimpleNamespace(limit_request_line=4094), True
    worker._readers, worker._due_at = {}, float("inf")
    worker._read_turns, worker._load_shedder = ReadTurns(), LoadShedder(room_fault, lambda: 4)
    with ExitStack() as stack:
        outcomes = []
        for _ in range(MANY):
            ours, theirs = socket.socketpair()
            connection = stack.enter_context(closing(gevent_socket(fileno=ours.detach())))
            stack.enter_context(closing(theirs)).sendall(raw_image(LARGE))
            timeouts = ClientTimeouts(LONG_S, LONG_S, LONG_S, LONG_S, LONG_S)
            reader = PacedReader(connection, timeouts, Budget(2**30), Turns(4))
            outcomes.append(gevent.spawn(worker._refuse_early, reader, connection, ("127.0.0.1", 1)))
        gevent.joinall(outcomes)
    read = [outcome.value for outcome in outcomes].count(None)
    if keys:
        assert set(asked_for) == {1}
        assert read == MANY
    else:
        # Those that need not wait, and as many as there is room for.
        assert asked_for[: IMAGES_PER_PASS + 4] == [1] * (IMAGES_PER_PASS + 1) + [2, 3, 4]
        assert read < MANY
