"""Redis' clock, the only wall clock that the queue knows: in the replies of TIME and in the entry ids of streams."""

from __future__ import annotations

from collections.abc import Sequence


def time_ms(reply: Sequence[bytes]) -> int:
    """Read the reply of TIME."""
    seconds, microseconds = reply
    return int(seconds) * 1000 + int(microseconds) // 1000


def entry_ms(entry_id: bytes) -> int:
    """Read the moment at which Redis added a stream entry."""
    return int(entry_id.partition(b"-")[0])


def after(entry_id: bytes) -> str:
    """Give the smallest entry id above this one."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return f"{int(milliseconds)}-{int(sequence) + 1}"
