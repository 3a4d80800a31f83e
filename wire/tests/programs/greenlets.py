"""What gunicorn's gevent workers do: make the producer, fork, patch, and serve requests in parallel from greenlets."""

import os
import sys

from wire import Address, Producer

GREENLETS = 200
producer = Producer(
    Address(port=int(sys.argv[1])),
    sys.argv[2],
    timeout_s=60.0,
    max_queue_size=1000,
    worker_grace_s=3600.0,
    redis_timeout_s=60.0,
)

if os.fork():
    _, status = os.wait()
    sys.exit(os.waitstatus_to_exitcode(status))

from gevent import monkey  # noqa: E402  after the fork, as the server does it

from wire.process import entry_points  # noqa: E402  as above

with entry_points.read_once():
    monkey.patch_all()

import gevent  # noqa: E402  after the patch

from wire.errors import NoWorker  # noqa: E402  after the patch

in_flight = 0
most_in_flight = 0
ticks = 0


def ask(number: int) -> str:
    """Ask once, and note how many do so at the same time."""
    global in_flight, most_in_flight  # noqa: PLW0603  one small program
    in_flight += 1
    most_in_flight = max(most_in_flight, in_flight)
    answer = producer.submit(f"{number}.jpg", timeout_s=100, is_abandoned=lambda: False)
    in_flight -= 1
    return answer.predictions[0][0]


def tick() -> None:
    """Count how often the loop is free."""
    global ticks  # noqa: PLW0603  one small program
    while True:
        gevent.sleep(0.001)
        ticks += 1


while True:
    try:
        producer.submit("first.jpg", timeout_s=100)
        break
    except NoWorker:  # the machine stood still while this process searched for one
        gevent.sleep(0.05)
gevent.spawn(tick)
jobs = [gevent.spawn(ask, number) for number in range(GREENLETS)]
gevent.joinall(jobs, raise_error=True)
assert [job.value for job in jobs] == [f"{number}.jpg" for number in range(GREENLETS)]
killed = gevent.spawn(producer.submit, "held.jpg", timeout_s=100)
gevent.sleep(0.1)
killed.kill()
producer.submit("last.jpg", timeout_s=100)
producer.close()
os.write(1, f"{most_in_flight} {ticks}\n".encode())
os._exit(0)
