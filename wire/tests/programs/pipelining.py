"""Two hundred greenlets over one connection; prints how many waited in parallel, and how often the loop was free."""

from gevent import monkey

from wire.process import entry_points

with entry_points.read_once():
    monkey.patch_all()

import os
import sys
from contextlib import suppress

import gevent

from wire import Address, QueueUnavailable
from wire.redis.pipeline import Pipeline
from wire.redis.resp import pack

GREENLETS = 200
line = Pipeline(Address(port=int(sys.argv[1])), "greenlets")
waiting = 0
most_waiting = 0
ticks = 0


def ask(number: int) -> bytes:
    """Ask once, and note how many do so at the same time."""
    global waiting, most_waiting  # noqa: PLW0603  one small program
    waiting += 1
    most_waiting = max(most_waiting, waiting)
    [reply] = line.exchange(pack("ECHO", number), 1, 100.0)
    waiting -= 1
    return bytes(reply)


def give_up() -> None:
    """Send a request without waiting for the answer, which is there only where the machine stood still."""
    with suppress(QueueUnavailable):
        line.exchange(pack("ECHO", "late"), 1, 0.001)


def tick() -> None:
    """Count how often the loop is free."""
    global ticks  # noqa: PLW0603  one small program
    while True:
        gevent.sleep(0.001)
        ticks += 1


gevent.spawn(tick)
assert ask(0) == b"0"
killed = gevent.spawn(ask, 1)
gevent.sleep(0.01)
killed.kill()
waiting = 0
impatient = [gevent.spawn(give_up) for _ in range(10)]
jobs = [gevent.spawn(ask, number) for number in range(GREENLETS)]
gevent.joinall([*impatient, *jobs], raise_error=True)
assert [job.value for job in jobs] == [b"%d" % number for number in range(GREENLETS)]
line.close()
os.write(1, f"{most_waiting} {ticks}\n".encode())
os._exit(0)
