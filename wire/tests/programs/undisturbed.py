"""Look after a loop in a process that gevent has patched; print how many other greenlets ran meanwhile."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402  after the patch

import gevent  # noqa: E402  after the patch

from wire.redis.loop import Loop  # noqa: E402  after the patch

others: list[int] = []
loop = Loop("steps", lambda: None, interval_s=3600)
loop.start()
gevent.sleep(0.1)
gevent.spawn(others.append, 1)
for _ in range(10):
    loop.start()
os.write(1, f"{len(others)}\n".encode())
