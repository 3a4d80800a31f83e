"""Settings read from a mapping such as `os.environ`: name, type, default, range and help, declared in one place.

    setting = Declarations(os.environ)
    PORT = setting("PORT", 5000, "TCP port to listen on.", at_least=1, at_most=65_535)

A settings module declares its settings as module attributes and is the only one that reads the environment. Nothing
here depends on another package, so that a process may read its settings before it imports anything else.
A number's range is where both sides and Redis accept it: see wire.process.limits for what they share.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from wire.process.limits import FORMATS, NAME_FORM, is_token
from wire.process.unknown_settings import is_injected
from wire.redis import address

Value = TypeVar("Value", bool, int, float, str)
Number = TypeVar("Number", int, float)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
# A bucket by its name, and a prefix of any characters that need no escape in a URL.
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w!.*'()/-]*)?", re.ASCII)
# Parts of a path that need no escape in a URL, in a header or in a cookie; none that leads back.
_PATH_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~-]+)+", re.ASCII)
# Control characters, and what Python makes of bytes that are not UTF-8.
_UNUSABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
# What Redis and the system take as a whole number.
_LARGEST = 2**63 - 1


class SettingError(ValueError):
    """A setting cannot be used; the message names its key, its value and what to set instead."""


class Setting(NamedTuple):
    """What can be set: its name, its type, the value without it, and what it does."""

    name: str
    type: type
    default: object
    help: str


class Declarations:
    """Declares settings and reads their values; `table` lists what was declared, in order."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.table: list[Setting] = []
        self._environment = environment

    def __call__(  # noqa: PLR0913  what a setting may say of itself
        self,
        name: str,
        default: Value,
        explanation: str,
        *,
        at_least: float = 0,
        at_most: float = math.inf,
        choices: Sequence[str] = (),
        former: str = "",
    ) -> Value:
        """Declare a setting of the type of its default and return its value; a blank variable counts as not set.

        A number has to be within `at_least` and `at_most`; a text is one of `choices` where there are any, in lower
        case. `former` is a deprecated name, which is read where the setting is not set. Raises SettingError.
        """
        self.table.append(Setting(name, type(default), default, explanation))
        text = self._text(name)
        if not text and former:
            name, text = former, self._text(former)
        if not text:
            return default
        if choices:
            return type(default)(_chosen(name, text, choices))
        if isinstance(default, str):
            return type(default)(text)
        if isinstance(default, bool):
            return type(default)(_truth(name, text))
        return _number(name, text, type(default), at_least, at_most)

    def _text(self, name: str) -> str:
        text = self._environment.get(name, "").strip()
        if _UNUSABLE.search(text):
            # Without its value, which may be a secret.
            raise SettingError(f"{name} has a line break, a control character or bytes that are not UTF-8: remove them")
        return "" if is_injected(name, text) else text

    def secret(self, name: str, explanation: str) -> tuple[str, str]:
        """Declare NAME and NAME_FILE; return the secret, from the file where NAME is not set, and the file's path."""
        secret = self(name, "", explanation)
        file = self(f"{name}_FILE", "", f"File that holds {name}.")
        if secret or not file:
            # As it is: blanks may belong to it.
            return self._environment.get(name, "") if secret else "", file
        try:
            secret = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingError(f"{name}_FILE={file!r} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise SettingError(f"{name}_FILE={file!r} cannot be read: it is not UTF-8") from None
        if not secret:
            raise SettingError(f"{name}_FILE={file!r} is empty: write the {name} into it")
        return secret, file

    def redis(self) -> tuple[str, str, str, int, int, str, str, str, str, str, str, str, str, str]:
        """Declare the settings of the queue, which are the same on both sides; return their values in this order."""
        queue = self._environment.get("REDIS_QUEUE", "").strip()
        if queue and not is_token(queue):
            raise SettingError(f"REDIS_QUEUE={queue!r} is not {NAME_FORM}")
        url = self.secret("REDIS_URL", "Redis by URL, with TLS, as a cluster or by Sentinels: see several-machines.md.")
        place = (
            self("REDIS_IP", "127.0.0.1", "Host name or address of Redis."),
            self("REDIS_PORT", address.REDIS_PORT, "TCP port of Redis.", at_least=1, at_most=65_535),
            self("REDIS_DB_ID", 0, "Number of the Redis database.", at_most=2**31 - 1),
            self("REDIS_SOCKET", "", "Unix socket of Redis, used in place of REDIS_IP and REDIS_PORT."),
        )
        username = self("REDIS_USERNAME", "", "Redis user to log in as.")
        password = self.secret("REDIS_PASSWORD", "Password of that Redis user.")
        of_sentinels = self("REDIS_SENTINEL_USERNAME", "", "User to log in as at the Sentinels that REDIS_URL names.")
        sentinels = self.secret("REDIS_SENTINEL_PASSWORD", "Password of that user.")
        if url[0]:
            self._check_url(url[0], (username, password[0], of_sentinels, sentinels[0]))
        return *url, *place, username, *password, of_sentinels, *sentinels, *self._queue()

    def _check_url(self, url: str, logins: tuple[str, str, str, str]) -> None:
        for name in address.PLACES:
            if beside := self._text(name):
                raise SettingError(f"REDIS_URL and {name}={beside!r} both name a Redis server; unset one of them")
        try:
            tls = address.parse(url, *logins).tls
            for file in () if tls is None else tls.files:
                Path(file).read_bytes()
        except ValueError as error:
            raise SettingError(f"REDIS_URL={error}") from None
        except OSError as error:
            fault = f"{error.filename} cannot be read: {error.strerror}"
            raise SettingError(f"REDIS_URL={address.hidden(url)!r}: {fault}") from None

    def _queue(self) -> tuple[str, str]:
        """Return the name of the queue, made of REDIS_QUEUE and the class where there is one, and the class."""
        queue = self("REDIS_QUEUE", "sightline", "Name of the queue: the prefix of every Redis key.")
        which = "Class of workers, which has a queue of its own: REDIS_QUEUE.MODEL_CLASS; empty: the usual one."
        model_class = self("MODEL_CLASS", "", which)
        name = f"{queue}.{model_class}" if model_class else queue
        if not is_token(name):
            raise SettingError(f"MODEL_CLASS={model_class!r}: the queue's name {name!r} is not {NAME_FORM}")
        return name, model_class

    def database(self) -> tuple[str, str]:
        """Declare DATABASE_URL and DATABASE_URL_FILE, which are the same on both sides; return their values."""
        url, file = self.secret("DATABASE_URL", "PostgreSQL of the reports of all hosts; empty: files of this one.")
        scheme = url.partition("://")[0] if "://" in url else ""
        if url and scheme not in {"postgresql", "postgres"}:
            # Without what follows: it may hold a password.
            wanted = "write postgresql://USER:PASSWORD@HOST/DATABASE"
            raise SettingError(
                f"DATABASE_URL begins with {scheme[:20]!r}, and reports are kept in PostgreSQL: {wanted}"
            )
        return url, file

    def object_storage(self) -> tuple[str, str, str, str, str, str, float]:
        """Declare the settings of images in object storage, which are the same on both sides; return their values."""
        return (
            self.place("IMAGE_STORE", "Where images are kept: s3://bucket/prefix; empty: in UPLOAD_FOLDER."),
            self._server(
                "S3_ENDPOINT", "", "Address of the S3 server, such as https://s3.example:9000; empty: that of AWS."
            ),
            self("S3_REGION", "us-east-1", "Region of the buckets."),
            self("S3_ACCESS_KEY_ID", "", "Access key; empty: what AWS_* variables or the machine's role provide."),
            *self.secret("S3_SECRET_ACCESS_KEY", "Secret of that access key."),
            self("S3_TIMEOUT_S", 2.0, "Seconds that a request to S3 may take.", at_least=0.1, at_most=60),
        )

    def _server(self, name: str, default: str, explanation: str) -> str:
        """Declare the address of an HTTP server and return it."""
        value = self(name, default, explanation)
        try:
            parts = urlsplit(value)
            is_server = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_server = False
        if value and not is_server:
            raise SettingError(f"{name}={value!r} is no address of a server: write http://HOST:PORT or https://HOST")
        return value

    def place(self, name: str, explanation: str) -> str:
        """Declare the address of something in a bucket, s3://bucket or s3://bucket/prefix, and return it."""
        value = self(name, "", explanation)
        if value and not _BUCKET.fullmatch(value):
            raise SettingError(
                f"{name}={value!r} is no place in object storage: give s3://bucket or s3://bucket/prefix"
            )
        return value.rstrip("/")

    def script_name(self) -> str:
        """Declare SCRIPT_NAME, the path below which the service is found, and return it without a slash at its end."""
        value = self("SCRIPT_NAME", "", "Path below which clients find the service, such as /a/b; empty: /.").rstrip(
            "/"
        )
        if value and not is_path_prefix(value):
            wanted = "write a path such as /a/b, of letters, digits, '.', '_', '~' and '-'"
            raise SettingError(f"SCRIPT_NAME={value!r} is no path of a service: {wanted}")
        return value

    def logs(self) -> tuple[str, str]:
        """Declare LOG_LEVEL and LOG_FORMAT."""
        levels, formats = ("debug", "info", "warning", "error"), ("auto", "json", "text")
        return (
            self("LOG_LEVEL", "info", "How much is logged: debug, info, warning or error.", choices=levels),
            self("LOG_FORMAT", "auto", "json, text, or auto: text on a terminal and JSON elsewhere.", choices=formats),
        )

    def formats(self) -> str:
        """Declare FORMATS, the image formats that both sides accept; return their names, separated by commas."""
        text = self("FORMATS", ",".join(FORMATS), "Image formats that are accepted, separated by commas.")
        names = frozenset(filter(None, (name.strip().lower() for name in text.split(","))))
        if not names or not names <= frozenset(FORMATS):
            raise SettingError(f"FORMATS={text!r} names no formats or unknown ones: give some of {', '.join(FORMATS)}")
        return ",".join(name for name in FORMATS if name in names)

    def traces(self, service: str) -> tuple[str, str, str]:
        """Declare OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_SERVICE_NAME, as OpenTelemetry names them.

        Its SDK reads further ones by itself, where traces are on.
        """
        exporters, endpoint = ("none", "otlp", "console"), "http://localhost:4318"
        where = "Where traces go: none, otlp (a collector), or console (standard output)."
        return (
            self("OTEL_TRACES_EXPORTER", "none", where, choices=exporters),
            self._server("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint, "Base address of the collector, for OTLP over HTTP."),
            self("OTEL_SERVICE_NAME", service, "Name of this part of the service in traces and metrics."),
        )

    def pushed_metrics(self) -> tuple[str, int]:
        """Declare OTEL_METRICS_EXPORTER and OTEL_METRIC_EXPORT_INTERVAL, as OpenTelemetry names them."""
        where, exporters = (
            "Where metrics are sent, in addition to /metrics: none, otlp or console.",
            ("none", "otlp", "console"),
        )
        return (
            self("OTEL_METRICS_EXPORTER", "none", where, choices=exporters),
            self("OTEL_METRIC_EXPORT_INTERVAL", 60_000, "Milliseconds between two exports of metrics.", at_least=100),
        )


def is_path_prefix(text: str) -> bool:
    """Return whether a text is a path below which a service may be found, such as /a/b."""
    return _PATH_PREFIX.fullmatch(text) is not None


def _chosen(name: str, text: str, choices: Sequence[str]) -> str:
    if text.lower() not in choices:
        raise SettingError(f"{name}={text!r} is unknown: give one of {', '.join(filter(None, choices))}")
    return text.lower()


def _truth(name: str, text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise SettingError(f"{name}={text!r} is neither yes nor no: give 1 or 0")
    return text.lower() in _TRUE


def _number(name: str, text: str, kind: type[Number], at_least: float, at_most: float) -> Number:
    try:
        value = kind(text)
        if at_least <= value <= at_most and (value <= _LARGEST if kind is int else math.isfinite(value)):
            return value
    except ValueError:
        pass
    wanted = "a whole number" if kind is int else "a number"
    allowed = f"from {at_least} to {at_most}" if math.isfinite(at_most) else f"of at least {at_least}"
    raise SettingError(f"{name}={text!r} is not {wanted} {allowed}")
