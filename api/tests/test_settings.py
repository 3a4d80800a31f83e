import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import settings
from wire import Answer, Job
from wire.process.limits import MAX_CLASSES, MAX_IMAGE_BYTES, MAX_TOP_K, MAX_TTL_MS
from wire.settings_parser import SettingError

API = Path(settings.__file__).parent


def read(**environment: str) -> dict[str, Any]:
    """Read the settings again, with these variables and no other."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "environ", environment)
        return runpy.run_path(str(API / "settings.py"))


def value(name: str, **environment: str) -> str:
    return str(read(**environment)[name])


def refusal(**environment: str) -> str:
    """Return why these variables are refused; in tests/server/test_worker.py a process ends with it."""
    with pytest.raises(SettingError) as refused:
        read(**environment)
    return str(refused.value)


def test_every_row_of_the_table_is_an_attribute_of_its_type() -> None:
    for row in settings.SETTINGS:
        assert type(getattr(settings, row.name)) is row.type
        assert row.type is type(row.default)
        assert row.help.endswith(".")


def test_every_setting_is_in_the_table_once() -> None:
    names = [row.name for row in settings.SETTINGS]
    assert len(names) == len(set(names))
    assert sorted(names) == sorted(
        name for name in vars(settings) if name.isupper() and name != "SETTINGS" and name[0] != "_"
    )


def test_the_contract_s_defaults_hold() -> None:
    defaults = {row.name: row.default for row in settings.SETTINGS}
    assert defaults["FEEDBACK_FILEPATH"] == "feedback/feedback"
    assert defaults["UPLOAD_FOLDER"] == "static/uploads/"
    assert (defaults["HOST"], defaults["PORT"]) == ("0.0.0.0", 5000)  # noqa: S104  what the contract says
    assert defaults["MAX_UPLOAD_BYTES"] == 20 * 1024 * 1024
    assert defaults["REQUEST_TIMEOUT_S"] == 5


def test_the_environment_sets_a_setting_and_an_empty_variable_does_not() -> None:
    assert value("REDIS_IP", REDIS_IP="redis") == "redis"
    assert value("REDIS_PORT", REDIS_PORT=" 6380 ") == "6380"
    assert value("REDIS_PORT", REDIS_PORT="") == "6379"
    assert value("ACCESS_LOG", ACCESS_LOG="Yes") == "True"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDIS_PORT", "abc"),
        ("REDIS_PORT", "0"),
        ("REDIS_PORT", "65536"),
        ("REQUEST_TIMEOUT_S", "-1"),
        ("REQUEST_TIMEOUT_S", "nan"),
        ("REQUEST_TIMEOUT_S", "inf"),
        ("ACCESS_LOG", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("SECRET_KEY_FILE", "/nowhere/key"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_key_and_itself(name: str, text: str) -> None:
    last_line = refusal(**{name: text}).splitlines()[-1]
    assert name in last_line
    assert text in last_line


def test_the_secret_key_comes_from_the_environment_before_the_file(tmp_path: Path) -> None:
    key_file = tmp_path / "secret_key"
    key_file.write_text("of-the-file\n")
    assert value("SECRET_KEY", SECRET_KEY_FILE=str(key_file)) == "of-the-file"
    assert value("SECRET_KEY", SECRET_KEY_FILE=str(key_file), SECRET_KEY="told") == "told"  # noqa: S106  a test's


def test_a_bare_import_gets_a_random_secret_key() -> None:
    assert len(value("SECRET_KEY")) == 64
    assert value("SECRET_KEY") != value("SECRET_KEY")


def test_an_empty_secret_key_file_is_refused(tmp_path: Path) -> None:
    key_file = tmp_path / "secret_key"
    key_file.touch()
    assert "is empty" in refusal(SECRET_KEY_FILE=str(key_file))


def test_nothing_but_the_settings_reads_the_environment() -> None:
    readers = [
        path.name for path in API.glob("*.py") if "os.environ" in path.read_text() or "getenv" in path.read_text()
    ]
    assert readers == ["settings.py"]


def test_reading_the_settings_imports_no_package_but_the_parser() -> None:
    """Gunicorn's master and `make doctor` do so before anything else may be imported."""
    parser = {"PYTHONPATH": str(API.parent / "wire" / "src")}
    outcome = subprocess.run([sys.executable, "-S", "-c", "import settings"], cwd=API, env=parser, check=False)
    assert outcome.returncode == 0


# The largest value that a worker, the codec, Redis or the system accepts, and the next one.
RANGES = {
    "MAX_TOP_K": (MAX_TOP_K, MAX_TOP_K + 1),
    "REQUEST_TIMEOUT_S": (MAX_TTL_MS // 1000, MAX_TTL_MS // 1000 + 1),
    "JOB_TIMEOUT_S": (600, 601),
    "MAX_UPLOAD_BYTES": (MAX_IMAGE_BYTES, MAX_IMAGE_BYTES + 1),
    "CACHE_TTL_S": (31_536_000, 31_536_001),
    "MAX_CONNECTIONS": (1_000_000, 1_000_001),
    "API_WORKERS": (256, 257),
    "IDLE_TIMEOUT_S": (86_400, "1e300"),
    "HEAD_TIMEOUT_S": (86_400, 86_401),
    "UPLOAD_TIMEOUT_S": (86_400, 86_401),
    "UPLOAD_PACE_S": (86_400, 86_401),
    "SEND_TIMEOUT_S": (86_400, 86_401),
    "MAX_JOBS": (2**63 - 1, 2**63),
    "REDIS_DB_ID": (2**31 - 1, 2**31),
}


@pytest.mark.parametrize("name", RANGES)
def test_what_the_other_side_would_refuse_is_refused_at_start(name: str) -> None:
    largest, beyond = map(str, RANGES[name])
    assert float(value(name, **{name: largest})) == float(largest)
    assert f"{name}={beyond!r} is not" in refusal(**{name: beyond}).splitlines()[-1]


def test_a_job_with_the_largest_settings_is_read_by_a_worker() -> None:
    job = Job("id", "a.jpg", "reply", int(RANGES["REQUEST_TIMEOUT_S"][0]) * 1000, MAX_CLASSES)
    assert Job.decode(job.encode()) == job


def test_an_answer_with_the_most_and_longest_labels_is_read_by_the_api() -> None:
    label = "\N{GRINNING FACE}" * 100
    answer = Answer("id", tuple((f"{label}{number}", 0.001) for number in range(MAX_CLASSES)), "model", "1")
    assert Answer.decode(answer.encode()) == answer


def test_warnings_name_what_is_probably_not_meant_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.warnings() == []
    monkeypatch.setenv("REDIS_HOST", "redis")
    monkeypatch.setattr(settings, "MAX_UPLOADS_BYTES", settings.MAX_UPLOAD_BYTES)
    unknown, small = settings.warnings()
    assert unknown == "REDIS_HOST is no setting and is ignored: did you mean REDIS_IP?"
    assert small.startswith("MAX_UPLOADS_BYTES=20971520 is less than twice MAX_UPLOAD_BYTES=20971520")
