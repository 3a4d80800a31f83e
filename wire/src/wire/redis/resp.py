"""Commands as the bytes that travel, and replies: good ones as they are, errors as QueueUnavailable."""

from __future__ import annotations

from typing import Any

import hiredis

from wire.errors import QueueUnavailable
from wire.redis.faults import RedisRefusal, advice_on

# Returns the bytes of one command, given as a tuple of words.
pack_command: Any = hiredis.pack_command  # typed too narrowly


def pack(*words: str | bytes | int) -> bytes:
    """Return one command's bytes; packets are made by joining them."""
    packed: bytes = pack_command(words)
    return packed


def checked(reply: Any) -> Any:
    """Return a reply, or raise QueueUnavailable where it is an error."""
    if isinstance(reply, RedisRefusal):
        raise QueueUnavailable(f"Redis refused a command: {reply}", advice_on(reply)) from reply
    return reply


def is_out_of_memory(reply: Any) -> bool:
    """Return whether Redis refused a command for want of memory; in 6.2 a script's error holds that of its command."""
    return isinstance(reply, RedisRefusal) and "'maxmemory'" in str(reply)
