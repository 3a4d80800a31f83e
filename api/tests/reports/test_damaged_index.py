"""After any damage to its files, the index is built again from the CSV files, and no request fails for it."""

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import settings
from storage.reports import index as reports_index

KEY = "the operator's key"
HEADERS = {"X-API-Key": KEY}
REPORTS = 30
# The first meets the damage, and shows most of the reports; to render each takes most of the time.
PAGES = (
    "/review?status=all",
    "/review?status=accepted&label=lynx&size=5",
    "/review?model=net/7&size=5",
    "/review/cases.csv",
)
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def reported() -> dict[str, bytes]:
    """The files of the reports, once a test has sent them."""
    return {}


@pytest.fixture
def index_path(
    client: FlaskClient, csv_path: Path, reported: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The database of some reports, of which one is decided; nothing of it is in the log any more."""
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)
    if reported:
        csv_path.parent.mkdir(parents=True, exist_ok=True)
        for name, content in reported.items():
            csv_path.with_name(name).write_bytes(content)
    else:
        report_all(client)
        reported.update({path.name: path.read_bytes() for path in (csv_path, Path(settings.FEEDBACK_FILEPATH))})
    decide(client)
    path = csv_path.with_name("reports.sqlite3")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def report_all(client: FlaskClient) -> None:
    for number in range(REPORTS):
        report = f"{{'filename': 'a{number}.jpg', 'prediction': 'tabby', 'score': 0.5}}"
        more = {"label": "lynx", "comment": f"report {number} " + "x" * 1980, "model": "net", "model_version": "7"}
        assert client.post("/feedback", data={"report": report, **more}).status_code == 200


def look(client: FlaskClient) -> list[int]:
    """The status of everything that reads the index, and how many images were reported."""
    answers = [client.get(path, headers=HEADERS) for path in PAGES]
    [counted] = answers[0].text.split('data-count="all">')[1:] or ["-1<"]
    return [*(answer.status_code for answer in answers), int(counted.split("<")[0])]


def decide(client: FlaskClient) -> None:
    report_id = client.get("/review?size=5", headers=HEADERS).text.split('data-report="')[1].split('"')[0]
    body = {"report_id": report_id, "decision": "accept"}
    assert client.post("/review/decisions", json=body, headers=HEADERS).status_code == 201


def overwritten(begin: float, end: float, byte: bytes = b"\xa5") -> Damage:
    """Overwrite a part of the file, in shares of its size."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        first, last = int(begin * len(content)), int(end * len(content))
        content[first:last] = byte * (last - first)
        path.write_bytes(content)

    return damage


def with_bytes_at(offset: int, data: bytes) -> Damage:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[offset : offset + len(data)] = data
        path.write_bytes(content)

    return damage


def truncated(share: float) -> Damage:
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def replaced_by(make: Damage) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    (path / "in it").mkdir(parents=True)


def with_a_folder_as(suffix: str) -> Damage:
    def damage(path: Path) -> None:
        beside = path.with_name(path.name + suffix)
        beside.unlink(missing_ok=True)
        (beside / "in it").mkdir(parents=True)

    return damage


def with_garbage_as(suffix: str) -> Damage:
    def damage(path: Path) -> None:
        path.with_name(path.name + suffix).write_bytes(os.urandom(40_000))

    return damage


def with_the_log_of_another(path: Path) -> None:
    """A log that was left behind by a database that stood here before."""
    other = path.with_name("other.sqlite3")
    with closing(sqlite3.connect(other, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript("CREATE TABLE other (a); INSERT INTO other VALUES (zeroblob(9000))")
        path.with_name(path.name + "-wal").write_bytes(other.with_name(other.name + "-wal").read_bytes())


def changed_by(*statements: str) -> Damage:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            for statement in statements:
                database.execute(statement)

    return damage


DAMAGES: dict[str, Damage] = {
    "the first half": overwritten(0.0, 0.5),
    "a page in the middle": overwritten(0.45, 0.55),
    "all but the first page": overwritten(0.1, 1.0),
    "zeros at the end": overwritten(0.5, 1.0, b"\0"),
    "the name in the header": with_bytes_at(0, b"no database"),
    "the page size in the header": with_bytes_at(16, b"\x03\x07"),
    "the version in the header": with_bytes_at(18, b"\x09\x09"),
    "the schema's page": with_bytes_at(100, b"\xff" * 400),
    "empty": truncated(0.0),
    "a hundred bytes": lambda path: os.truncate(path, 100),
    "half": truncated(0.5),
    "a folder": replaced_by_a_folder,
    "a link to nothing": replaced_by(lambda path: path.symlink_to(path.with_name("nothing") / "here")),
    "a pipe": replaced_by(os.mkfifo),
    "a folder as log": with_a_folder_as("-wal"),
    "a folder as shared memory": with_a_folder_as("-shm"),
    "garbage as log": with_garbage_as("-wal"),
    "garbage as shared memory": with_garbage_as("-shm"),
    "garbage as journal": with_garbage_as("-journal"),
    "the log of another": with_the_log_of_another,
    "no table": changed_by("DROP TABLE reports"),
    "no marks": changed_by("DROP TABLE sources"),
    "no faults": changed_by("DROP TABLE faults"),
    "a column less": changed_by("ALTER TABLE reports DROP COLUMN comment"),
    "a mark that is none": changed_by("UPDATE sources SET layouts = '{'"),
    "a mark of another type": changed_by("UPDATE sources SET layouts = '[[1, 2]]', tail = 7"),
    "a text that is none": changed_by("UPDATE reports SET comment = CAST(x'ff41' AS TEXT)"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_index_is_made_anew(client: FlaskClient, index_path: Path, name: str) -> None:
    DAMAGES[name](index_path)
    right = [200] * len(PAGES) + [REPORTS]
    assert look(client) == right
    decide(client)
    assert look(client) == right
    assert client.get("/review/cases.csv", headers=HEADERS).data.count(b"accepted") == 2
    with closing(sqlite3.connect(f"file:{index_path}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM reports").fetchone() == (REPORTS,)


def test_a_keyed_report_is_kept_once_whatever_the_index_is_like(
    client: FlaskClient, index_path: Path, asked: list[str], image: bytes
) -> None:
    said = client.post("/predict", data=image, content_type="image/jpeg").headers["X-Prediction-Id"]
    for damage in (overwritten(0.0, 1.0), replaced_by_a_folder, truncated(0.3), overwritten(0.4, 0.6)):
        damage(index_path)
        index_path.with_name(".report_keys").unlink(missing_ok=True)
        answer = client.post("/feedback", json={"prediction_id": said}, headers={"Idempotency-Key": "one"})
        assert answer.status_code == 201
    assert look(client)[-1] == REPORTS + 1


def test_many_readers_of_a_damaged_index_see_everything(client: FlaskClient, index_path: Path) -> None:
    index = reports_index.ReportIndex(index_path.parent)

    def count(number: int) -> int:
        if number % 8 == 0:
            overwritten(0.3, 0.6)(index_path)
        return int(index.read(lambda database: database.execute("SELECT count(comment) FROM reports").fetchone()[0]))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(count, range(64))) == {REPORTS}


def test_a_lock_that_somebody_else_holds_is_left_behind(
    client: FlaskClient, index_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports_index, "BUSY_S", 0.2)
    with closing(sqlite3.connect(index_path, isolation_level=None)) as database:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("BEGIN EXCLUSIVE")
        database.execute("UPDATE reports SET comment = ''")
        assert look(client) == [200] * len(PAGES) + [REPORTS]


def test_where_no_index_can_be_kept_the_reports_are_read_all_the_same(client: FlaskClient, index_path: Path) -> None:
    index_path.with_name(".reports.lock").unlink()
    index_path.with_name(".reports.lock").mkdir()
    overwritten(0.0, 1.0)(index_path)
    assert look(client) == [200] * len(PAGES) + [REPORTS]
    decide(client)
