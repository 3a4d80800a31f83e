"""Health check of a container: whether a worker of this host has a fresh heartbeat in Redis."""

import socket
import sys

from cli import command
from wire import QueueUnavailable


def main() -> int:
    """Return 0 where a worker of this host serves."""
    try:
        workers = command.queue_state().workers
    except QueueUnavailable as fault:
        command.warn(str(fault))
        return 1
    return 0 if any(worker.host == socket.gethostname() for worker in workers) else 1


if __name__ == "__main__":
    sys.exit(main())
