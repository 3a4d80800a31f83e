import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import settings
from inference import limits
from wire.process.limits import MAX_IMAGE_BYTES
from wire.settings_parser import SettingError

MODEL = Path(__file__).resolve().parents[1]
SETTINGS_PAGE = MODEL.parent / "docs" / "settings.md"


def read(**environment: str) -> dict[str, Any]:
    """Read the settings again, with these variables and no other."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "environ", environment)
        return runpy.run_path(str(MODEL / "settings.py"))


def refusal(**environment: str) -> str:
    """Return why these variables are refused."""
    with pytest.raises(SettingError) as refused:
        read(**environment)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("MAX_BATCH_SIZE", "3", "3"),
        ("MAX_BATCH_S", "2.5", "2.5"),
        ("MAX_BATCH_SIZE", " ", "8"),
        ("PRECISION", "FP32", "'fp32'"),
        ("UPLOAD_FOLDER", "/src/uploads", "'/src/uploads'"),
    ],
)
def test_the_environment_sets_what_is_set(name: str, value: str, expected: str) -> None:
    assert repr(read(**{name: value})[name]) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_BATCH_SIZE", "many"), ("MAX_BATCH_SIZE", "0"), ("REDIS_PORT", "70000"), ("MAX_BATCH_S", "nan"),
     ("ENGINE", "tensorflow"), ("PRECISION", "int4"), ("LOG_LEVEL", "loud")],
)  # fmt: skip
def test_a_bad_value_is_refused_with_its_key_and_value(name: str, value: str) -> None:
    assert f"{name}={value!r}" in refusal(**{name: value})


def test_a_bad_value_ends_the_process() -> None:
    command, environment = [sys.executable, "-c", "import settings"], {"PYTHONPATH": ".", "MAX_BATCH_SIZE": "many"}
    ended = subprocess.run(command, cwd=MODEL, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "MAX_BATCH_SIZE='many'" in ended.stderr


def test_a_gpu_is_for_the_engine_that_knows_of_gpus() -> None:
    told = refusal(DEVICE="cuda")
    assert "DEVICE='cuda', but ENGINE='auto' computes on the CPU only: set ENGINE=torch" in told


def test_the_engines_whole_name_says_where_and_in_what_it_computes() -> None:
    assert read(ENGINE="torch")["ENGINE"] == "torch:auto:fp32"


def test_every_setting_is_in_the_table_with_a_value_of_its_type() -> None:
    for name, kind, default, help_text in settings.SETTINGS:
        assert isinstance(getattr(settings, name), kind)
        assert isinstance(default, kind)
        assert help_text.endswith(".")


def test_every_setting_is_documented() -> None:
    page = SETTINGS_PAGE.read_text(encoding="utf-8")
    missing = [setting.name for setting in settings.SETTINGS if f"`{setting.name}`" not in page]
    assert not missing


@pytest.mark.parametrize(
    ("name", "largest", "beyond"),
    [("CONSUMERS", 256, 257), ("MODEL_WORKERS", 256, 257), ("MAX_BATCH_WAIT_MS", 1000, 1001), ("MAX_BATCH_S", 600, 601),
     ("LEASE_MS", 60_000, 60_001), ("MAX_BATCH_SIZE", 256, 257)],
)  # fmt: skip
def test_what_would_leave_every_job_without_an_answer_is_refused(name: str, largest: int, beyond: int) -> None:
    assert read(**{name: str(largest)})[name] == largest
    assert f"{name}='{beyond}' is not" in refusal(**{name: str(beyond)})


def test_the_api_accepts_no_larger_image_than_a_worker_reads() -> None:
    assert limits.MAX_BYTES == MAX_IMAGE_BYTES


def test_a_worker_that_nobody_supervises_names_misspelt_settings() -> None:
    environment = {"MAX_BATCHSIZE": "1", "MODEL_PORT": "tcp://10.0.0.1:80", "API_WORKERS": "2"}
    warnings = read(**environment)["warnings"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "environ", environment)
        assert warnings() == ["MAX_BATCHSIZE is no setting and is ignored: did you mean MAX_BATCH_SIZE?"]
