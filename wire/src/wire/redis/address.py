"""Where Redis is: a server, the nodes of a cluster, or the Sentinels that know it; read from settings or a URL.

Needs the standard library alone, so that a process may check its settings before it imports anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
# The settings that say where Redis is, of which REDIS_URL takes the place.
PLACES: Final = ("REDIS_IP", "REDIS_PORT", "REDIS_DB_ID", "REDIS_SOCKET")
# All that make an address, in the order of `values_of`.
SETTINGS: Final = (
    "REDIS_URL",
    *PLACES,
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_SENTINEL_USERNAME",
    "REDIS_SENTINEL_PASSWORD",
)
values_of = attrgetter(*SETTINGS)
_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
# The parameters of a URL, by redis-py's names; those of files hold a path.
_FILES: Final = {"ssl_ca_certs": "ca_file", "ssl_certfile": "certificate_file", "ssl_keyfile": "key_file"}
_PARAMETERS: Final = ("db", *_FILES, "ssl_cert_reqs", "ssl_check_hostname")
_IS_VERIFIED: Final = {"required": True, "cert_required": True, "none": False, "cert_none": False}
_TRUTH: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Place(NamedTuple):
    """A host and its port, or the path of a unix socket and 0."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


@dataclass(frozen=True, slots=True)
class Tls:
    """How TLS is spoken: the files of the CA, the client's certificate and its key, and what is checked."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    verifies: bool = True
    checks_host: bool = True

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files that are named."""
        return tuple(filter(None, (self.ca_file, self.certificate_file, self.key_file)))


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The Sentinels to ask for the primary of a name, and the user to log in there as."""

    name: str
    places: tuple[Place, ...]
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is, and the user to log in as; a socket path wins over host and port, Sentinels over both.

    `more_places` are further nodes of a cluster, tried where one is away.
    """

    host: str = "127.0.0.1"
    port: int = REDIS_PORT
    db: int = 0
    socket_path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    more_places: tuple[Place, ...] = ()
    tls: Tls | None = None
    sentinels: Sentinels | None = None

    @property
    def places(self) -> tuple[Place, ...]:
        """Return where to connect to, unless Sentinels are asked."""
        return Place(self.socket_path or self.host, 0 if self.socket_path else self.port), *self.more_places

    def __str__(self) -> str:
        if self.sentinels is not None:
            places = ",".join(map(str, self.sentinels.places))
            return f"the primary {self.sentinels.name!r} of the Sentinels at {places}/{self.db}"
        return f"{','.join(map(str, self.places))}/{self.db}"


def address_of(settings: Any) -> Address:
    """Return the address that the settings of a module name; raise ValueError as `parse` does."""
    url, host, port, db, socket_path, *logins = values_of(settings)
    return parse(url, *logins) if url else Address(host, port, db, socket_path, *logins[:2])


def parse(
    url: str, username: str = "", password: str = "", sentinel_username: str = "", sentinel_password: str = ""
) -> Address:
    """Return the address of a URL, with the logins that it does not hold; raise ValueError, which shows no password."""
    try:
        address = _with_login(_parsed(url.strip()), username, password)
        return _with_sentinel_login(address, sentinel_username, sentinel_password)
    except ValueError as fault:
        raise ValueError(f"{hidden(url)!r} {fault}") from None


def hidden(url: str) -> str:
    """Return a URL without its user and password."""
    return re.sub(r"(?s)(?<=://).*@", "***@", url.strip())


def _parsed(url: str) -> Address:
    scheme = url.partition("://")[0].lower()
    if scheme not in _SCHEMES or "://" not in url:
        raise ValueError(f"does not begin with one of {', '.join(f'{each}://' for each in _SCHEMES)}")
    # urlsplit is for one host: since 2025 it refuses a list with an IPv6 address.
    [authority] = re.findall(r"(?s)://([^/?#]*)", url)[:1]
    parts = urlsplit(url.replace(f"://{authority}", "://", 1))
    if parts.fragment or url.endswith("#"):
        raise ValueError("has a fragment: write # as %23 in a password")
    parameters = _parameters(parts.query)
    login, _, hosts = authority.rpartition("@")
    username, _, password = login.partition(":")
    address = Address(username=unquote(username), password=unquote(password))
    if scheme == "unix":
        return _of_socket(address, hosts, parts, parameters)
    tls = _tls(parameters) if scheme.startswith("rediss") else None
    if tls is None and (unused := next((name for name in parameters if name.startswith("ssl_")), "")):
        raise ValueError(f"has the parameter {unused} without TLS: write rediss:// instead of redis://")
    if scheme.endswith("+sentinel"):
        return _of_sentinels(replace(address, tls=tls), hosts, parts.path, parameters)
    [first, *more] = _places(hosts, REDIS_PORT)
    db = _db(parts.path.strip("/"), parameters)
    return replace(address, host=first.host, port=first.port, db=db, more_places=tuple(more), tls=tls)


def _of_socket(address: Address, hosts: str, parts: SplitResult, parameters: Mapping[str, str]) -> Address:
    if hosts or not parts.path.strip("/"):
        raise ValueError("names no path: write three slashes, as in unix:///run/redis.sock")
    if unused := next((name for name in parameters if name.startswith("ssl_")), ""):
        raise ValueError(f"has the parameter {unused}, but there is no TLS on a unix socket")
    return replace(address, socket_path=unquote(parts.path), db=_db("", parameters))


def _of_sentinels(address: Address, hosts: str, path: str, parameters: Mapping[str, str]) -> Address:
    name, _, db = path.strip("/").partition("/")
    if not (name and hosts):
        raise ValueError("does not name the Sentinels and the primary: write redis+sentinel://HOST,HOST,HOST/NAME")
    sentinels = Sentinels(unquote(name), tuple(_places(hosts, SENTINEL_PORT)))
    return replace(address, db=_db(db, parameters), sentinels=sentinels)


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _PARAMETERS:
            raise ValueError(f"has the unknown parameter {name!r}: known are {', '.join(_PARAMETERS)}")
        if name in found:
            raise ValueError(f"has the parameter {name} twice")
        found[name] = value
    return found


def _places(hosts: str, usual_port: int) -> list[Place]:
    return [_place(each, usual_port) for each in hosts.split(",")]


def _place(text: str, usual_port: int) -> Place:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\[\]:@\s]*)(?::(\d{0,5}))?", text)
    port = int(match[2] or usual_port) if match else 0
    if match is None or not 1 <= port <= 65_535:
        raise ValueError(
            f"has a host and port that cannot be read: {text!r}; "
            "write HOST:PORT, an IPv6 address in brackets, and percent-encode /, :, @, # and ? of a password"
        )
    return Place(match[1].strip("[]") or "127.0.0.1", port)


def _db(of_path: str, parameters: Mapping[str, str]) -> int:
    of_query = parameters.get("db", "")
    if of_path and of_query and of_path != of_query:
        raise ValueError(f"names two databases: {of_path} and {of_query}")
    text = of_path or of_query or "0"
    if not re.fullmatch(r"\d{1,10}", text) or int(text) >= 2**31:
        raise ValueError(f"names the database {text!r}, which is not a whole number")
    return int(text)


def _tls(parameters: Mapping[str, str]) -> Tls:
    files = {attribute: parameters.get(name, "") for name, attribute in _FILES.items()}
    if files["key_file"] and not files["certificate_file"]:
        raise ValueError("has ssl_keyfile without ssl_certfile: name the certificate of the key")
    verifies = _choice("ssl_cert_reqs", parameters, _IS_VERIFIED)
    return Tls(**files, verifies=verifies, checks_host=verifies and _choice("ssl_check_hostname", parameters, _TRUTH))


def _choice(name: str, parameters: Mapping[str, str], meanings: Mapping[str, bool]) -> bool:
    text = parameters.get(name, next(iter(meanings)))
    if text.lower() not in meanings:
        raise ValueError(f"has {name}={text!r}: give one of {', '.join(meanings)}")
    return meanings[text.lower()]


def _with_login(address: Address, username: str, password: str) -> Address:
    if address.username and username:
        raise ValueError("has a user name, and so has REDIS_USERNAME: unset one of them")
    if address.password and password:
        raise ValueError("has a password, and so have REDIS_PASSWORD or REDIS_PASSWORD_FILE: unset one of them")
    return replace(address, username=address.username or username, password=address.password or password)


def _with_sentinel_login(address: Address, username: str, password: str) -> Address:
    if address.sentinels is None:
        if username or password:
            raise ValueError("names no Sentinels: unset REDIS_SENTINEL_USERNAME and REDIS_SENTINEL_PASSWORD")
        return address
    return replace(address, sentinels=replace(address.sentinels, username=username, password=password))
