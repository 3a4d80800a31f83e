"""Every documented setting can be set for docker-compose, where its services read it, or stands here with a reason."""

import re
from typing import Any

import pytest
import yaml

from sightline_testing.service import REPOSITORY
from sightline_testing.settings_tables import PAGE

SERVICES = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
GPU = yaml.safe_load((REPOSITORY / "docker-compose.gpu.yml").read_text())["services"]["model"]["environment"]
PAGES = {"api": ("api", "janitor"), "model worker": ("model", "operator")}
URL_SAYS_IT = "part of REDIS_URL, which is always set here"
MOUNTED = "the mounted folder"
REASONS = {
    "HOST": "the container's networks can reach it; PORT is the port of the host",
    "PORT": "that of the host: see `ports`",
    "LISTEN_FD": "of the launcher",
    "READY_FD": "of the launcher",
    "UPLOAD_FOLDER": MOUNTED,
    "FEEDBACK_FILEPATH": MOUNTED,
    "METRICS_HOST": "the inner network",
    "METRICS_PORT": "the port in deploy/monitoring/prometheus.yml",
    "OTEL_SERVICE_NAME": "each part has its own",
    "ENGINE": "the image has one; that of docker-compose.gpu.yml another",
    "DEVICE": "of docker-compose.gpu.yml",
    "GPU_PRECISION": "of docker-compose.gpu.yml",
    "FAULT_INJECTION": "for tests only",
    "REDIS_URL_FILE": "REDIS_URL wins, which is always set here",
} | dict.fromkeys(("REDIS_IP", "REDIS_PORT", "REDIS_DB_ID", "REDIS_SOCKET"), URL_SAYS_IT)
# The same for all services that use it; each one has its own user of Redis.
SHARED = re.compile(
    r"IMAGE_STORE|S3_|DATABASE_URL|MODEL_STORE|MODEL_CLASS|FORMATS|REDIS_(?!USERNAME)|BUNDLES_FOLDER|LOG_"
)
READ_BY = {
    "IMAGE_STORE": {"api", "model", "trainer", "operator", "janitor"},
    "DATABASE_URL": {"api", "trainer", "operator", "janitor"},
    "MODEL_STORE": {"model", "trainer", "operator"},
    "FORMATS": {"api", "model", "trainer", "operator"},
    "REDIS_URL": {"api", "model", "trainer", "operator"},
    "MODEL_CLASS": {"api", "model", "trainer", "operator", "init"},
}


def documented(heading: str) -> list[str]:
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def environment(service: str) -> dict[str, Any]:
    found: dict[str, Any] = SERVICES[service].get("environment", {})
    return found


def can_be_set(name: str, service: str) -> bool:
    return bool(re.fullmatch(rf"\$\{{{name}(:?-[^}}]*)?\}}", str(environment(service).get(name, ""))))


@pytest.mark.parametrize("heading", PAGES)
def test_every_setting_of_a_part_can_be_set_where_it_is_read(heading: str) -> None:
    names = documented(heading)
    assert len(names) > 30
    lacking = [name for name in names if not any(can_be_set(name, service) for service in PAGES[heading])]
    assert sorted(set(lacking) - REASONS.keys()) == []


def test_a_reason_is_given_for_nothing_that_can_be_set() -> None:
    named = {name for heading in PAGES for name in documented(heading)}
    assert REASONS.keys() <= named
    assert [name for name in REASONS for service in SERVICES if can_be_set(name, service)] == []
    assert {name for name in REASONS if "docker-compose.gpu.yml" in REASONS[name]} <= GPU.keys()


@pytest.mark.parametrize("name", READ_BY)
def test_whoever_reads_a_shared_setting_is_told_it(name: str) -> None:
    assert {service for service in SERVICES if can_be_set(name, service)} == READ_BY[name]


def test_what_services_share_is_told_to_all_alike() -> None:
    told: dict[str, set[str]] = {}
    for service in set(SERVICES) - {"compile"}:
        for name, value in environment(service).items():
            if SHARED.match(name):
                told.setdefault(name, set()).add(str(value))
    assert told
    assert {name: values for name, values in told.items() if len(values) > 1} == {}
