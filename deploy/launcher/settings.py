"""The launcher's settings; no other module of it reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import SettingError
from wire import settings_parser

MODELS = ("", "lite0", "lite1", "lite2")
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """The launcher's settings, read once."""

    host: str
    port: int
    script_name: str
    model_workers: int
    metrics_port: int
    trainer: bool
    state_dir: Path
    uses_own_redis: bool
    redis_url: str
    log_format: str
    request_timeout_s: float
    max_batch_s: float
    environment: Mapping[str, str]


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; raise SettingError, which names the key and the value that cannot be used."""
    environment = dict(os.environ if environment is None else environment)
    try:
        return _read(settings_parser.Declarations(environment), environment)
    except settings_parser.SettingError as error:
        raise SettingError(str(error)) from None


def _read(setting: settings_parser.Declarations, environment: Mapping[str, str]) -> Settings:
    # Set-up acts on it (deploy/install.py), before anything is started.
    setting("MODEL", "", "lite0, lite1 or lite2, to set up and serve; empty: the active one.", choices=MODELS)
    return Settings(
        host=setting("HOST", "127.0.0.1", "Address that the page and the HTTP API are served on."),
        port=setting("PORT", 8000, "Port that the page and the HTTP API are served on.", at_least=1, at_most=65_535),
        script_name=setting.script_name(),
        model_workers=setting("MODEL_WORKERS", 2, "Number of model worker processes.", at_least=1, at_most=256),
        metrics_port=setting(
            "METRICS_PORT",
            0,
            "Port of the metrics of the first worker; each further worker uses the next one; 0: none.",
            at_most=65_000,
        ),
        trainer=setting("TRAINER", True, "Run the trainer, which does what is ordered on /teach; 0: none."),
        # Where it is relative, it is below the repository.
        state_dir=REPOSITORY
        / setting("STATE_DIR", "var", "Folder of everything a local run keeps: bundles, uploads, feedback, Redis."),
        redis_url=(url := setting.secret("REDIS_URL", "An existing Redis to use, by URL; empty: use REDIS_IP."))[0],
        uses_own_redis=not any(
            [
                *url,
                setting("REDIS_IP", "", "An existing Redis server to use; empty: start one."),
                setting("REDIS_SOCKET", "", "Unix socket of an existing Redis server; empty: use REDIS_IP."),
            ]
        ),
        log_format=setting.logs()[1],
        request_timeout_s=setting("REQUEST_TIMEOUT_S", 5.0, "Seconds that the api has at least to stop."),
        max_batch_s=setting("MAX_BATCH_S", 10.0, "Seconds that the workers have at least to stop."),
        environment=environment,
    )


_declared = settings_parser.Declarations({})
_read(_declared, {})
SETTINGS = tuple(_declared.table)
