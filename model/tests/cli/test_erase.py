"""Erasing an image: nothing about it is left, and everything else is."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

import settings
from cli import erase, export
from inference import bundle
from registry import versions
from registry.versions import Case, HeldImage, Record
from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import RedisServer
from sightline_testing.reviewed import FeedbackFiles
from sightline_testing.sample_images import jpeg
from storage.transfers.folder import FolderTransfers
from tests.bundle_copies import NAME
from tests.improving import work_on_a_copy
from wire.messages import Answer
from wire.result_cache import Question, ResultCache
from wire.worker_registry import Served

SERVED = Served("m", "1", "p", "l", "d")
MEANT, OTHER = jpeg(64, 48, seed=1), jpeg(64, 48, seed=2)


@pytest.fixture
def queue(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> QueueProbe:
    probe = QueueProbe(redis_server)
    monkeypatch.setattr(settings, "REDIS_PORT", redis_server.port)
    monkeypatch.setattr(settings, "REDIS_QUEUE", probe.name)
    monkeypatch.setattr(settings, "CACHE_MAX_ENTRIES", 1200)
    return probe


@pytest.fixture
def files(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeedbackFiles:
    """Two reviewed images, and a version whose record names both."""
    work_on_a_copy(bundles, tmp_path, monkeypatch)
    files = FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(files.uploads))
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(files.feedback / "feedback"))
    files.accept([(MEANT, "pie chart"), (OTHER, "pie chart")])
    base = bundle.load(tmp_path / "bundles" / NAME / "1-int8")
    named = (("a", MEANT), ("b", OTHER))
    cases = tuple(Case(name, f"{name}.jpg", digest(content), "pie chart") for name, content in named)
    images = (HeldImage("a.jpg", digest(MEANT)), HeldImage("c.jpg", ""))
    record = Record(f"{NAME}/1-int8", "2026-01-01T00:00:00+00:00", cases, images, 0, ())
    assert base.folder is not None
    versions.put(base.folder, "2-int8", base.model, base.labels, record)
    (tmp_path / "bundles" / NAME / "2-int8" / "evaluation.html").write_text("<img>")
    return files


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_erased_image_leaves_nothing_and_everything_else_stays(
    files: FeedbackFiles, queue: QueueProbe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meant, other = files.upload(MEANT), files.upload(OTHER)
    (files.uploads / meant.replace(".jpg", ".jpeg")).write_bytes(MEANT)
    cache = ResultCache(queue.address, queue.name, max_entries=1200, ttl_s=60, timeout_s=60.0)
    questions = [Question(digest(content), SERVED) for content in (MEANT, OTHER)]
    for question in questions:
        answer = replace(Answer("", (("tabby", 0.5),), "m", "1", bundle_digest="d"), sha256=question.image)
        cache.keep(question, 1, answer, cache.find(question, 1).slot)
    archive = FolderTransfers(files.feedback).archive("7-0")
    assert export.main([str(archive)]) == 0
    assert archive.exists()
    assert erase.main([f"/display/{meant}"]) == 0
    said = capsys.readouterr()
    assert "removed 2 images, 1 reports, 1 kept answers and 1 pages of evaluations" in said.out
    assert "efficientnet-lite0/2-int8 were trained on it" in said.err
    assert [path.name for path in files.uploads.iterdir()] == [other]
    assert [cache.find(question, 1).answer is None for question in questions] == [True, False]
    record = versions.record_of(tmp_path / "bundles" / NAME / "2-int8")
    assert record is not None
    assert ([case.image for case in record.cases], [image.name for image in record.images]) == (["b.jpg"], ["c.jpg"])
    stem, sha256 = meant.partition(".")[0], digest(MEANT)
    for path in (*files.feedback.rglob("*"), *(tmp_path / "bundles").rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            assert stem.encode() not in content, path
            assert sha256.encode() not in content, path
    assert bundle.load(tmp_path / "bundles" / NAME / "2-int8").labels
    assert erase.main([meant]) == 1
    assert f"there is no image {meant}" in capsys.readouterr().err


@pytest.mark.usefixtures("files", "queue")
@pytest.mark.parametrize("name", ["", "..", "passwd", "a.txt", "a\0.jpg"])
def test_what_is_no_name_of_an_image_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert erase.main([name]) == 1
    assert "is no name of a stored image" in capsys.readouterr().err
