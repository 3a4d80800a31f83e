"""Ask a Redis whose replies come only after this process was held up, and a little later than it continues.

Everything that answers is in this process: who holds it up holds up Redis as well, as a machine that stands still does.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sightline_testing.slow_redis import SlowRedis
from wire import Address
from wire.redis.connection import Connection
from wire.redis.pipeline import Pipeline
from wire.redis.resp import pack

TIMEOUT_S, STEP_S, LATER_S = 1.0, 0.01, 0.05


def let_go_later(slow: SlowRedis) -> None:
    """Let the reply pass once this process has been held up for longer than anyone waits."""
    before = time.monotonic()
    while (now := time.monotonic()) - before < TIMEOUT_S:
        before = now
        time.sleep(STEP_S)
    time.sleep(LATER_S)
    slow.let_go()


with SlowRedis(int(sys.argv[1])) as slow, ThreadPoolExecutor(2) as pool:
    address = Address(port=slow.port)
    both = Pipeline(address, "held-up"), Connection(address, "held-up")
    for each in both:
        each.exchange(pack("PING"), 1, 60.0)
    slow.hold()
    threading.Thread(target=let_go_later, args=(slow,), daemon=True).start()
    sys.stdout.write("asking\n")
    sys.stdout.flush()
    for asked in [pool.submit(each.exchange, pack("PING"), 1, TIMEOUT_S) for each in both]:
        sys.stdout.write(f"{asked.result()}\n")
