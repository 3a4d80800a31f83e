"""What the launcher is told through the environment; no other module of it reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import SettingError

REPOSITORY = Path(__file__).resolve().parents[2]

# name, type, default, help; docs/settings.md carries every row
SETTINGS: tuple[tuple[str, type, object, str], ...] = (
    ("HOST", str, "127.0.0.1", "Address that the page and the HTTP API are served on."),
    ("PORT", int, 8000, "Port that the page and the HTTP API are served on."),
    ("MODEL_WORKERS", int, 2, "Number of model worker processes."),
    ("METRICS_PORT", int, 0, "Port of the first worker's metrics, the next one of the second, and so on; 0: none."),
    ("STATE_DIR", Path, Path("var"), "Folder of everything a local run keeps: bundles, uploads, feedback, Redis."),
    ("REDIS_IP", str, "", "An existing Redis server to use; empty: one of our own is started."),
    ("REDIS_SOCKET", str, "", "Unix socket of an existing Redis server; empty: as REDIS_IP says."),
)


@dataclass(frozen=True)
class Settings:
    """The launcher's settings, read once."""

    host: str
    port: int
    model_workers: int
    metrics_port: int
    state_dir: Path
    uses_own_redis: bool
    environment: Mapping[str, str]


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; SettingError names the key and the value that cannot be used."""
    environment = dict(os.environ if environment is None else environment)
    state_dir = Path(_text(environment, "STATE_DIR"))
    return Settings(
        host=_text(environment, "HOST"),
        port=_number(environment, "PORT", 1, 65535),
        model_workers=_number(environment, "MODEL_WORKERS", 1, 256),
        metrics_port=_number(environment, "METRICS_PORT", 0, 65000),
        state_dir=state_dir if state_dir.is_absolute() else REPOSITORY / state_dir,
        uses_own_redis=not (_text(environment, "REDIS_IP") or _text(environment, "REDIS_SOCKET")),
        environment=environment,
    )


def _text(environment: Mapping[str, str], name: str) -> str:
    """Return the value of a setting; an empty value counts as none."""
    return environment.get(name, "").strip() or str(_default(name))


def _number(environment: Mapping[str, str], name: str, lowest: int, highest: int) -> int:
    text = _text(environment, name)
    if not (text.isascii() and text.isdecimal() and lowest <= int(text) <= highest):
        raise SettingError(f"{name}={text!r} is no whole number from {lowest} to {highest}")
    return int(text)


def _default(name: str) -> object:
    return next(default for key, _, default, _ in SETTINGS if key == name)
