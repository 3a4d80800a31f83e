"""What the doctor finds: each thing is broken once, really."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from doctor import bundles, environment, places, stores, workers
from launcher import settings, state
from launcher.settings import REPOSITORY, Settings
from sightline.findings import Finding
from sightline_testing.faketime import SkewedClock
from sightline_testing.postgres_server import PostgresServer
from sightline_testing.redis_server import free_port
from sightline_testing.s3_server import S3Server

DEFAULT = "efficientnet-lite0/1-int8"


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    state.make_folders(tmp_path)
    told = {"STATE_DIR": str(tmp_path), "PORT": str(free_port()), "PATH": os.environ["PATH"]}
    return settings.read(told)


def named(findings: Iterator[Finding], subject: str) -> Finding:
    return next(finding for finding in findings if finding.subject == subject)


def test_an_installation_in_order_is_said_to_be(own: Settings) -> None:
    found = list(environment.findings(REPOSITORY, own))
    assert [finding.level for finding in found] == ["good"] * 3, found
    assert [finding.subject for finding in found] == ["Python", "packages", "redis-server"]


def test_no_environment_is_told_with_how_to_make_it(own: Settings, tmp_path: Path) -> None:
    found = named(environment.findings(tmp_path, own), "Python")
    assert (found.level, found.remedy) == ("bad", "make install")


def test_an_environment_that_does_not_run_is_told(own: Settings, tmp_path: Path) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'libpython is gone' >&2\nexit 127\n")
    python.chmod(0o755)
    found = named(environment.findings(tmp_path, own), "Python")
    assert found.level == "bad"
    assert "libpython is gone" in found.text
    assert "make install" in found.remedy


def test_packages_that_are_not_as_pinned_are_named(own: Settings, tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    # A link would search for the environment next to itself.
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "requirements").mkdir()
    listed = "pip==1.0 \\\n    --hash=sha256:0\nno-such-package==2.0\nother==1; python_version < '3.0'\n"
    (tmp_path / "requirements" / "serve.txt").write_text(listed)
    found = list(environment.findings(tmp_path, own))
    packages = named(iter(found), "packages")
    assert packages.level == "bad"
    assert packages.text.startswith("2 of 2 are not as pinned: pip is ")
    assert "no-such-package is missing instead of 2.0" in packages.text
    assert "not from this checkout" in named(iter(found), "wire").text


def test_no_redis_is_told_with_the_ways_out(own: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bin" / "redis-server"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.7 sha=0'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{old.parent}:/bin")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = named(environment.findings(REPOSITORY, own), "redis-server")
    assert found.level == "bad"
    assert "redis-server is 5.0" in found.text
    assert "apt install redis-server" in found.remedy


@pytest.fixture
def with_bundles(own: Settings) -> Path:
    folder = own.state_dir / "bundles"
    shutil.copytree(REPOSITORY / "var" / "bundles" / DEFAULT, folder / DEFAULT)
    (folder / "active").write_text(f"{DEFAULT}\n")
    return folder


def test_a_bundle_that_is_whole_and_active_is_good(own: Settings, with_bundles: Path) -> None:
    [found] = bundles.findings(own)
    assert (found.level, found.text) == ("good", f"{DEFAULT} is to be served, of 1 that are there")


def test_a_torn_bundle_is_named_with_its_file(own: Settings, with_bundles: Path) -> None:
    (with_bundles / DEFAULT / "labels.txt").write_text("cat\n")
    found = named(bundles.findings(own), "a bundle")
    assert found.text == f"{DEFAULT}: labels.txt does not match its SHA-256 in bundle.toml"
    assert found.remedy == "make install builds it again"
    (with_bundles / DEFAULT / "labels.txt").unlink()
    assert "cannot be read" in named(bundles.findings(own), "a bundle").text


def test_an_active_version_that_is_not_there_is_told(own: Settings, with_bundles: Path) -> None:
    (with_bundles / "active").write_text("flowers/3\n")
    found = named(bundles.findings(own), "bundles")
    assert found.text == f"flowers/3 is to be served and is missing; there: {DEFAULT}"
    assert "import" in found.remedy


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.write_bytes(b"\xff\xfe"), "can't decode"),
        (lambda path: path.write_bytes(b"\r\n"), "it is empty"),
        (lambda path: path.mkdir(), "it is not a regular file"),
        (os.mkfifo, "it is not a regular file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
    ],
)
def test_an_active_file_that_cannot_be_read_is_told(
    own: Settings, with_bundles: Path, make: Callable[[Path], object], told: str
) -> None:
    (with_bundles / "active").unlink()
    make(with_bundles / "active")
    [found] = bundles.findings(own)
    assert (found.level, "active cannot be read" in found.text, told in found.text) == ("bad", True, True)


@pytest.mark.parametrize(
    ("active", "remedy"),
    [
        ("efficientnet-lite2/1-int8", "make install MODEL=lite2"),
        ("efficientnet-lite0/1-fp32", "make install"),
        ("efficientnet-lite2/2-int8", "sightline models promote another, or import it"),
    ],
)
def test_a_missing_bundle_of_set_up_is_told_with_the_command_that_makes_it(
    own: Settings, active: str, remedy: str
) -> None:
    (bundles.folder(own) / "active").write_text(active)
    assert named(bundles.findings(own), "bundles").remedy == remedy


def test_no_bundle_at_all_is_told(own: Settings) -> None:
    found = named(bundles.findings(own), "bundles")
    assert (found.level, found.remedy) == ("bad", "make install")


def test_little_room_is_a_warning_and_none_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.disk(tmp_path / "not" / "made" / "yet").text.endswith("GiB free")
    monkeypatch.setattr(places, "LITTLE_FREE", shutil.disk_usage(tmp_path).total * 2)
    assert places.disk(tmp_path).level == "warning"
    monkeypatch.setattr(places, "MIN_FREE", shutil.disk_usage(tmp_path).total * 2)
    assert (places.disk(tmp_path).level, "507" in places.disk(tmp_path).remedy) == ("bad", True)


def test_shared_memory_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    assert places.shared_memory(tmp_path).level == "good"
    assert places.shared_memory(tmp_path / "none").level == "warning"


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    assert places.folder("uploads", tmp_path).level == "good"
    assert list(tmp_path.iterdir()) == []
    assert "first start" in places.folder("uploads", tmp_path / "none").text
    (tmp_path / "file").touch()
    found = places.folder("uploads", tmp_path / "file")
    assert (found.level, "cannot be written to" in found.text) == ("bad", True)


def test_a_port_that_another_has_is_told_with_who_it_is(own: Settings) -> None:
    assert places.port("127.0.0.1", own.port, None).level == "good"
    with socket.create_server(("127.0.0.1", own.port)):
        found = places.port("127.0.0.1", own.port, None)
        assert (found.level, f"pid {os.getpid()}" in found.text) == ("bad", True)
        assert "make serve PORT=" in found.remedy
        assert places.port("127.0.0.1", own.port, 77).text == f"{own.port} is taken while the service runs (pid 77)"


def test_who_runs_the_service_on_a_folder_is_known(own: Settings) -> None:
    assert state.holder(own.state_dir) is None
    lock = state.take(own.state_dir)
    assert state.holder(own.state_dir) == os.getpid()
    os.close(lock)
    assert state.holder(own.state_dir) is None


def look(
    *served: str,
    depth: int = 0,
    age_s: float = 0.0,
    startup_error: str = "",
    advice: str = "",
    waiting: int = 0,
    has_trainer: bool = True,
) -> dict[str, object]:
    listed = [{"id": f"w:{number}", "served": each} for number, each in enumerate(served)]
    engine = {"engine": "openvino", "reason": "the processor has AVX2 and no VNNI", "advice": advice}
    state = {"depth": depth, "oldest_age_s": age_s, "startup_error": startup_error}
    orders = {"has_trainer": has_trainer, "waiting": waiting}
    return {"workers": listed, "engine": engine, "orders": orders, **state}


@pytest.mark.parametrize(
    ("seen", "subject", "level", "told"),
    [
        (look("m/1", "m/1"), "worker versions", "good", "all m/1"),
        (look("m/1", "m/2"), "worker versions", "bad", "not equal: w:0 serves m/1, w:1 serves m/2"),
        (look("m/2", "m/2"), "worker versions", "warning", "all serve m/2, but m/1 is active"),
        (look("m/1"), "workers", "warning", "1 of 2 live"),
        (look("m/1", "m/1"), "workers", "good", "2 live"),
        (look(startup_error="labels.txt is missing"), "workers", "bad", "none: labels.txt is missing"),
        (look("m/1", "m/1"), "engine", "good", "openvino: the processor has AVX2 and no VNNI"),
        (look(advice="pip"), "engine", "good", "openvino: the processor has AVX2 and no VNNI (pip)"),
        (look("m/1", "m/1"), "queue", "good", "empty"),
        (look("m/1", "m/1", depth=3, age_s=0.5), "queue", "good", "3 jobs, the oldest for 0.5 s"),
        (look("m/1", "m/1", depth=9, age_s=60), "queue", "bad", "9 jobs, the oldest for 60.0 s"),
        (look(), "trainer", "good", "runs"),
        (look(waiting=2), "trainer", "good", "runs; 2 orders wait"),
        (look(waiting=1, has_trainer=False), "trainer", "bad", "none runs, and 1 order waits for one"),
        (look(has_trainer=False), "trainer", "warning", "none runs; what is ordered on /teach would wait"),
    ],
)
def test_what_the_queue_tells_is_judged(seen: dict[str, object], subject: str, level: str, told: str) -> None:
    found = named(workers.judged(seen, "m/1", 2, has_trainer=True), subject)
    assert (found.level, found.text) == (level, told)
    assert bool(found.remedy) == (level != "good")


def test_a_redis_that_does_not_answer_is_told(own: Settings) -> None:
    told = {**own.environment, "REDIS_IP": "127.0.0.1", "REDIS_PORT": str(free_port())}
    [found] = workers.findings(settings.read(told))
    assert (found.subject, found.level) == ("Redis", "bad")


def test_a_setting_that_cannot_be_is_the_first_thing_told() -> None:
    finished = subprocess.run(
        [sys.executable, REPOSITORY / "deploy" / "examine.py"],
        env={"PORT": "eighty", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "PORT='eighty' is not a whole number" in finished.stdout


def test_it_needs_no_package(own: Settings) -> None:
    finished = subprocess.run(
        [sys.executable, "-E", "-S", REPOSITORY / "deploy" / "examine.py", "--url", "http://127.0.0.1:1"],
        env=dict(own.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1, finished.stderr
    assert "✗ answers" in finished.stdout
    assert "start it (`make serve`)" in finished.stdout


def test_lines_of_reports_that_cannot_be_read_are_told(own: Settings) -> None:
    folder = own.state_dir / "feedback"
    assert list(places.unread_lines(folder)) == []
    folder.mkdir(exist_ok=True)
    (folder / "feedback.csv").write_text("report_id,image_path\nr-1,a.jpg\nr-2,a.jpg,too,many\n")
    environment = {"PYTHONPATH": ".", "FEEDBACK_FILEPATH": str(folder / "feedback")}
    made = subprocess.run(
        [sys.executable, "-m", "commands.index_reports"], cwd=REPOSITORY / "api", env=environment, check=False
    )
    assert made.returncode == 1
    [found] = places.unread_lines(folder)
    assert (found.level, found.subject) == ("warning", "reports")
    assert "the first: feedback.csv, line 3 has 4 cells, the header names 2" in found.text


def sentinel(place: str, **told: str) -> dict[str, str]:
    return {"subject": "sentinel", "place": place, **told}


@pytest.mark.parametrize(
    ("states", "level", "told"),
    [
        ([{"subject": "images", "said": "s3://a takes images"}], "good", "s3://a takes images"),
        ([{"subject": "image expiry", "said": ""}], "warning", "grows for ever"),
        ([{"subject": "clock of S3", "said": "", "fault": "behind by 90 s", "kind": "skew"}], "warning", "90 s"),
        ([sentinel("a", said="r:1"), sentinel("b", said="r:1")], "good", "2 of 2 answer; the primary is r:1"),
        ([sentinel("a", said="r:1"), sentinel("b", said="r:2")], "warning", "a names r:1, b names r:2"),
        ([sentinel("a", said="r:1"), sentinel("b", fault="refused")], "bad", "1 of 2 answer, too few"),
        ([*(sentinel(each, said="r:1") for each in "ab"), sentinel("c", fault="refused")], "warning", "c: refused"),
    ],
)
def test_what_is_known_of_shared_stores_is_judged(states: list[dict[str, str]], level: str, told: str) -> None:
    [found] = stores.judged(states)
    assert (found.level, told in found.text) == (level, True), found
    assert bool(found.remedy) == (level != "good")


def test_shared_stores_that_are_away_are_told_with_the_remedies(own: Settings) -> None:
    assert not stores.are_named(own)
    away = f"127.0.0.1:{free_port()}"
    told = {
        "IMAGE_STORE": "s3://images/prefix",
        "MODEL_STORE": "s3://images/models",
        "S3_ENDPOINT": f"http://{away}",
        "S3_ACCESS_KEY_ID": "key",
        "S3_SECRET_ACCESS_KEY": "a secret",
        "DATABASE_URL": f"postgresql://user:a-password@{away}/reports",
        "REDIS_URL": f"redis+sentinel://{away}/main",
    }
    named_stores = settings.read({**own.environment, **told})
    assert stores.are_named(named_stores)
    found = {finding.subject: finding for finding in stores.findings(named_stores)}
    assert {subject: finding.level for subject, finding in found.items()} == {
        "images": "bad",
        "image expiry": "warning",
        "shared models": "bad",
        "clock of S3": "good",
        "database": "bad",
        "Sentinels": "bad",
    }
    assert "Connect" in found["images"].text
    assert "refused" in found["database"].text
    assert "password" not in str(found)
    assert "DATABASE_URL" in found["database"].remedy


def test_shared_stores_that_serve_are_said_to_and_what_they_lack_is_told(
    own: Settings, s3_server: S3Server, postgres_process: PostgresServer, tmp_path: Path
) -> None:
    told = {**s3_server.settings, "IMAGE_STORE": "s3://images/doctor", "MODEL_STORE": "s3://images/doctor-models"}
    postgres_process.execute("CREATE DATABASE untouched")
    for database, remedy in (("reports", ""), ("untouched", "make migrate")):
        told["DATABASE_URL"] = postgres_process.url(database)
        found = {each.subject: each for each in stores.findings(settings.read({**own.environment, **told}))}
        assert found["database"].remedy.startswith(remedy), found
        assert found["database"].level == ("bad" if remedy else "good")
    assert found["images"].text == "s3://images/doctor takes images"
    assert found["shared models"].text == "s3://images/doctor-models has no version"
    assert (found["image expiry"].level, "make image-expiry" in found["image expiry"].remedy) == ("warning", True)
    assert found["clock of S3"].level == "good"
    told |= SkewedClock(tmp_path / "skewed", 1200).environment()
    found = {each.subject: each for each in stores.findings(settings.read({**own.environment, **told}))}
    for subject, level in (("images", "bad"), ("shared models", "bad"), ("clock of S3", "warning")):
        assert (found[subject].level, "chronyc" in found[subject].remedy) == (level, True)
        assert "clock is ahead of that of the S3 server by 1" in found[subject].text


def test_a_trainer_that_nobody_wants_is_not_missed() -> None:
    found = named(workers.judged(look(has_trainer=False), "m/1", 2, has_trainer=False), "trainer")
    assert (found.level, found.text) == ("good", "none, because of TRAINER=0")
