"""Why Redis cannot be used, described so that an operator can act on it."""

from __future__ import annotations

from wire.errors import QueueUnavailable

_NAME_THE_PRIMARY = "name the primary in REDIS_URL or REDIS_IP, or its Sentinels in REDIS_URL"
# By the beginning of an error of Redis; the longest that fits counts.
_ADVICE = {
    "WRONGPASS": "Redis refuses the user name or the password: set REDIS_USERNAME and REDIS_PASSWORD_FILE",
    "NOAUTH": "Redis requires a password: set REDIS_PASSWORD_FILE, and REDIS_USERNAME unless it is the default user's",
    "ERR invalid password": "Redis refuses the password: set REDIS_PASSWORD_FILE",
    "ERR AUTH": "Redis has no password for the default user: unset REDIS_PASSWORD and REDIS_PASSWORD_FILE",
    "ERR Client sent AUTH": "Redis has no password for the default user: unset REDIS_PASSWORD and REDIS_PASSWORD_FILE",
    "NOPERM": "the Redis user lacks a right: give REDIS_USERNAME the rights that deploy/redis/users.acl lists",
    "DENIED": "Redis accepts connections of its own machine only (protected mode): set a password in Redis",
    "ERR DB index": "Redis has no database of this number: set REDIS_DB_ID",
    "ERR SELECT is not allowed": "a Redis cluster has the database 0 alone: set REDIS_DB_ID or REDIS_URL to it",
    "READONLY": f"this Redis is a replica, which cannot be written to: {_NAME_THE_PRIMARY}",
    "MASTERDOWN": f"this Redis is a replica without its primary: {_NAME_THE_PRIMARY}",
    "LOADING": "Redis is still loading its data; requests are accepted once it has done so",
    "BUSY Redis": "a script blocks Redis: end it with SCRIPT KILL",
    "MISCONF": "Redis cannot save its data: see its log and its disk",
    "OOM": "Redis has no memory left: raise its maxmemory",
    "MOVED": "the Redis cluster has just moved the queue to another node; requests are accepted once that is known",
    "ASK": "the Redis cluster is moving the queue to another node; requests are accepted once it has done so",
    "TRYAGAIN": "the Redis cluster is moving the queue to another node; requests are accepted once it has done so",
    "CLUSTERDOWN": "the Redis cluster has lost the node that holds the queue: see its log",
    "NOREPLICAS": "this Redis has fewer replicas than its min-replicas-to-write: start them, or lower that",
    "ERR max number of clients": "Redis has no connection left: raise its maxclients",
    "ERR unknown command": "this Redis lacks a command: 6.2 or later is needed",
}
_NOT_REDIS = "what answers there does not speak Redis' protocol: name a port of Redis in REDIS_PORT or REDIS_URL"
_CLOSED = "it closed the connection, as a port that requires TLS does: set REDIS_URL=rediss://…, or another port"
# What is answered by a server that is not the one to ask, or not yet.
_OF_ANOTHER_SERVER = ("READONLY", "MASTERDOWN", "MOVED")
_NOT_NOW = ("NOREPLICAS", "LOADING", "CLUSTERDOWN")


class RedisRefusal(Exception):  # noqa: N818  Redis' own word, a reply like any other
    """Redis answered a command with an error; its text begins with Redis' code for it, such as NOGROUP."""


class ProtocolFault(ConnectionError):  # noqa: N818  as above
    """The bytes that came are no reply of Redis."""


class ClosedAtOnce(ConnectionError):  # noqa: N818  as above
    """The connection ended before the first reply."""


class TlsFault(ConnectionError):  # noqa: N818  as above
    """TLS could not be agreed on, or was broken off; `advice` is the remedy."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.advice = advice


class WrongServer(ConnectionError):  # noqa: N818  as above
    """A server that cannot execute a command now, and that may have been replaced by another one."""

    def __init__(self, refusal: RedisRefusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal

    @property
    def is_for_others(self) -> bool:
        """Return whether no connection to this server is of use, also one that waits and gets no error."""
        return _text(self.refusal).startswith(_OF_ANOTHER_SERVER)

    @property
    def moved_to(self) -> str:
        """Return the host and port that a node of a cluster names; the host is empty where it is its own."""
        words = str(self.refusal).split()
        return words[2] if words[0] == "MOVED" and len(words) > 2 else ""


def is_of_wrong_server(refusal: RedisRefusal) -> bool:
    """Return whether a refusal means that the server is not the one to ask, or not now."""
    return _text(refusal).startswith((*_OF_ANOTHER_SERVER, *_NOT_NOW))


def unavailable(place: object, fault: BaseException) -> QueueUnavailable:
    """Return the error for a fault of the Redis at a place."""
    reason = str(fault) or type(fault).__name__
    return QueueUnavailable(f"Redis at {place} is not available: {reason}", advice_on(fault))


def advice_on(fault: BaseException) -> str:
    """Return what a fault means and what to do about it; empty where that is not known."""
    if isinstance(fault, ProtocolFault):
        return _NOT_REDIS
    if isinstance(fault, ClosedAtOnce):
        return _CLOSED
    if isinstance(fault, TlsFault):
        return fault.advice
    refusal = fault.refusal if isinstance(fault, WrongServer) else fault
    text = _text(refusal)
    fitting = [start for start in _ADVICE if text.startswith(start)]
    return _ADVICE[max(fitting, key=len)] if fitting and isinstance(refusal, RedisRefusal) else ""


def _text(refusal: BaseException) -> str:
    """Return the words of an error; in 6.2 that of a script holds that of its command behind words of its own."""
    text = str(refusal)
    return text.partition("-")[2] if text.startswith("ERR Error running script") else text
