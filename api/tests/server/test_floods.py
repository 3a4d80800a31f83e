"""A flood of photographs over new connections: what is accepted is answered, and one address keeps no one out."""

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sightline_testing.redis_server import RedisServer
from tests.server.flood import OF_A_STANDSTILL, SHARE, WITHOUT_A_TIME, Flood, ask
from tests.serving import EchoWorker, Served, serving, wait_until
from wire import Answer, Delivery, Failure

# More than the 136 that the queue takes within this deadline of a worker that publishes this rate, much less than it
# really has: on a busy machine, too, what is accepted is done in time.
CONNECTIONS, TIMEOUT_S, RATE = 170, 10, 20.0
# Of one worker that takes so long for each.
WORK_S = 0.01
POLITE = [f"127.0.0.{2 + number}" for number in range(50)]
ENOUGH = 5


@pytest.fixture
def served(tmp_path: Path, redis_server: RedisServer) -> Iterator[Served]:
    """Serve with one worker that needs some time for each image."""
    with EchoWorker(redis_server.port, rate=RATE) as worker:
        answer = worker.reply

        def slowly(delivery: Delivery) -> Answer | Failure | None:
            time.sleep(WORK_S)
            return answer(delivery)

        worker.reply = slowly
        told = {"REDIS_PORT": redis_server.port, "RESULT_CACHE": 0, "REQUEST_TIMEOUT_S": TIMEOUT_S}
        with serving(tmp_path, told) as served:
            wait_until(lambda: served.ask(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200, "it is ready")
            yield served


def test_who_sends_one_image_is_answered_while_another_address_floods(served: Served) -> None:
    polite: Counter[str] = Counter()
    with Flood(served.port, CONNECTIONS) as flood:
        for number, address in enumerate(POLITE):
            if polite["200"] == ENOUGH:
                break
            # The flooder has all of the queue again, of which the one before had it give up half.
            wait_until(partial(flood.is_refused, flood.told["queue_full"] + CONNECTIONS - 136), "the queue is full")
            polite[ask(served.port, address, number)] += 1
    # The queue has room for each.
    assert polite.keys() <= {"200"} | OF_A_STANDSTILL, (polite, flood.told)
    assert polite["200"] == ENOUGH, (polite, flood.told)
    told = +flood.told
    assert told["200"] > 0, told
    assert not told[WITHOUT_A_TIME]
    assert told.keys() <= {"200", "queue_full", SHARE} | OF_A_STANDSTILL, told
