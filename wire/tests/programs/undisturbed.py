"""Look after a loop in a process that gevent has patched; print how many other greenlets ran meanwhile."""

from gevent import monkey

from wire.process import entry_points

with entry_points.read_once():
    monkey.patch_all()

import os

import gevent

from wire.redis.loop import Loop

others: list[int] = []
loop = Loop("steps", lambda: None, interval_s=3600)
loop.start()
gevent.sleep(0.1)
gevent.spawn(others.append, 1)
for _ in range(10):
    loop.start()
os.write(1, f"{len(others)}\n".encode())
