"""Keys, rates and the operator, on services of their own: several processes, real keys, a real Redis."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sightline_testing.api_keys import add_key
from sightline_testing.client import Client
from sightline_testing.sample_images import jpeg
from sightline_testing.service import Service, printed, running_service

PATIENT = {"REQUEST_TIMEOUT_S": "60"}
ALLOWED, ASKED = 60, 400


def test_a_rate_holds_over_several_processes_and_is_told(tmp_path: Path) -> None:
    told = {**PATIENT, "RATE_LIMIT": f"{ALLOWED}/day", "API_WORKERS": "4", "MODEL_WORKERS": "1"}
    with running_service(tmp_path, told) as service, ThreadPoolExecutor(16) as pool:
        client = Client(service.url)
        answers = list(pool.map(lambda number: client.post_form("/feedback", {"report": f"{number}"}), range(ASKED)))
        counted = Counter(answer.status for answer in answers)
        assert counted.keys() == {200, 429}
        # If Redis seems down for a moment, requests are admitted: that may happen on a busy machine, and is logged.
        assert counted[200] >= ALLOWED
        assert counted[200] <= ALLOWED * 1.05 or "not counted for a moment" in printed(tmp_path)
        refused = next(answer for answer in answers if answer.status == 429)
        assert int(refused.headers["Retry-After"]) > 1000
        assert client.get("/readyz").status == 200
        assert len((tmp_path / "feedback" / "feedback").read_text().splitlines()) == counted[200]


def test_keys_are_asked_for_once_there_are_any_and_can_be_replaced_while_it_runs(tmp_path: Path) -> None:
    old = add_key(tmp_path, "alice")
    with running_service(tmp_path, {**PATIENT, "MODEL_WORKERS": "1"}) as service:
        client = Client(service.url)

        def status(key: str, path: str = "/predict") -> int:
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"}
            return client.send("POST", path, jpeg(64, 48), headers).status

        assert client.upload("/predict", jpeg(64, 48)).status == 401
        assert (status("wrong"), status(old)) == (401, 200)
        new = add_key(tmp_path, "alice")
        known = [status(new) for _ in range(1)]
        while known[-1] == 401:  # a change of the file is noticed within a second or so
            known.append(status(new))
        assert known[-1] == 200
        assert status(old) == 200
        assert [client.get(path).status for path in ("/livez", "/readyz")] == [200, 200]
        assert [client.get(path).status for path in ("/", "/feedback", "/display/a.jpg", "/metrics")][:3] == [401] * 3
        operator = (tmp_path / "operator_key").read_text()
        assert status(operator) == 200
        assert operator not in printed(tmp_path)
        assert old not in printed(tmp_path)
        assert new not in printed(tmp_path)


def test_who_listens_to_everybody_without_a_key_is_warned(tmp_path: Path) -> None:
    with running_service(tmp_path, {**PATIENT, "MODEL_WORKERS": "1", "HOST": "0.0.0.0"}):  # noqa: S104
        assert "without API keys: anyone who reaches this port" in printed(tmp_path)


def test_who_listens_to_this_machine_alone_is_not(service: Service, state_dir: Path) -> None:
    assert "anyone who reaches this port" not in printed(state_dir), service.url
