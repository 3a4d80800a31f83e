"""What a local run consists of: the processes, their folders and their environment."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher import redis_server, service_manager, state
from launcher.errors import SettingError
from launcher.settings import REPOSITORY, Settings
from launcher.supervision import Program

# The api answers what it has accepted before it ends, and a worker finishes its batch: so much longer than their
# time-outs.
API_GRACE_S, WORKER_GRACE_S = 5.0, 2.0
# What it was doing is taken up again at the next start.
TRAINER_GRACE_S = 10.0
# Of commands, and of the trainer that runs them, where COMMAND_NICENESS is not set.
LOWEST_PRIORITY = 19


# With these alone the api finds fault outside its settings.py. Where none is given, that module is all there is to
# check: importing the rest takes half a second of each start.
OF_API_PARTS = (
    "API_KEYS_FILE",
    "CORS_ORIGINS",
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "FEEDBACK_FILEPATH",
    "RATE_LIMIT",
    "TRUSTED_HOSTS",
)


def stages(settings: Settings, listener: int) -> list[list[Program]]:
    """Return the programs in the order of their start; they are stopped the other way round."""
    environment = environment_of(settings)
    workers = [
        Program(
            name,
            _python("ml_service.py"),
            REPOSITORY / "model",
            environment | _metrics_port(settings, number),
            settings.max_batch_s + WORKER_GRACE_S,
            says_ready=True,
            configuration=REPOSITORY / "model" / environment["BUNDLES_FOLDER"],
        )
        for number, name in enumerate(_worker_names(settings.model_workers))
    ]
    trainer = Program(
        "trainer",
        [sys.executable, "-m", "trainer"],
        REPOSITORY / "model",
        environment,
        TRAINER_GRACE_S,
        says_ready=True,
        niceness=_niceness_of_commands(environment),  # the start of the others, too, goes before
    )
    told = environment | {"LISTEN_FD": str(listener)}
    api = Program(
        "api",
        _python("app.py"),
        REPOSITORY / "api",
        told,
        settings.request_timeout_s + API_GRACE_S,
        pass_fds=(listener,),
        says_ready=True,
        orphans_finish=True,  # they need no port: the launcher holds it
    )
    others = [trainer] if settings.trainer else []
    return [*_redis(settings, environment), [*workers, *others], [api]]


# Both settings modules in one interpreter, each with the folder and the environment that its program has.
READ_SETTINGS = """
import json, os, runpy, sys
for folder, environment in json.load(sys.stdin):
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    runpy.run_path("settings.py")
"""


def check(settings: Settings, stages: Sequence[Sequence[Program]]) -> None:
    """Raise SettingError where the api or a worker cannot use its settings: starting it again would not help."""
    read = []
    for program in {program.folder: program for stage in stages for program in stage if program.says_ready}.values():
        given = {**program.environment, "FEEDBACK_FILEPATH": settings.environment.get("FEEDBACK_FILEPATH", "")}
        if program.name == "api" and any(map(given.get, OF_API_PARTS)):
            _run("import app", program)
        else:
            read.append((str(program.folder), dict(program.environment)))
            last = program
    if read:
        _run(READ_SETTINGS, last, json.dumps(read))


def _run(code: str, program: Program, given: str = "") -> None:
    """Run code as a program is run; raise SettingError with the last line of its output where it fails."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [program.command[0], "-c", code],
        cwd=program.folder,
        env=dict(program.environment),
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        [*_, reason] = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise SettingError(reason.removeprefix("wire.settings_parser.SettingError: "))


def _niceness_of_commands(environment: Mapping[str, str]) -> int:
    """Return COMMAND_NICENESS; the lowest priority where it is not set, or where check() is about to refuse it."""
    told = environment.get("COMMAND_NICENESS", "")
    return int(told) if told.isdecimal() else LOWEST_PRIORITY


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
        "DOCUMENTATION_FOLDER": str(settings.state_dir / "site"),
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
    inherited = {name: value for name, value in settings.environment.items() if name not in service_manager.VARIABLES}
    return own | inherited | told | {"PYTHONPATH": ".", "PYTHONUNBUFFERED": "1"}


def _worker_names(count: int) -> list[str]:
    return ["model worker"] if count == 1 else [f"model worker {number}" for number in range(1, count + 1)]


def _python(script: str) -> list[str]:
    return [sys.executable, str(Path(script))]
