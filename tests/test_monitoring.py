"""The monitoring profile against a real Prometheus: it reads both parts, its alerts load, every panel has data."""

import itertools
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import yaml

from sightline_testing.client import Client
from sightline_testing.plugin import missing
from sightline_testing.redis_server import free_port
from sightline_testing.sample_images import jpeg
from sightline_testing.service import REPOSITORY, running_service
from sightline_testing.waiting import wait_until

MONITORING = REPOSITORY / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboards" / "sightline.json").read_text())
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A Prometheus with our rules and jobs, over a service that has answered something."""
    if shutil.which("prometheus") is None:
        missing("prometheus is not installed: apt install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    metrics_port, port = free_port(), free_port()
    told = {"MODEL_WORKERS": "1", "METRICS_PORT": str(metrics_port)}
    with running_service(folder / "state", told) as service:
        places = {"api": urlsplit(service.url).netloc, "model": f"127.0.0.1:{metrics_port}"}
        process = start(folder, port, places)
        client = Client(f"http://127.0.0.1:{port}")
        try:
            wait_until(lambda: is_up(port), "Prometheus answers", PATIENCE_S)
            wait_until(lambda: value(client, 'sum(up{job=~"api|model"})') == 2, "both are scraped", PATIENCE_S)
            with traffic(Client(service.url)):
                yield client
        finally:
            process.terminate()
            process.wait(timeout=120)


@contextmanager
def traffic(api: Client) -> Iterator[None]:
    """Ask again and again, for what is new and for what is known: only what grows has a rate."""
    stop = threading.Event()

    def ask() -> None:
        for seed in itertools.count():
            for _ in range(2):
                api.upload("/predict", jpeg(seed=seed))
            if stop.wait(0.5):
                return

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield
        finally:
            stop.set()
            asking.result()


def start(folder: Path, port: int, places: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Run Prometheus as it is configured for docker-compose, but for the addresses and the pace."""
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(MONITORING / name) for name in configuration["rule_files"]]
    for job in configuration["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [places[job["job_name"]]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("wb") as log:
        return subprocess.Popen(
            ["prometheus", *options, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log, cwd=folder
        )


def is_up(port: int) -> bool:
    try:
        return Client(f"http://127.0.0.1:{port}").get("/-/ready").status == 200
    except OSError:
        return False


def result(client: Client, query: str) -> list[dict[str, list[str]]]:
    answer = client.get(f"/api/v1/query?{urlencode({'query': query})}").json()
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


def value(client: Client, query: str) -> float | None:
    found = result(client, query)
    return float(found[0]["value"][1]) if found else None


@pytest.mark.parametrize("query", QUERIES)
def test_every_panel_of_the_dashboard_has_data(prometheus: Client, query: str) -> None:
    def values() -> list[str]:
        return [each["value"][1] for each in result(prometheus, query)]

    wait_until(lambda: values() and "NaN" not in values(), f"{query} has data", PATIENCE_S)


def test_every_alert_is_loaded_and_evaluated_and_none_fires_while_all_is_well(prometheus: Client) -> None:
    wanted = {rule["alert"] for rule in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]}

    def rules() -> dict[str, tuple[str, str]]:
        [group] = prometheus.get("/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: (rule["health"], rule["state"]) for rule in group["rules"]}

    wait_until(lambda: set(rules().values()) == {("ok", "inactive")}, "all rules were evaluated", PATIENCE_S)
    assert set(rules()) == wanted


def test_the_rules_are_well_formed_and_fire_when_they_should() -> None:
    if shutil.which("promtool") is None:
        missing("promtool is not installed: apt install prometheus")
    for command in (
        ["check", "rules", "alerts.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "alerts_test.yml"],
    ):
        finished = subprocess.run(["promtool", *command], cwd=MONITORING, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_metric_that_is_asked_for_is_described(prometheus: Client) -> None:
    page = (REPOSITORY / "docs" / "monitoring.md").read_text()
    names = {
        name for name in prometheus.get("/api/v1/label/__name__/values").json()["data"] if name.startswith("sightline_")
    }
    bare = {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count").removesuffix("_created")
        for name in names
    }
    assert {name for name in bare if name not in page and f"{name}_total" not in page} == set()


def test_the_dashboard_takes_any_data_source_and_sees_every_route() -> None:
    [variable] = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}
    rules = (MONITORING / "alerts.yml").read_text()
    assert [text for text in [rules, json.dumps(DASHBOARD)] if 'endpoint="' in text or "endpoint=~" in text] == []
