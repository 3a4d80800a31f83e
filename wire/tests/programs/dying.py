"""A worker that takes a batch, prints this, and never answers; the test kills it."""

import sys
import time

from wire import Address, Consumer, Delivery

consumer = Consumer(Address(port=int(sys.argv[1])), sys.argv[2], "dying", lease_ms=60_000, max_batch_s=60)
batch: list[Delivery] = []
while not batch:
    batch = consumer.receive(8, 1000)
sys.stdout.write(f"{len(batch)}\n")
sys.stdout.flush()
time.sleep(60)
