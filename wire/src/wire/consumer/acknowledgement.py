"""Ending entries: reply, then acknowledge, then delete, for a whole batch in one transaction and one round trip."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from wire.consumer.triage import Settlement
from wire.messages import Failure, Reply, reply_kind
from wire.redis.connection import Connection, checked, is_out_of_memory, pack
from wire.redis.keys import GROUP, Keys, is_of_one_job

log = logging.getLogger(__name__)

# Much longer than any request waits; after that nobody can want the replies of a process that went.
REPLIES_KEPT_S: Final = 120
# Room for the replies that a stalled process has not read; they are trimmed as they are delivered.
MAX_REPLIES: Final = 10_000
MAX_DEAD_LETTERS: Final = 1000


def settle(connection: Connection, keys: Keys, stream: str, settlements: Sequence[Settlement]) -> None:
    """End these entries of a job stream; may be repeated with the same settlements. Raises QueueUnavailable."""
    commands = _commands(keys, stream, settlements)
    results = _transaction(connection, commands)
    if any(map(is_out_of_memory, results)):
        # Nothing enters a transaction then. Deleting needs no memory, and makes room for these replies, or the next.
        log.error("Redis is out of memory: %d replies may be lost", len(settlements))
        endings = _endings(stream, settlements)
        results = connection.exchange(b"".join(endings), len(endings))
        _transaction(connection, commands)
    for result in results:
        checked(result)


def _transaction(connection: Connection, commands: Sequence[bytes]) -> list[Any]:
    """Give the results, or the errors that kept it from being run."""
    packet = pack("MULTI") + b"".join(commands) + pack("EXEC")
    *queued, executed = connection.exchange(packet, len(commands) + 2)
    return executed if isinstance(executed, list) else [*queued, executed]


def _commands(keys: Keys, stream: str, settlements: Sequence[Settlement]) -> list[bytes]:
    replies = [_reply(keys, each.reply_to, each.reply) for each in settlements if each.reply is not None]
    processes = {each.reply_to for each in settlements if each.reply is not None}
    expiries = [pack("EXPIRE", keys.replies(process), REPLIES_KEPT_S) for process in processes]
    letters = [_dead_letter(keys, each) for each in settlements if each.dead_letter is not None]
    return [*replies, *expiries, *letters, *_endings(stream, settlements)]


def _endings(stream: str, settlements: Sequence[Settlement]) -> list[bytes]:
    entry_ids = [each.entry_id for each in settlements]
    return [pack("XACK", stream, GROUP, *entry_ids), pack("XDEL", stream, *entry_ids)]


def _reply(keys: Keys, reply_to: str, reply: Reply) -> bytes:
    try:
        data = reply.encode()
    except ValueError as error:
        reply = Failure(reply.id, "internal", f"the answer cannot travel: {error}")
        data = reply.encode()
    # A job that was cancelled has no stream any more, and its reply must not make one.
    only_if_there = ("NOMKSTREAM",) if is_of_one_job(reply_to) else ()
    bound = ("MAXLEN", "~", MAX_REPLIES)
    return pack("XADD", keys.replies(reply_to), *only_if_there, *bound, "*", reply_kind(reply), data)


def _dead_letter(keys: Keys, settlement: Settlement) -> bytes:
    words = [word for pair in (settlement.dead_letter or {}).items() for word in pair]
    return pack("XADD", keys.dead, "MAXLEN", "~", MAX_DEAD_LETTERS, "*", *words)
