"""Send requests to a rate limit repeatedly, from this process and forked children; print the admissions of each."""

import os
import sys

from wire import Address, RateLimiter
from wire.rate_limit import Rate

CHILDREN = 3
TRIES = 200
limiter = RateLimiter(Address(port=int(sys.argv[1])), sys.argv[2], timeout_s=60.0)


def ask() -> None:
    """Ask for more than the bucket holds."""
    count = sum(limiter.wait_s("alice", Rate(200, 3600.0)) == 0 for _ in range(TRIES))
    os.write(1, f"{count}\n".encode())


# Opens the connection that the children inherit.
limiter.wait_s("alice", Rate(200, 3600.0))
children = []
for _ in range(CHILDREN):
    pid = os.fork()
    if pid == 0:
        ask()
        os._exit(0)
    children.append(pid)
ask()
for pid in children:
    os.waitpid(pid, 0)
