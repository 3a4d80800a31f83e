"""What a local run consists of: the processes, their folders and what they are told."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher import redis_server, state
from launcher.errors import SettingError
from launcher.settings import REPOSITORY, Settings
from launcher.supervision import Program

# The api answers what it has accepted before it ends: longer than REQUEST_TIMEOUT_S.
API_GRACE_S = 10.0
# A worker finishes its batch: longer than MAX_BATCH_S.
WORKER_GRACE_S = 12.0


def stages(settings: Settings, listener: int) -> list[list[Program]]:
    """Return the programs in the order of their start; they are stopped the other way round."""
    environment = environment_of(settings)
    workers = [
        Program(
            name,
            _python("ml_service.py"),
            REPOSITORY / "model",
            environment | _metrics_port(settings, number),
            WORKER_GRACE_S,
            says_ready=True,
            configuration=REPOSITORY / "model" / environment["BUNDLES_FOLDER"],
        )
        for number, name in enumerate(_worker_names(settings.model_workers))
    ]
    told = environment | {"LISTEN_FD": str(listener)}
    api = Program(
        "api", _python("app.py"), REPOSITORY / "api", told, API_GRACE_S, pass_fds=(listener,), says_ready=True
    )
    return [*_redis(settings, environment), workers, [api]]


def check(stages: Sequence[Sequence[Program]]) -> None:
    """Raise SettingError where the api or a worker cannot use its settings: starting it again would not help."""
    for program in {program.folder: program for stage in stages for program in stage if program.says_ready}.values():
        command = [program.command[0], "-c", "import settings"]
        done = subprocess.run(  # noqa: S603 - our own interpreter
            command, cwd=program.folder, env=dict(program.environment), capture_output=True, text=True, check=False
        )
        if done.returncode:
            [*_, reason] = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise SettingError(reason.removeprefix("wire.settings_parser.SettingError: "))


def _metrics_port(settings: Settings, number: int) -> dict[str, str]:
    """Give each worker a port of its own: a scrape must meet every one of them."""
    return {"METRICS_PORT": str(settings.metrics_port + number if settings.metrics_port else 0)}


def _redis(settings: Settings, environment: Mapping[str, str]) -> list[list[Program]]:
    if not settings.uses_own_redis:
        return []
    data = settings.state_dir / "redis"
    log = settings.state_dir / "run" / "redis.log"
    command = redis_server.command(redis_server.find_binary(), data, state.socket_path(settings.state_dir), log)
    return [[Program("redis", command, data, environment, log=log)]]


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment of every program: what the user set, else the places of a local run."""
    own = {
        "UPLOAD_FOLDER": str(settings.state_dir / "uploads"),
        "FEEDBACK_FILEPATH": str(settings.state_dir / "feedback" / "feedback"),
        "BUNDLES_FOLDER": str(settings.state_dir / "bundles"),
        "SECRET_KEY_FILE": str(settings.state_dir / state.SECRET_KEY),
        "OPERATOR_KEY_FILE": str(settings.state_dir / state.OPERATOR_KEY),
    }
    api_keys = settings.state_dir / state.API_KEYS
    if api_keys.exists():
        own["API_KEYS_FILE"] = str(api_keys)
    told = {"HOST": settings.host, "PORT": str(settings.port), "MODEL_WORKERS": str(settings.model_workers)}
    if settings.uses_own_redis:
        told |= {
            "REDIS_SOCKET": str(state.socket_path(settings.state_dir)),
            "REDIS_USERNAME": "",
            "REDIS_PASSWORD": "",
            "REDIS_PASSWORD_FILE": "",
            "REDIS_DB_ID": "0",
        }
    return own | dict(settings.environment) | told | {"PYTHONPATH": ".", "PYTHONUNBUFFERED": "1"}


def _worker_names(count: int) -> list[str]:
    return ["model worker"] if count == 1 else [f"model worker {number}" for number in range(1, count + 1)]


def _python(script: str) -> list[str]:
    return [sys.executable, str(Path(script))]
