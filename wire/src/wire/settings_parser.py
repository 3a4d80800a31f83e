"""Settings read from a mapping such as `os.environ`: name, type, default, range and help, declared in one place.

    setting = Declarations(os.environ)
    PORT = setting("PORT", 5000, "TCP port to listen on.", at_least=1, at_most=65_535)

A settings module declares its settings as module attributes and is the only one that reads the environment. Nothing
here depends on another package, so that a process may read its settings before it imports anything else.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

Value = TypeVar("Value", bool, int, float, str)
Number = TypeVar("Number", int, float)

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


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
        text = self._environment.get(name, "").strip()
        if not text and former:
            name, text = former, self._environment.get(former, "").strip()
        if not text:
            return default
        if choices:
            return type(default)(_chosen(name, text, choices))
        if isinstance(default, str):
            return type(default)(text)
        if isinstance(default, bool):
            return type(default)(_truth(name, text))
        return _number(name, text, type(default), at_least, at_most)

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
        if not secret:
            raise SettingError(f"{name}_FILE={file!r} is empty: write the {name} into it")
        return secret, file

    def redis(self) -> tuple[str, int, int, str, str, str, str, str]:
        """Declare the settings of the queue, which are the same on both sides; return their values in this order."""
        return (
            self("REDIS_IP", "127.0.0.1", "Host name or address of Redis."),
            self("REDIS_PORT", 6379, "TCP port of Redis.", at_least=1, at_most=65_535),
            self("REDIS_DB_ID", 0, "Number of the Redis database."),
            self("REDIS_SOCKET", "", "Unix socket of Redis, used in place of REDIS_IP and REDIS_PORT."),
            self("REDIS_USERNAME", "", "Redis user to log in as."),
            *self.secret("REDIS_PASSWORD", "Password of that Redis user."),
            self("REDIS_QUEUE", "sightline", "Name of the queue: the prefix of every Redis key."),
        )

    def logs(self) -> tuple[str, str]:
        """Declare LOG_LEVEL and LOG_FORMAT."""
        levels, formats = ("debug", "info", "warning", "error"), ("auto", "json", "text")
        return (
            self("LOG_LEVEL", "info", "How much is logged: debug, info, warning or error.", choices=levels),
            self("LOG_FORMAT", "auto", "json, text, or auto: text on a terminal and JSON elsewhere.", choices=formats),
        )

    def traces(self, service: str) -> tuple[str, str, str]:
        """Declare OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_SERVICE_NAME, as OpenTelemetry names them.

        Its SDK reads further ones by itself, where traces are on.
        """
        exporters, endpoint = ("none", "otlp", "console"), "http://localhost:4318"
        where = "Where traces go: none, otlp (a collector), or console (standard output)."
        return (
            self("OTEL_TRACES_EXPORTER", "none", where, choices=exporters),
            self("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint, "Base address of the collector, for OTLP over HTTP."),
            self("OTEL_SERVICE_NAME", service, "Name of this part of the service in traces."),
        )


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
        if at_least <= value <= at_most and math.isfinite(value):
            return value
    except ValueError:
        pass
    wanted = "a whole number" if kind is int else "a number"
    allowed = f"from {at_least} to {at_most}" if math.isfinite(at_most) else f"of at least {at_least}"
    raise SettingError(f"{name}={text!r} is not {wanted} {allowed}")
