"""Health check of a container: whether a worker of this very host has lately been heard of in Redis."""

import socket
import sys

import settings
from wire.connection import Address
from wire.errors import QueueUnavailable
from wire.queue import Asker


def main() -> int:
    """Return 0 where a worker of this host serves."""
    asker = Asker(
        Address(
            settings.REDIS_IP,
            settings.REDIS_PORT,
            settings.REDIS_DB_ID,
            settings.REDIS_SOCKET,
            settings.REDIS_USERNAME,
            settings.REDIS_PASSWORD,
        ),
        settings.REDIS_QUEUE,
    )
    try:
        workers = asker.refresh_state().workers
    except QueueUnavailable as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    finally:
        asker.close()
    return 0 if any(worker.host == socket.gethostname() for worker in workers) else 1


if __name__ == "__main__":
    sys.exit(main())
