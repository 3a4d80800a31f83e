"""The launcher's settings; no other module of it reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import SettingError
from wire import settings_parser

REPOSITORY = Path(__file__).resolve().parents[2]


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
    """Read the settings; raise SettingError, which names the key and the value that cannot be used."""
    environment = dict(os.environ if environment is None else environment)
    try:
        return _read(settings_parser.Declarations(environment), environment)
    except settings_parser.SettingError as error:
        raise SettingError(str(error)) from None


def _read(setting: settings_parser.Declarations, environment: Mapping[str, str]) -> Settings:
    return Settings(
        host=setting("HOST", "127.0.0.1", "Address that the page and the HTTP API are served on."),
        port=setting("PORT", 8000, "Port that the page and the HTTP API are served on.", at_least=1, at_most=65_535),
        model_workers=setting("MODEL_WORKERS", 2, "Number of model worker processes.", at_least=1, at_most=256),
        metrics_port=setting(
            "METRICS_PORT",
            0,
            "Port of the first worker's metrics, the next one of the second, and so on; 0: none.",
            at_most=65_000,
        ),
        # Where it is relative, it is below the repository.
        state_dir=REPOSITORY
        / setting("STATE_DIR", "var", "Folder of everything a local run keeps: bundles, uploads, feedback, Redis."),
        uses_own_redis=not any(
            [
                setting("REDIS_IP", "", "An existing Redis server to use; empty: one of our own is started."),
                setting("REDIS_SOCKET", "", "Unix socket of an existing Redis server; empty: as REDIS_IP says."),
            ]
        ),
        environment=environment,
    )


_declared = settings_parser.Declarations({})
_read(_declared, {})
SETTINGS = tuple(_declared.table)
