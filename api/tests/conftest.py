"""What the api's tests share: an application with folders of its own, images, a worker that echoes, a real server."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import hypothesis
import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache
from werkzeug.routing import Rule

import settings
import views
from app import create_app
from auth import access
from operate import routes
from pages import assets
from predict import job_queue
from reports import record
from review import suggestions
from server.edge import Site
from sightline_testing import sample_images
from sightline_testing.plugin import EXAMPLES
from sightline_testing.redis_server import RedisServer
from teach import orders
from tests.serving import API, PATIENCE_S, EchoWorker, Served, digest_in, serving
from wire import Producer, RateLimiter, ResultCache
from wire.orders.order_book import OrderBook
from wire.orders.suggestions import Suggestions
from wire.tables.feedback import REPORTS_FILE

# No test judges speed: a busy machine may take any time for an example.
hypothesis.settings.register_profile("sightline", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.load_profile("sightline")

ANSWER = ("tabby", 0.876543)


@pytest.fixture(scope="session", autouse=True)
def compiled() -> Iterator[None]:
    """Compile routes and templates and read assets once for all applications, which takes most of the time of each."""
    compile_rule = Rule.compile
    rules: dict[tuple[str, ...], Rule] = {}

    def once(rule: Rule) -> None:
        said = (rule.defaults, rule.subdomain, rule.host, rule.strict_slashes, rule.merge_slashes)
        first = rules.setdefault((rule.rule, repr(said)), rule)
        if first is rule:
            compile_rule(rule)
            return
        rule._parts, rule._trace, rule._converters = first._parts, first._trace, first._converters
        rule.arguments |= first.arguments
        # These are methods of the first rule, of which they read the converters.
        rule._build, rule._build_unknown = first._build, first._build_unknown

    read, kept = assets.Assets, dict[str, assets.Assets]()

    def read_once(folders: Mapping[str, Path]) -> assets.Assets:
        if not all(API.parent in folder.parents for folder in folders.values()):
            return read(folders)  # a test writes them
        if repr(folders) not in kept:
            kept[repr(folders)] = read(folders)
        return kept[repr(folders)]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Rule, "compile", once)
        patched.setattr(Site, "jinja_options", Site.jinja_options | {"bytecode_cache": CompiledTemplates()})
        patched.setattr(assets, "Assets", read_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def patient() -> Iterator[None]:
    """Have the applications of this process wait for a slow Redis and for workers that stand still for a while."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(job_queue, "Producer", partial(Producer, worker_grace_s=3600.0, redis_timeout_s=PATIENCE_S))
        patched.setattr(job_queue, "ResultCache", partial(ResultCache, timeout_s=PATIENCE_S))
        patched.setattr(access, "RateLimiter", partial(RateLimiter, timeout_s=PATIENCE_S))
        for module in (orders, routes, suggestions):
            patched.setattr(module, "OrderBook", partial(OrderBook, timeout_s=PATIENCE_S))
        patched.setattr(suggestions, "Suggestions", partial(Suggestions, timeout_s=PATIENCE_S))
        yield


class CompiledTemplates(BytecodeCache):
    """The code of each template, in memory."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture
def image() -> bytes:
    return sample_images.jpeg(64, 48)


@pytest.fixture
def uploads_folder(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def application(tmp_path: Path, uploads_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """An application whose files are all in the test's folder, and which has no Redis to ask."""
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(tmp_path / "feedback" / "feedback"))
    application = create_app()
    application.config["UPLOAD_FOLDER"] = str(uploads_folder)
    return application


@pytest.fixture
def client(application: Flask) -> FlaskClient:
    return application.test_client()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images sent to the model; it answers ANSWER to each, without any queue."""
    names: list[str] = []

    def answer(image_name: str) -> tuple[str, float]:
        names.append(image_name)
        return ANSWER

    monkeypatch.setattr(views, "model_predict", answer)
    return names


@pytest.fixture
def queue(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A real, empty Redis that the settings point to."""
    monkeypatch.setattr(settings, "REDIS_IP", redis_server.host)
    monkeypatch.setattr(settings, "REDIS_PORT", redis_server.port)
    yield redis_server
    job_queue.close_queue()


@pytest.fixture
def worker(queue: RedisServer, uploads_folder: Path) -> Iterator[EchoWorker]:
    with EchoWorker(queue.port) as echo:
        echo.digest_of = digest_in(uploads_folder)
        yield echo


Serve = Callable[..., AbstractContextManager[Served]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start the real server on a free port, with its files in the test's folder and the settings given."""
    return lambda **told: serving(tmp_path, told)


@pytest.fixture
def csv_path() -> Path:
    return record.lines_path().with_name(REPORTS_FILE)
