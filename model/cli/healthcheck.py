"""Health check of a container: whether a worker of this very host has lately been heard of in Redis."""

import socket
import sys

import settings
from wire.errors import QueueUnavailable
from wire.queue_stats import QueueStats
from wire.redis.keys import Keys

PATIENCE_S = 2.0


def main() -> int:
    """Return 0 where a worker of this host serves."""
    stats = QueueStats(settings.queue_address(), Keys(settings.REDIS_QUEUE), lambda workers: 0, timeout_s=PATIENCE_S)
    try:
        workers = stats.refresh().workers
    except QueueUnavailable as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    finally:
        stats.close()
    return 0 if any(worker.host == socket.gethostname() for worker in workers) else 1


if __name__ == "__main__":
    sys.exit(main())
