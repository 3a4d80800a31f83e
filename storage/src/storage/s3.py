"""A bucket of an S3 server, by obstore, which is imported when a bucket is first used.

obstore hangs in a child that is forked after that. So nothing is opened before it is used: gunicorn's master, which
forks the api's processes, never uses a bucket.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from storage.errors import StorageFull, StorageUnavailable
from storage.files import Run, run_here

Result = TypeVar("Result")

SCHEME = "s3://"
_PLACE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\w!.*'()/-]*))?")
# A request that fails sooner is tried again; one that has waited longer has used up the caller's time.
RETRY_S = 0.25
# One whose connection is not there by now would have no time for an answer.
CONNECT_SHARE = 0.5
SHA256 = "sha256"
# Where obstore's text has the reason: the server's code, else the status, else what became of the connection.
_REASONS = tuple(map(re.compile, (r"<Code>(\w+)</Code>", r"status code: (\d+ [\w ]+)", r"kind: (\w+)")))
_NO_BUCKET = "NoSuchBucket"
# What servers answer to a request that is dated too far from their own time: 15 minutes at AWS.
_SKEWED = "RequestTimeTooSkewed"
# A clock difference that is logged as a warning, long before that.
MAX_SKEW_S = 60.0
# What servers answer where a quota or a disk is used up.
_FULL = frozenset(
    {"InsufficientStorage", "QuotaExceeded", "ServiceQuotaExceeded", "StorageFull", "XMinioStorageFull", "507"}
)


@dataclass(frozen=True)
class Server:
    """An S3 server and how to log in; empty fields are what AWS' own variables and services say."""

    endpoint: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    timeout_s: float = 2.0

    @property
    def address(self) -> str:
        """Return the base address of the server."""
        return self.endpoint.rstrip("/") or f"https://s3.{self.region}.amazonaws.com"


def server_of(settings: Any, timeout_s: float = 0.0) -> Server:
    """Return the server that the settings of a module name, with their timeout or another one."""
    key = settings.S3_ACCESS_KEY_ID, settings.S3_SECRET_ACCESS_KEY
    return Server(settings.S3_ENDPOINT, settings.S3_REGION, *key, timeout_s or settings.S3_TIMEOUT_S)


class Facts(NamedTuple):
    """What is known of an object: `sha256` as noted by its writer, else empty."""

    etag: str
    size: int
    sha256: str
    modified: datetime


class Bucket:
    """The objects of a bucket below a prefix, by key; every method raises StorageUnavailable within the timeout."""

    def __init__(self, place: str, server: Server, run: Run = run_here) -> None:
        """`place` is s3://bucket/prefix."""
        self.place = place.rstrip("/")
        self._name, self._prefix = parse(place)
        self._server, self._run = server, run
        self._client: Any = None

    def put_new(self, key: str, data: bytes, sha256: str) -> bool:
        """Store an object unless there is one of that key; return whether it was stored."""
        return self._put(key, data, sha256, "create")

    def replace(self, key: str, data: bytes, etag: str, sha256: str = "") -> bool:
        """Store an object in place of the one with this ETag; return False where it is another one by now."""
        return self._put(key, data, sha256, {"e_tag": etag})

    def put(self, key: str, data: bytes, sha256: str = "") -> None:
        """Store an object, and overwrite an existing one."""
        self._put(key, data, sha256, "overwrite")

    def put_file(self, key: str, path: Path) -> None:
        """Store a file of any size, in parts, and overwrite an existing object."""
        self._call(lambda obstore, client: obstore.put(client, key, path))

    def piece(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object that is there."""
        return self._call(lambda obstore, client: bytes(obstore.get_range(client, key, start=start, length=length)))

    def get(self, key: str, check_size: Callable[[int], None] = lambda _: None) -> tuple[bytes, str] | None:
        """Return the bytes of an object and its ETag; None where there is none. `check_size` may refuse its size."""

        def work(obstore: Any, client: Any) -> tuple[bytes, str]:
            found = obstore.get(client, key)
            check_size(found.meta["size"])
            return bytes(found.bytes()), found.meta["e_tag"]

        return self._found(work)

    def facts(self, key: str) -> Facts | None:
        """Return what is known of an object; None where there is none."""

        def work(obstore: Any, client: Any) -> Facts:
            found = obstore.get(client, key, options={"head": True})
            meta = found.meta
            return Facts(meta["e_tag"] or "", meta["size"], found.attributes.get(SHA256, ""), meta["last_modified"])

        return self._found(work)

    def copy(self, key: str, to: str) -> bool:
        """Copy an object with its metadata; return False where there is none."""

        def work(obstore: Any, client: Any) -> bool:
            obstore.copy(client, key, to)
            return True

        return bool(self._found(work))

    def delete(self, key: str) -> bool:
        """Remove an object; return False where there is none."""

        def work(obstore: Any, client: Any) -> bool:
            obstore.delete(client, key)
            return True

        return self.facts(key) is not None and bool(self._found(work))

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that begin with a prefix of whole parts, in order, without it."""
        pages = self._call(lambda obstore, client: iter(obstore.list(client, prefix or None)))
        while page := self._call(lambda _, __: next(pages, None)):
            yield from (entry["path"].removeprefix(f"{prefix}/") for entry in page)

    def location(self, key: str) -> str:
        """Return the address of an object."""
        return f"{self.place}/{key}"

    def _put(self, key: str, data: bytes, sha256: str, mode: object) -> bool:
        def work(obstore: Any, client: Any) -> bool:
            exceptions = obstore.exceptions
            try:
                obstore.put(client, key, data, mode=mode, attributes={SHA256: sha256} if sha256 else None)
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return False
            return True

        return self._call(work)

    def _found(self, work: Callable[[Any, Any], Result]) -> Result | None:
        try:
            return self._call(work)
        except FileNotFoundError:
            return None

    def _call(self, work: Callable[[Any, Any], Result]) -> Result:
        """Run work with obstore and this process' client; raise what it means, FileNotFoundError for a missing key."""

        def call() -> Result:
            try:
                import obstore  # noqa: PLC0415  only where a bucket is used
            except ImportError:
                raise StorageUnavailable(f"{self.place} needs obstore: python deploy/install.py s3") from None
            with self._translated():
                return work(obstore, self._opened())

        return cast(Result, self._run(call))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        from obstore.exceptions import BaseError  # noqa: PLC0415  as above

        try:
            yield
        except FileNotFoundError as error:
            if _NO_BUCKET in str(error):
                raise StorageUnavailable(f"{self.place}: there is no bucket {self._name!r}") from None
            raise
        except (BaseError, OSError, ValueError) as error:
            reason = reason_of(error)
            if reason == _SKEWED:
                advice = skew(clock_ahead_s(self._server))
                raise StorageUnavailable(f"{self.place}: {reason}: {advice}", advice) from None
            fault = StorageFull if reason.partition(" ")[0] in _FULL else StorageUnavailable
            raise fault(f"{self.place}: {reason}") from None

    def _opened(self) -> Any:
        if self._client is None:
            self._client = self._open()
        return self._client

    def _open(self) -> Any:
        from obstore.store import S3Store  # noqa: PLC0415  as above

        server, timeout = self._server, timedelta(seconds=self._server.timeout_s)
        told = {
            "endpoint": server.endpoint,
            "region": server.region,
            "access_key_id": server.access_key_id,
            "secret_access_key": server.secret_access_key,
        }
        return S3Store(
            self._name,
            prefix=self._prefix or None,
            client_options={
                "allow_http": server.endpoint.startswith("http://"),
                "connect_timeout": timeout * CONNECT_SHARE,
                "timeout": timeout,
            },
            retry_config={
                "max_retries": 5,
                "retry_timeout": timedelta(seconds=RETRY_S),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=50),
                    "max_backoff": timedelta(milliseconds=100),
                    "base": 2,
                },
            },
            **cast(Any, {name: value for name, value in told.items() if value}),
        )


def clock_ahead_s(server: Server) -> float | None:
    """Return how many seconds this host's clock is ahead of the server's, by the date of an answer; None: unknown."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  only where a clock is looked at
    from urllib.error import HTTPError  # noqa: PLC0415  as above
    from urllib.request import Request, urlopen  # noqa: PLC0415  as above

    asked = Request(server.address, method="HEAD")  # noqa: S310  an address of the settings
    try:
        with urlopen(asked, timeout=server.timeout_s * CONNECT_SHARE) as answer:  # noqa: S310  as above
            date = answer.headers.get("Date", "")
    except HTTPError as refusal:
        date = refusal.headers.get("Date", "")
    except (OSError, ValueError):
        return None
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def skew(ahead_s: float | None) -> str:
    """Describe how far this host's clock is from the server's, and the remedy."""
    which = "differs from" if ahead_s is None else "is ahead of" if ahead_s > 0 else "is behind"
    far = "" if ahead_s is None else f" by {abs(ahead_s):.0f} s"
    return f"this host's clock {which} that of the S3 server{far}: have both keep time by NTP"


def parse(place: str) -> tuple[str, str]:
    """Return the bucket and the prefix of s3://bucket/prefix; raise ValueError."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise ValueError("expected s3://bucket or s3://bucket/prefix")
    return match[1], (match[2] or "").strip("/")


def reason_of(error: Exception) -> str:
    """Return what a server or the network has answered, in a few words; obstore's own text is a page."""
    found = (pattern.search(str(error)) for pattern in _REASONS)
    return next((match[1] for match in found if match), type(error).__name__)
