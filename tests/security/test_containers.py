"""What docker-compose lets each container do, read from its file; a run of it is part of CI."""

import re
from typing import Any

import pytest
import yaml

from sightline_testing.service import REPOSITORY

FILES = ("docker-compose.yml", "deploy/compose.scale.yml")
SERVICES = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
PROXY = yaml.safe_load((REPOSITORY / "deploy" / "compose.scale.yml").read_text())["services"]["proxy"]
ALL: dict[str, dict[str, Any]] = {**SERVICES, "proxy": PROXY}
# The one that gives the mounted folders to the others: root, without a network, and gone when it is done.
ONE_SHOT = "init"
# They inspect the service, and only this machine can reach them; neither runs by default.
WATCHERS = {name for name, service in SERVICES.items() if service.get("profiles") == ["monitoring"]}
INSIDE = [name for name in SERVICES if name not in {ONE_SHOT, "api", *WATCHERS}]


@pytest.mark.parametrize("name", ALL)
def test_a_container_can_change_nothing_of_itself(name: str) -> None:
    service = ALL[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert not {"pid", "ipc", "devices", "volumes_from"} & service.keys()
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_stopped_by_a_signal_whatever_it_runs(name: str) -> None:
    """A program that is process 1 ignores every signal for which it has no handler, as a start-up has none."""
    assert SERVICES[name]["init"] is True


def test_workers_begin_once_the_version_to_be_served_is_compiled() -> None:
    assert SERVICES["model"]["depends_on"]["compile"] == {"condition": "service_completed_successfully"}
    assert SERVICES["compile"]["volumes"] == ["./bundles:/src/bundles"]
    assert SERVICES["compile"]["network_mode"] == "none"
    assert SERVICES["compile"]["restart"] == "no"


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_limits_and_a_place_for_temporary_files_from_which_nothing_runs(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["pids_limit"] <= 512
    [place] = service["tmpfs"]
    folder, _, options = place.partition(":")
    assert folder == "/tmp"  # noqa: S108  the container's own
    assert {"noexec", "nosuid", "nodev"} <= set(options.split(","))


def test_only_the_one_shot_is_root_and_it_reaches_nothing() -> None:
    one_shot = SERVICES[ONE_SHOT]
    assert [name for name, service in ALL.items() if str(service.get("user", "")).startswith("0")] == [ONE_SHOT]
    assert [name for name, service in ALL.items() if "cap_add" in service] == [ONE_SHOT]
    assert set(one_shot["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
    assert one_shot["network_mode"] == "none"
    assert one_shot["restart"] == "no"


def test_redis_and_the_workers_reach_nothing_outside_and_nothing_outside_reaches_them() -> None:
    networks = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["networks"]
    assert networks["inside"]["internal"] is True
    assert [name for name in INSIDE if SERVICES[name].get("networks", ["none"]) not in (["inside"], ["none"])] == []
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api", *WATCHERS}


def test_what_watches_is_for_this_machine_alone() -> None:
    assert WATCHERS
    for name in WATCHERS:
        assert [port for port in SERVICES[name]["ports"] if not port.startswith("127.0.0.1:")] == []
        assert [volume for volume in SERVICES[name]["volumes"] if "./" in volume and not volume.endswith(":ro")] == []


def test_whoever_breaks_out_of_a_decoder_can_change_no_model_no_report_and_no_image() -> None:
    assert [volume for volume in SERVICES["model"]["volumes"] if not volume.endswith(":ro")] == []


def test_no_secret_stands_in_a_file_of_the_repository() -> None:
    for path in FILES:
        text = (REPOSITORY / path).read_text()
        assert re.findall(r"PASSWORD: (?!\$\{\w+:-\}$)(.*)", text, re.MULTILINE) == []
        assert "requirepass" not in text
    for service in SERVICES.values():
        told = service.get("environment", {})
        secret = {name: value for name, value in told.items() if name.endswith(("_KEY", "_PASSWORD", "_TOKEN", "_URL"))}
        # Empty unless the user's environment has one; the inner Redis knows its users by their files.
        usual = {name: f"${{{name}:-}}" for name in secret} | {"REDIS_URL": "${REDIS_URL:-redis://redis:6379}"}
        assert {name: value for name, value in secret.items() if value != usual[name]} == {}
