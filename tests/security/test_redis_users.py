"""The whole service under the users that docker-compose gives it: each may do what it has to, and nothing else."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sightline_testing.client import Client
from sightline_testing.redis_server import RedisServer, free_port, redis_binaries
from sightline_testing.sample_images import good, jpeg
from sightline_testing.service import BUNDLES, REPOSITORY
from sightline_testing.waiting import wait_until
from wire import Address, Answer, AsyncJobs, Consumer, Job, Producer, QueueUnavailable, RateLimiter
from wire.consumer.maintenance import Maintenance
from wire.producer.admission import SUBMIT, Terms
from wire.rate_limit import Rate
from wire.redis.connection import Connection
from wire.redis.keys import GROUP, Keys
from wire.redis.pipeline import Pipeline
from wire.redis.resp import checked, pack

QUEUE = "sightline"
USERS = REPOSITORY / "deploy" / "redis" / "users.acl"
# May look at what was refused; no part of what is delivered.
AUDITOR = "user auditor on >auditor ~* &* +@all\n"
PATIENCE_S = 120.0
DENIED = ("FLUSHALL", "KEYS *", "CONFIG GET dir", "GET other", "SET other x", "MODULE LIST", "REPLICAOF NO ONE", "SAVE")
MAKE_SECRETS = """
import sys
from pathlib import Path
from prepare_volumes import make_secrets
folder, queue, template = sys.argv[1:]
make_secrets(Path(folder), queue, Path(template))
"""
DENIED_TO = {
    "sightline-api": ("XREADGROUP GROUP workers x COUNT 1 STREAMS {sightline}:jobs >", "HSET {sightline}:workers x y"),
    "sightline-worker": ("EVAL return,1 0", "XTRIM {sightline}:jobs MAXLEN 0", "DEL {sightline}:jobs"),
    "sightline-operator": ("HSET {sightline}:workers x y", "XREADGROUP GROUP workers x STREAMS {sightline}:jobs >"),
    "sightline-trainer": ("XREADGROUP GROUP workers x STREAMS {sightline}:jobs >", "XACK {sightline}:jobs workers 1-0"),
}


@dataclass(frozen=True)
class Redis:
    """A Redis with the delivered users."""

    server: RedisServer
    secrets: Path

    def address(self, user: str) -> Address:
        return Address(port=self.server.port, username=user, password=self.password(user))

    def password(self, user: str) -> str:
        return (self.secrets / user.removeprefix("sightline-") / "redis_password").read_text()

    def ask(self, address: Address, *words: str) -> object:
        connection = Connection(address, "test")
        try:
            return checked(connection.exchange(pack(*words), 1, 10.0)[0])
        finally:
            connection.close()

    def refused(self) -> object:
        return self.ask(Address(port=self.server.port, username="auditor", password="auditor"), "ACL", "LOG")  # noqa: S106


class GuardedServer(RedisServer):
    """A server that requires a password, also from this class."""

    def _wait_until_it_answers(self, process: "subprocess.Popen[bytes]") -> None:
        wait_until(lambda: process.poll() is not None or b"NOAUTH" in self.answer_to_a_stranger(), "Redis answers")
        assert process.poll() is None, Path(self.folder, "redis.log").read_text()

    def answer_to_a_stranger(self) -> bytes:
        try:
            return self.command("PING")
        except OSError:
            return b""


def make_secrets(folder: Path, queue: str) -> None:
    """Do what docker-compose's one-shot does."""
    command = [sys.executable, "-c", MAKE_SECRETS, str(folder), queue, str(USERS)]
    subprocess.run(command, env={"PYTHONPATH": str(REPOSITORY / "deploy")}, check=True)


@pytest.fixture(scope="module", params=sorted(redis_binaries()))
def redis(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder = tmp_path_factory.mktemp("redis")
    make_secrets(folder / "secrets", QUEUE)
    users = folder / "users.acl"
    users.write_text((folder / "secrets" / "redis" / "users.acl").read_text() + AUDITOR)
    server = GuardedServer(redis_binaries()[request.param], folder, "--aclfile", str(users))
    server.start()
    yield Redis(server, folder / "secrets")
    server.close()


@contextmanager
def program(root: str, script: str, user: str, redis: Redis, **told: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (redis.secrets.parent / f"{user}.log").open("wb") as log:
        command = [sys.executable, script]
        process = subprocess.Popen(
            command, cwd=REPOSITORY / root, env=environment(user, redis, **told), stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def environment(user: str, redis: Redis, **told: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("REDIS_")},
        "PYTHONPATH": ".",
        "REDIS_PORT": str(redis.server.port),
        "REDIS_USERNAME": user,
        "REDIS_PASSWORD_FILE": str(redis.secrets / user.removeprefix("sightline-") / "redis_password"),
        "UPLOAD_FOLDER": str(redis.secrets.parent / "uploads"),
        **told,
    }


@pytest.fixture(scope="module")
def client(redis: Redis) -> Iterator[Client]:
    port = free_port()
    told = {"PORT": str(port), "HOST": "127.0.0.1", "RATE_LIMIT": "1000/second", "REQUEST_TIMEOUT_S": "60"}
    told["FEEDBACK_FILEPATH"] = str(redis.secrets.parent / "feedback" / "feedback")
    with ExitStack() as stack:
        stack.enter_context(program("model", "ml_service.py", "sightline-worker", redis, BUNDLES_FOLDER=str(BUNDLES)))
        stack.enter_context(program("api", "app.py", "sightline-api", redis, **told))
        client = Client(f"http://127.0.0.1:{port}")
        wait_until(lambda: is_ready(client), "the service is ready", PATIENCE_S)
        yield client


def is_ready(client: Client) -> bool:
    try:
        return client.get("/readyz").status == 200
    except OSError:
        return False


def run(redis: Redis, user: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=REPOSITORY / "model",
        env=environment(user, redis),
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_works_and_nothing_is_refused(redis: Redis, client: Client) -> None:
    answer = client.upload("/predict", good("baseline.jpg").content)
    assert (answer.status, answer.json()["prediction"]) == (200, "analog_clock")
    assert [client.upload("/predict", jpeg(64, 48, seed=seed)).status for seed in range(20)] == [200] * 20
    assert client.upload("/predict", b"\xff\xd8\xff broken").status == 422
    assert client.post_form("/feedback", {"report": "x"}).status == 200
    api = redis.address("sightline-api")
    redis.ask(api, "XADD", Keys(QUEUE).jobs, "*", "job", "hostile")
    worker = run(redis, "sightline-worker", "cli.healthcheck")
    assert worker.returncode == 0, worker.stderr
    letters = run(redis, "sightline-operator", "cli.dead_letters", "list")
    assert "undecodable" in letters.stdout, letters.stderr
    assert run(redis, "sightline-operator", "cli.dead_letters", "drop").returncode == 0
    assert redis.refused() == []


@pytest.fixture(params=sorted(redis_binaries()))
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Redis]:
    """A Redis with the delivered users that keeps its data in an append-only file, as docker-compose has it."""
    make_secrets(tmp_path / "secrets", QUEUE)
    users = tmp_path / "users.acl"
    users.write_text((tmp_path / "secrets" / "redis" / "users.acl").read_text() + AUDITOR)
    options = ("--aclfile", str(users), "--appendonly", "yes", "--appendfsync", "everysec")
    server = GuardedServer(redis_binaries()[request.param], tmp_path, *options)
    server.start()
    yield Redis(server, tmp_path / "secrets")
    server.close()


LOOKS: dict[object, tuple[str, ...]] = {
    b"stream": ("XRANGE", "{}", "-", "+"),
    b"zset": ("ZRANGE", "{}", "0", "-1", "WITHSCORES"),
    b"string": ("GET", "{}"),
}


def held(redis: Redis) -> dict[str, object]:
    """Return what the queue's streams, groups and buckets hold."""
    auditor = wait_until_loaded(redis)
    found: dict[str, object] = {}
    names = redis.ask(auditor, "KEYS", "*")
    assert isinstance(names, list)
    for name in map(bytes.decode, names):
        found[name] = redis.ask(auditor, *(word.format(name) for word in LOOKS[redis.ask(auditor, "TYPE", name)]))
    jobs = Keys(QUEUE).jobs
    pending = redis.ask(auditor, "XPENDING", jobs, GROUP, "-", "+", "1000")
    assert isinstance(pending, list)
    found["pending"] = [(entry_id, consumer) for entry_id, consumer, *_ in pending]
    return found


def wait_until_loaded(redis: Redis) -> Address:
    """Return the auditor; clients without a password are refused during the load, so the server seems ready."""
    auditor = Address(port=redis.server.port, username="auditor", password="auditor")  # noqa: S106  a test's own
    wait_until(lambda: is_loaded(redis, auditor), "Redis has loaded its file")
    return auditor


def is_loaded(redis: Redis, user: Address) -> bool:
    try:
        return redis.ask(user, "DBSIZE") is not None
    except QueueUnavailable:
        return False


def use(redis: Redis) -> None:
    """Do every transaction and script of both sides: jobs answered, in hand and waiting, one for later, a bucket."""
    api, worker = redis.address("sightline-api"), redis.address("sightline-worker")
    consumers = [new_consumer(worker) for _ in range(2)]
    terms = Terms(Keys(QUEUE).jobs, Keys(QUEUE).expensive, cost=3.0)
    jobs = [Job(str(number), "cat.jpg", "producer", 60_000) for number in range(30)]
    Pipeline.to(api).run(SUBMIT, [terms.words(Keys(QUEUE), each.encode()) for each in jobs], PATIENCE_S)
    for consumer, count in ((consumers[0], 8), (consumers[1], 8), (consumers[0], 1)):
        batch = consumer.receive(count, 0) or consumer.receive(count, 0)
        consumer.answer([(each, Answer(each.job.id, (("tabby", 0.5),), "none", "0")) for each in batch])
    assert len(consumers[0].receive(4, 0)) == 4  # in hand
    for consumer in reversed(consumers):
        consumer.close()  # the one that holds nothing takes its consumer with it
    limiter = RateLimiter(api, QUEUE, timeout_s=PATIENCE_S)
    producer = Producer(api, QUEUE, timeout_s=60.0, redis_timeout_s=PATIENCE_S)
    AsyncJobs(producer, max_jobs=10).enqueue("dog.jpg", timeout_s=60.0)
    limiter.wait_s("alice", Rate(10, 3600.0))


def new_consumer(worker: Address, lease_ms: int = 60_000) -> Consumer:
    return Consumer(worker, QUEUE, "consumer", lease_ms=lease_ms, max_batch_s=60)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_redis_that_is_started_again_has_what_it_had(durable: Redis, end: str) -> None:
    """Loading the append-only file, Redis judges transactions by the rights of its default user."""
    use(durable)
    before = held(durable)
    getattr(durable.server, end)()
    durable.server.start()
    log = (durable.server.folder / "redis.log").read_text()
    assert "NOPERM" not in log
    assert held(durable) == before
    assert b"NOAUTH" in durable.server.command("PING")


def test_what_a_restart_brought_back_is_cleared_whatever_the_users(durable: Redis) -> None:
    """Under a default user without rights, Redis 7 brings back jobs that were answered, in nobody's hands."""
    users = durable.server.folder / "users.acl"
    users.write_text(users.read_text().replace("user default off resetpass ~* &* +@all", "user default off"))
    durable.server.stop()
    durable.server.start()
    use(durable)
    durable.server.stop()
    durable.server.start()
    wait_until_loaded(durable)
    worker = durable.address("sightline-worker")
    upkeep = Maintenance(worker, QUEUE, "upkeep", lease_ms=1, max_batch_s=60)
    upkeep.sweep()
    upkeep.stop()
    consumer = new_consumer(worker, lease_ms=1)

    def is_empty() -> bool:
        batch = consumer.receive(100, 0)
        consumer.answer([(each, Answer(each.job.id, (("tabby", 0.5),), "none", "0")) for each in batch])
        return durable.ask(worker, "XLEN", Keys(QUEUE).jobs) == 0

    wait_until(is_empty, "the queue is empty")
    consumer.close()


def test_without_its_password_nobody_is_anybody(redis: Redis) -> None:
    assert b"NOAUTH" in redis.server.command("PING")
    for user in ("default", "sightline-api", "sightline-worker", "sightline-operator", "sightline-trainer"):
        for password in ("", "wrong", redis.password("sightline-api") if user != "sightline-api" else "api"):
            with pytest.raises(QueueUnavailable):
                redis.ask(Address(port=redis.server.port, username=user, password=password), "TIME")


@pytest.mark.parametrize("user", DENIED_TO)
def test_nobody_may_do_what_is_not_its_own(redis: Redis, user: str) -> None:
    for command in (*DENIED, *DENIED_TO[user]):
        with pytest.raises(QueueUnavailable, match="permission"):
            redis.ask(redis.address(user), *command.split())


def test_passwords_are_made_once_and_redis_knows_their_hashes_alone(tmp_path: Path) -> None:
    make_secrets(tmp_path, QUEUE)
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    make_secrets(tmp_path, "other")
    users = (tmp_path / "redis" / "users.acl").read_text()
    assert "{other}:*" in users
    assert "{QUEUE}" not in users
    assert "nopass" not in users
    assert [line for line in users.splitlines() if not re.search(r" off resetpass | on #[0-9a-f]{64} ", line)] == []
    for path, content in before.items():
        if path.name != "users.acl":
            assert path.read_text() == content
            assert path.stat().st_mode & 0o777 == 0o400
            assert content not in users
    assert len({content for path, content in before.items() if path.name != "users.acl"}) == len(before) - 1
    assert {path.name for path in tmp_path.iterdir()} == {"api", "worker", "operator", "trainer", "redis"}


def test_the_documented_rights_are_the_delivered_ones() -> None:
    [documented] = re.findall(r"```acl\n(.*?)```", (REPOSITORY / "docs" / "wire.md").read_text(), re.DOTALL)
    assert USERS.read_text() == "user default off resetpass ~* &* +@all\n" + documented


def test_compose_gives_each_service_its_own_user_and_no_ones_secrets_but_its_own() -> None:
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    # The environment comes first: users who name their own Redis name its user, too.
    users = {name: service.get("environment", {}).get("REDIS_USERNAME", "") for name, service in services.items()}
    usual = {name: re.sub(r"^\$\{REDIS_USERNAME-(.*)\}$", r"\1", user) for name, user in users.items() if user}
    assert usual == {
        "api": "sightline-api",
        "model": "sightline-worker",
        "operator": "sightline-operator",
        "trainer": "sightline-trainer",
    }
    mounted = {
        name: [volume for volume in service.get("volumes", []) if "secrets" in volume or "users" in volume]
        for name, service in services.items()
    }
    assert mounted["api"] == ["api-secrets:/src/secrets:ro"]
    assert mounted["model"] == ["worker-secrets:/src/secrets:ro"]
    assert mounted["operator"] == ["operator-secrets:/src/secrets:ro"]
    assert mounted["trainer"] == ["trainer-secrets:/src/secrets:ro"]
    assert mounted["redis"] == ["redis-users:/run/users:ro"]
    assert "--aclfile /run/users/users.acl" in services["redis"]["command"]
