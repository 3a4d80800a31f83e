"""Where the queue is that this process was told to serve."""

import settings
from wire.redis.connection import Address


def queue_address() -> Address:
    """Redis, as the settings name it."""
    return Address(
        settings.REDIS_IP,
        settings.REDIS_PORT,
        settings.REDIS_DB_ID,
        settings.REDIS_SOCKET,
        settings.REDIS_USERNAME,
        settings.REDIS_PASSWORD,
    )
