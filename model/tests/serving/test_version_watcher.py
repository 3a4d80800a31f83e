"""How a worker follows the version that it must serve; loading is a function here, the polls are real."""

import fcntl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import ml_service
import settings
from inference import model
from inference.errors import BundleError, VersionError
from inference.model import Model
from registry.activation import Trial
from serving.version_watcher import Slot, VersionWatcher
from tests.bundle_copies import copied, sealed


@dataclass
class Seen:
    """The input of a watcher, and the versions that it has passed on."""

    ready: Model
    wanted: tuple[Path, Trial | None] | Exception
    tried: list[str] = field(default_factory=list)
    serves: list[str] = field(default_factory=list)
    shadows: list[float] = field(default_factory=list)

    def want(self) -> tuple[Path, Trial | None]:
        if isinstance(self.wanted, Exception):
            raise self.wanted
        return self.wanted

    def load(self, folder: Path) -> Model:
        self.tried.append(folder.name)
        if folder.name == "torn":
            raise BundleError("it is torn")
        return self.ready

    def slots(self) -> tuple[Slot, Slot]:
        served = Slot(self.load, lambda *_: self.serves.append(self.tried[-1]))
        return served, Slot(self.load, lambda _, share: self.shadows.append(share), lambda: self.shadows.append(0))

    def watcher(self, serving: Path = Path("b/m/1"), report: Callable[[str], bool] = lambda _: True) -> VersionWatcher:
        return VersionWatcher(self.want, serving, *self.slots(), report=report)


@pytest.fixture(scope="module")
def ready(bundles: Path) -> Model:
    return model.load(bundles / "efficientnet-lite0" / "1-int8", "openvino", streams=1, cores=1)


@pytest.fixture
def seen(ready: Model) -> Seen:
    return Seen(ready, (Path("b/m/1"), None))


def test_another_version_is_loaded_and_handed_over_once(seen: Seen) -> None:
    watcher = seen.watcher()
    watcher.poll()
    assert seen.tried == []
    seen.wanted = Path("b/m/2"), None
    watcher.poll()
    watcher.poll()
    assert seen.serves == seen.tried == ["2"]


def test_a_version_that_cannot_be_loaded_is_not_tried_at_each_look(seen: Seen) -> None:
    watcher = seen.watcher()
    seen.wanted = Path("b/m/torn"), None
    watcher.poll()
    watcher.poll()
    assert (seen.tried, seen.serves) == (["torn"], [])
    seen.wanted = Path("b/m/1"), None
    watcher.poll()
    assert seen.tried == ["torn"]


def test_other_content_under_the_same_name_is_loaded(seen: Seen, bundles: Path, tmp_path: Path) -> None:
    folder = copied(bundles, tmp_path / "m" / "1")
    seen.wanted = folder, None
    watcher = seen.watcher(folder)
    watcher.poll()
    assert seen.tried == []
    sealed(folder, labels=(folder / "labels.txt").read_bytes() + b"another\n")
    for _ in range(2):
        watcher.poll()
    assert seen.tried == seen.serves == ["1"]
    (folder / "bundle.toml").unlink()
    watcher.poll()
    assert seen.tried == ["1"]


def test_what_cannot_be_followed_is_reported_until_it_can(seen: Seen) -> None:
    reported: list[str] = []

    def report(reason: str) -> bool:
        reported.append(reason)
        return len(reported) > 1  # Redis was away at first

    watcher = seen.watcher(report=report)
    steps: list[tuple[Path, Trial | None] | Exception] = [
        (Path("b/m/1"), None),
        (Path("b/m/torn"), Trial("m/torn", 0.5)),
        BundleError("active is empty"),
        (Path("b/m/1"), Trial("m/torn", 0.5)),
        (Path("b/m/2"), None),
    ]
    for seen.wanted in steps:
        for _ in range(3):
            watcher.poll()
    torn = f"{Path('b/m/torn')} cannot be loaded: it is torn"
    assert reported == [f"{torn}; {torn}", f"{torn}; {torn}", "active is empty", torn, ""]
    assert seen.tried == ["torn", "torn", "2"]


def test_an_active_file_that_becomes_unreadable_is_told_once_and_changes_nothing(
    bundles: Path, tmp_path: Path, seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(tmp_path))
    folder = copied(bundles, tmp_path / "efficientnet-lite0" / "1-int8")
    watcher = VersionWatcher(ml_service._wanted, folder, *seen.slots())
    for content in (b"\xff\xfe", b"\0", b"", b"x" * 5_000):
        (tmp_path / "active").write_bytes(content)
        for _ in range(3):
            watcher.poll()
    (tmp_path / "active").unlink()
    (tmp_path / "shadow").write_bytes(b"\xff\xfe")
    for _ in range(3):
        watcher.poll()
    assert len(caplog.records) == 5
    assert seen.tried == []


def test_a_folder_that_says_nothing_sensible_changes_nothing(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    watcher = seen.watcher()
    for fault in (BundleError("bundle 'x'; expected <model>/<version>"), VersionError("the share"), OSError("gone")):
        seen.wanted = fault
        watcher.poll()
        watcher.poll()
    assert len(caplog.records) == 3
    assert seen.serves == []


def test_a_trial_begins_changes_and_ends_as_it_is_told(seen: Seen) -> None:
    watcher = seen.watcher()
    for trial in (Trial("m/2", 0.1), Trial("m/2", 0.1), Trial("m/2", 0.5), None, None):
        seen.wanted = Path("b/m/1"), trial
        watcher.poll()
    assert seen.shadows == [0.1, 0.5, 0]


def test_a_trial_ends_when_its_version_is_promoted(seen: Seen) -> None:
    watcher = seen.watcher()
    seen.wanted = Path("b/m/1"), Trial("m/2", 0.1)
    watcher.poll()
    seen.wanted = Path("b/m/2"), Trial("m/2", 0.1)
    watcher.poll()
    assert seen.serves == ["2"]
    assert seen.shadows == [0.1, 0]


def test_workers_load_one_after_the_other(seen: Seen, bundles: Path) -> None:
    folder = bundles / "efficientnet-lite0" / "1-int8"
    loading, most = [], []

    def load(path: Path) -> Model:
        loading.append(path)
        most.append(len(loading))
        time.sleep(0.1)  # long enough for the other one to come along
        loading.pop()
        return seen.ready

    def worker() -> VersionWatcher:
        slots = (Slot(load, lambda *_: None) for _ in range(2))
        return VersionWatcher(lambda: (folder, None), Path("b/m/1"), *slots)

    threads = [threading.Thread(target=worker().poll) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]


def test_a_worker_that_loads_for_long_holds_no_other_up(
    seen: Seen, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.version_watcher.TURN_TIMEOUT_S", 0.05)
    folder = bundles / "efficientnet-lite0" / "1-int8"
    seen.wanted = folder, None
    with (folder / "bundle.toml").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        seen.watcher().poll()
    assert seen.serves == ["1-int8"]


@pytest.mark.parametrize("error", [BundleError("torn"), RuntimeError("infer"), MemoryError(), OSError("gone")])
def test_broken_versions_in_both_places_are_tried_once_whatever_is_wrong_with_them(
    seen: Seen, error: Exception
) -> None:
    def load(folder: Path) -> Model:
        seen.tried.append(folder.name)
        raise error

    slots = Slot(load, lambda *_: None), Slot(load, lambda *_: None)
    seen.wanted = Path("b/m/2"), Trial("m/3", 0.5)
    reported: list[str] = []

    def report(reason: str) -> bool:
        reported.append(reason)
        return True

    watcher = VersionWatcher(seen.want, Path("b/m/1"), *slots, report=report)
    for _ in range(8):
        watcher.poll()
    assert seen.tried == ["2", "3"]
    assert len(reported) == 1
    assert "m/2 cannot be loaded" in reported[0]
    assert "m/3 cannot be loaded" in reported[0]


def test_broken_versions_that_take_turns_are_each_tried_once(seen: Seen) -> None:
    watcher = seen.watcher()
    for at in range(12):
        seen.wanted = Path(f"b/{'mn'[at % 2]}/torn"), Trial("m/torn" if at % 3 else "n/torn", 0.25 + at % 2 / 2)
        watcher.poll()
    assert len(seen.tried) == 4  # two that are to be served, two shadows, for any shares
