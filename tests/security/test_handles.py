"""A caller that knows one job of its own tries to find, delete and report those of others; FULL=1: 100,000 tries.

Without API keys it knows the entry and the place of every other job, since both are times; with API keys it is given
whole handles, file names and prediction ids as well, and has a valid key of its own.
"""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest

from sightline_testing.client import Client
from sightline_testing.faults.system import System
from sightline_testing.hostile.measured import Measured
from sightline_testing.sample_images import jpeg
from sightline_testing.service import REPOSITORY, running_service
from sightline_testing.waiting import wait_until
from wire import Address

PATIENT = {
    "REQUEST_TIMEOUT_S": "60",
    "JOB_TIMEOUT_S": "600",
    "MAX_QUEUE_SIZE": "1000",
    "API_WORKERS": "2",
    "ADMIT_WITHOUT_WORKERS": "1",  # the held ones may be held for long
}
# Of a machine that is too slow for a moment.
BUSY = 503
TRIES, ROUNDS = (2_000, 50) if os.environ.get("FULL") else (800, 1)
CONNECTIONS = 4
VICTIMS = 20
NEARBY_MS = 5_000


class Try(NamedTuple):
    """One request of the attacker."""

    method: str
    path: str
    report: dict[str, str] | None = None


@dataclass
class Job:
    """What there is to know of a job once it is answered."""

    handle: str
    filename: str = ""
    prediction_id: str = ""

    @property
    def parts(self) -> tuple[str, str, str]:
        """The secret, the entry and the place."""
        secret, *numbers = self.handle.split("-")
        return secret, "-".join(numbers[:2]), "-".join(numbers[2:])


@dataclass
class Caller:
    """A client that submits jobs, with an API key or without."""

    url: str
    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.key} if self.key else {}

    def hand_in(self, image: bytes) -> Job:
        headers = {**self.headers, "Content-Type": "image/jpeg", "Prefer": "respond-async"}
        answer = Client(self.url).send("POST", "/predict?top_k=1", image, headers)
        assert answer.status == 202, answer.text
        return Job(answer.json()["id"])

    def state(self, job: Job) -> Any:
        answer = Client(self.url).get(f"/jobs/{job.handle}", self.headers)
        assert answer.status == 200, answer.text
        return answer.json()

    def answered(self, job: Job) -> Job:
        wait_until(lambda: self.state(job)["status"] == "done", "the job is done")
        result = self.state(job)["result"]
        return Job(job.handle, result["filename"], result["prediction_id"])


@pytest.fixture(params=[False, True], ids=["without keys", "with keys"])
def has_keys(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def system(tmp_path: Path, has_keys: bool) -> Iterator[System]:
    names = {name: add_key(tmp_path, name) for name in ("victim", "attacker")} if has_keys else {}
    (tmp_path / "keys.json").write_text(json.dumps(names))
    with running_service(tmp_path, {**PATIENT, "MODEL_WORKERS": "1"}) as service:
        assert service.launcher is not None
        address = Address(socket_path=str(service.redis_socket))
        system = System(service.url, tmp_path, service.launcher.pid, address, workers=1)
        system.wait_until_ready()
        yield system


def add_key(state_dir: Path, name: str) -> str:
    command = [sys.executable, "-m", "commands.manage_keys", "--file", str(state_dir / "api_keys"), "add", name]
    return subprocess.run(command, cwd=REPOSITORY / "api", capture_output=True, text=True, check=True).stdout.strip()


def test_who_knows_one_own_job_finds_deletes_and_signs_nothing_of_others(
    system: System, has_keys: bool, measured: Measured
) -> None:
    keys = json.loads((system.state_dir / "keys.json").read_text())
    victim, attacker = (Caller(system.url, keys.get(name, "")) for name in ("victim", "attacker"))
    statuses: Counter[int] = Counter()
    for number in range(ROUNDS):
        statuses += attacked(system, victim, attacker, random.Random(number))  # noqa: S311  the same every time
    measured.told[f"forged handles and names, {'with' if has_keys else 'without'} API keys"] = str(dict(statuses))
    assert statuses.keys() - {BUSY} == {404}
    assert statuses[404] > statuses[BUSY]
    assert not list((system.state_dir / "feedback").glob("feedback*"))


def attacked(system: System, victim: Caller, attacker: Caller, chance: random.Random) -> Counter[int]:
    """Attack answered and waiting jobs, which must be as they were afterwards; answers are kept for two minutes."""
    own = attacker.answered(attacker.hand_in(jpeg(64, 64)))
    answered = [victim.answered(victim.hand_in(jpeg(65 + number, 64))) for number in range(VICTIMS)]
    with system.held_workers():
        waiting = [victim.hand_in(jpeg(200 + number, 64)) for number in range(VICTIMS)]
        tries = (told_all if attacker.key else forged)(own, answered, waiting, chance)
        statuses = attack(attacker, list(islice(tries, TRIES)))
        assert {victim.state(job)["status"] for job in waiting} <= {"pending", "done"}
    for job in waiting:
        victim.answered(job)
    assert [victim.answered(job) for job in answered] == answered
    assert attacker.answered(own) == own
    return statuses


def attack(attacker: Caller, tries: list[Try]) -> Counter[int]:
    """Send every request, over a few connections, and count the statuses."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(
            pool.map(lambda some: send_all(attacker, some), [tries[n::CONNECTIONS] for n in range(CONNECTIONS)]),
            Counter(),
        )


def send_all(attacker: Caller, tries: list[Try]) -> Counter[int]:
    statuses: Counter[int] = Counter()
    parts = urlsplit(attacker.url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    for each in tries:
        body = None if each.report is None else json.dumps(each.report)
        headers = attacker.headers | ({} if body is None else {"Content-Type": "application/json"})
        connection.request(each.method, each.path, body, headers)
        answer = connection.getresponse()
        answer.read()
        statuses[answer.status] += 1
    connection.close()
    return statuses


def forged(own: Job, answered: list[Job], waiting: list[Job], chance: random.Random) -> Iterator[Try]:
    """Give requests made of one own job and of the entries and places of all others, without their secrets."""
    while True:
        other = chance.choice([*answered, *waiting])
        handle = forged_handle(own, other, chance)
        if handle != own.handle:  # a time nearby is now and then the own one
            yield Try(chance.choice(["GET", "DELETE"]), f"/jobs/{quote(handle, safe='')}")
        yield Try("POST", "/feedback", {"prediction_id": forged_prediction(own, other, chance)})
        yield Try("GET", f"/display/{chance.randbytes(16).hex()}.jpg")


def told_all(own: Job, answered: list[Job], waiting: list[Job], chance: random.Random) -> Iterator[Try]:
    """Give requests of a client that has seen everything except the API key of the owner."""
    guesses = forged(own, answered, waiting, chance)
    while True:
        job = chance.choice(answered)
        handle = chance.choice([*answered, *waiting]).handle
        yield Try(chance.choice(["GET", "DELETE", "HEAD"]), f"/jobs/{handle}")
        yield Try(chance.choice(["GET", "HEAD"]), f"/display/{job.filename}")
        yield Try("GET", f"/maps/{job.filename}/tabby.png")
        yield Try("POST", "/feedback", {"filename": job.filename, "label": "mine"})
        yield Try("POST", "/feedback", {"prediction_id": job.prediction_id, "label": "mine"})
        yield next(guesses)


def forged_handle(own: Job, other: Job, chance: random.Random) -> str:
    secret, entry, place = own.parts
    _, their_entry, their_place = other.parts
    milliseconds = int(their_place.partition("-")[0])
    nearby = f"{milliseconds + chance.randint(-NEARBY_MS, NEARBY_MS)}-{chance.choice([0, 1])}"
    public = own.prediction_id.partition(".")[0]
    return chance.choice(
        [
            f"{secret}-{their_entry}-{their_place}",
            f"{secret}-{entry}-{their_place}",
            f"{secret}-{their_entry}-{place}",
            f"{secret}-{nearby}-{nearby}",
            f"{secret}-{entry}-{nearby}",
            f"{public}-{their_entry}-{their_place}",
            f"{chance.randbytes(16).hex()}-{their_entry}-{their_place}",
            f"{'0' * 32}-{their_entry}-{their_place}",
            f"{secret.upper()}-{entry}-{place}" if not secret.isdigit() else "x",
            f"{secret}-{entry}-0{place}",
            f"{secret}-{entry}-{2**64}-0",
            f"{secret}-{their_entry}-{'9' * 20}-{'9' * 20}",
            f"{secret}-{their_entry}-{their_place}\n",
            f"{secret}-{their_entry}-+",
            f"{secret}-{their_entry}-({their_place}",
        ]
    )


def forged_prediction(own: Job, other: Job, chance: random.Random) -> str:
    """Give an id that claims something about an image of another, or a result that the own image does not have."""
    begin, _, rest = own.prediction_id.partition(".")
    signed = bytearray(base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4)))
    signature, note = bytes(signed[:16]), bytes(signed[16:])
    theirs = other.filename or f"{chance.randbytes(16).hex()}.jpg"
    renamed = note.replace(own.filename.encode(), theirs.encode())
    flipped = bytearray(signed)
    flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    public = other.prediction_id.partition(".")[0] or other.parts[0]
    made = chance.choice([signature + renamed, renamed, bytes(16) + renamed, bytes(flipped), signature[:15] + renamed])
    text = base64.urlsafe_b64encode(made).decode().rstrip("=")
    return chance.choice([f"{begin}.{text}", f"{public}.{text}", f".{text}", f"{public}.{rest}"])
