"""Keys and rates, in an application made with the settings of each test; the counting is that of a real Redis."""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient

import settings
import views
from app import create_app
from auth import access
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from tests.conftest import ANSWER
from wire.settings_parser import SettingError

OPERATOR_KEY = "operators-key"
Make = Callable[..., FlaskClient]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Give a client of an application with these settings; the model answers without a queue."""

    def made(**told: Any) -> FlaskClient:
        monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(tmp_path / "feedback" / "feedback"))
        monkeypatch.setattr(views, "model_predict", lambda name: ANSWER)
        for name, value in told.items():
            monkeypatch.setattr(settings, name, value)
        app = create_app()
        app.config["UPLOAD_FOLDER"] = str(tmp_path / "uploads")
        _add_operators_page(app)
        return app.test_client()

    return made


def _add_operators_page(app: Flask) -> None:
    router = Blueprint("operators", __name__)
    router.before_request(access.require_operator)
    router.add_url_rule("/operators", view_func=lambda: "secret", methods=["GET", "POST"])
    app.register_blueprint(router)


@pytest.fixture
def keys_file(tmp_path: Path) -> str:
    path = tmp_path / "keys"
    lines = [f"alice {digest('alices-key')}", f"bob {digest('bobs-key')} 3/hour"]
    path.write_text("\n".join(lines))
    return str(path)


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def ask(client: FlaskClient, image: bytes, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/predict", data={"file": (io.BytesIO(image), "a.jpg")}, headers=named).status_code


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


def test_without_being_told_nobody_needs_a_key_and_nothing_is_asked(make: Make, image: bytes) -> None:
    client = make()
    assert ask(client, image) == 200
    assert len(client.application.before_request_funcs.get(None, [])) == 1  # other sites are refused, no more


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer alices-key"},
        {"Authorization": "bearer alices-key"},
        {"X-API-Key": "alices-key"},
        {"Authorization": basic("alices-key")},
        {"X-API-Key": "bobs-key"},
        {"X-API-Key": OPERATOR_KEY},
    ],
)
def test_a_key_lets_in(make: Make, keys_file: str, image: bytes, headers: dict[str, str]) -> None:
    assert ask(make(API_KEYS_FILE=keys_file, OPERATOR_KEY=OPERATOR_KEY), image, **headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "alices-key"},
        {"Authorization": "Basic alices-key"},
        {"Authorization": basic("")},
        {"Authorization": 'Digest username="alice", response="alices-key"'},
        {"X-API-Key": "alices-key,bobs-key"},
        {"X-API-Key": digest("alices-key")},
        {"X-API-Key": ""},
        {"Cookie": "key=alices-key"},
    ],
)
def test_without_a_known_key_nothing_is_done(
    make: Make, keys_file: str, image: bytes, tmp_path: Path, headers: dict[str, str]
) -> None:
    client = make(API_KEYS_FILE=keys_file, OPERATOR_KEY=OPERATOR_KEY)
    assert ask(client, image, **headers) == 401
    for path in ("/", "/feedback", "/display/a.jpg"):
        assert client.get(path, headers=headers).status_code == 401
    assert client.post("/feedback", data={"report": "x"}, headers=headers).status_code == 401
    assert not (tmp_path / "uploads").exists()
    assert not (tmp_path / "feedback").exists()


def test_the_refusal_says_how_to_bring_a_key(make: Make, keys_file: str) -> None:
    answer = make(API_KEYS_FILE=keys_file).get("/feedback")
    assert answer.json is not None
    assert (answer.json["code"], answer.json["success"]) == ("unauthorized", False)
    assert "Bearer" in answer.json["detail"]
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert "Basic " in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("path", ["/livez", "/assets/css/base.css"])
def test_health_and_the_pages_own_files_need_no_key(make: Make, keys_file: str, path: str) -> None:
    with make(API_KEYS_FILE=keys_file).get(path) as answer:
        assert answer.status_code == 200


def test_a_browser_may_ask_whether_it_may_ask(make: Make, keys_file: str) -> None:
    client = make(API_KEYS_FILE=keys_file, CORS_ORIGINS="https://friend.example")
    answer = client.options("/predict", headers={"Origin": "https://friend.example"})
    assert answer.status_code == 200
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


def test_a_file_of_keys_that_is_no_such_file_ends_the_start(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"API_KEYS_FILE=.*missing"):
        make(API_KEYS_FILE=str(tmp_path / "missing"))
    (tmp_path / "keys").write_text("alice in-clear-text")
    with pytest.raises(SettingError, match="line 1"):
        make(API_KEYS_FILE=str(tmp_path / "keys"))
    with pytest.raises(SettingError, match=r"RATE_LIMIT='often'"):
        make(RATE_LIMIT="often")


@pytest.mark.parametrize("key", ["", "wrong", "alices-key"])
def test_the_operators_pages_need_the_operators_key_whatever_else_is_told(make: Make, keys_file: str, key: str) -> None:
    for told in ({}, {"API_KEYS_FILE": keys_file}):
        client = make(OPERATOR_KEY=OPERATOR_KEY, **told)
        assert client.get("/operators", headers={"X-API-Key": key}).status_code == 401
        assert client.post("/operators", headers={"X-API-Key": key}).status_code == 401
        assert client.get("/operators", headers={"X-API-Key": OPERATOR_KEY}).text == "secret"
        assert client.get("/operators", headers={"Authorization": basic(OPERATOR_KEY)}).text == "secret"


@pytest.mark.parametrize("key", ["", "anything"])
def test_without_an_operators_key_nobody_is_the_operator(make: Make, key: str) -> None:
    assert make(OPERATOR_KEY="").get("/operators", headers={"X-API-Key": key}).status_code == 401


def test_who_has_asked_too_much_is_told_when_to_come_back(make: Make, queue: RedisServer, image: bytes) -> None:
    client = make(RATE_LIMIT="4/hour")
    assert [ask(client, image) for _ in range(6)] == [200] * 4 + [429] * 2
    answer = client.post("/feedback", data={"report": "x"})
    assert answer.json is not None
    assert (answer.status_code, answer.json["code"]) == (429, "rate_limited")
    assert 800 < int(answer.headers["Retry-After"]) <= 900
    assert [client.get(path).status_code for path in ("/", "/feedback", "/livez")] == [200] * 3


def test_each_key_is_counted_by_its_own_rate_and_the_operators_is_not(
    make: Make, queue: RedisServer, keys_file: str, image: bytes
) -> None:
    client = make(API_KEYS_FILE=keys_file, RATE_LIMIT="2/hour", OPERATOR_KEY=OPERATOR_KEY)
    counts = {
        key: [ask(client, image, X_API_Key=key) for _ in range(5)].count(200)
        for key in ("alices-key", "bobs-key", OPERATOR_KEY)
    }
    assert counts == {"alices-key": 2, "bobs-key": 3, OPERATOR_KEY: 5}


@pytest.mark.parametrize(
    ("proxies", "addresses", "allowed"),
    [
        (0, ["203.0.113.1", "203.0.113.2", "203.0.113.3"], 2),
        (1, ["203.0.113.1", "203.0.113.2", "203.0.113.3"], 3),
        (1, ["2001:db8::1", "2001:db8::2", "2001:db8::3"], 2),
        (1, ["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"], 3),
        (1, ["evil, 203.0.113.1", "liar, 203.0.113.1", "::ffff:203.0.113.1"], 2),
    ],
)
@pytest.mark.usefixtures("queue")
def test_addresses_are_those_that_trusted_proxies_tell(
    make: Make, image: bytes, proxies: int, addresses: list[str], allowed: int
) -> None:
    client = make(RATE_LIMIT="2/hour", TRUSTED_PROXIES=proxies)
    assert [ask(client, image, X_Forwarded_For=address) for address in addresses].count(200) == allowed


def test_without_redis_requests_are_not_counted_but_answered(make: Make, image: bytes) -> None:
    client = make(RATE_LIMIT="1/hour", REDIS_PORT=1)
    assert [ask(client, image) for _ in range(3)] == [200] * 3


def several(count: int) -> list[dict[str, Any]]:
    """Give one request of so many images in each way that there is."""
    texts = [base64.b64encode(sample_images.jpeg(seed=seed)).decode() for seed in range(count)]
    files = [(io.BytesIO(sample_images.jpeg(seed=seed)), f"{seed}.jpg") for seed in range(count)]
    return [{"json": {"images": texts}}, {"data": {"file": files}}]


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("way", [0, 1])
def test_each_image_of_a_request_counts(make: Make, image: bytes, way: int) -> None:
    client = make(RATE_LIMIT="20/hour")
    assert client.post("/predict", **several(16)[way]).status_code == 200
    answer = client.post("/predict", **several(6)[way])
    assert (answer.status_code, answer.get_json()["code"]) == (429, "rate_limited")
    assert int(answer.headers["Retry-After"]) > 0
    # Those that were refused are not counted; their request is.
    assert [ask(client, image) for _ in range(4)] == [200, 200, 200, 429]


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize("way", [0, 1])
def test_more_images_than_the_limit_has_in_all_are_told_so(make: Make, way: int) -> None:
    client = make(RATE_LIMIT="10/hour")
    answer = client.post("/predict", **several(16)[way])
    assert (answer.status_code, "Retry-After" in answer.headers) == (429, False)
    assert "16 images" in answer.get_json()["detail"]
    assert "10 requests in 3600 s" in answer.get_json()["detail"]


def test_only_the_hosts_told_are_answered_for(make: Make) -> None:
    client = make(TRUSTED_HOSTS="Sightline.Example, .inside.example *.other.example b\u00fccher.example:8000")
    hosts = {
        "sightline.example": 200,
        "a.inside.example": 200,
        "a.b.other.example:81": 200,
        "xn--bcher-kva.example": 200,
        "127.0.0.1:8000": 200,
        "evil.example": 400,
        "sightline.example.evil": 400,
    }
    assert {host: client.get("/", headers={"Host": host}).status_code for host in hosts} == hosts


@pytest.mark.parametrize("hosts", ["https://sightline.example", "a/b", "a.*.example", "*"])
def test_a_trusted_host_that_no_request_can_have_is_refused_at_start(make: Make, hosts: str) -> None:
    with pytest.raises(SettingError, match=re.escape(f"TRUSTED_HOSTS={hosts!r}")):
        make(TRUSTED_HOSTS=hosts)


@pytest.mark.parametrize("host", ["evil.example:81", "", "a b", "[::1", "user@sightline.example", "\u00e4"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/"), ("GET", "/nowhere"), ("GET", "/review")])
def test_a_foreign_host_is_400_for_browsers_and_programs(make: Make, method: str, path: str, host: str) -> None:
    client = make(TRUSTED_HOSTS="sightline.example")
    for accept in ("text/html", "*/*"):
        answer = client.open(path, method=method, headers={"Host": host, "Accept": accept})
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (400, "malformed")
        assert answer.mimetype == ("text/html" if accept == "text/html" else "application/problem+json")


def test_asking_for_a_job_is_counted(make: Make, queue: RedisServer) -> None:
    client = make(RATE_LIMIT="4/hour")
    paths = [f"/jobs/{number:032x}-1-0-1-0" for number in range(3)]
    assert [client.get(path).status_code for path in paths] == [404] * 3
    assert client.head(paths[0]).status_code == 404
    assert [client.options(path).status_code for path in paths] == [200] * 3
    assert client.get(paths[0]).status_code == 429
