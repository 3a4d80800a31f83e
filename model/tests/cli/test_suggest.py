"""`suggest` lists images without a report that need review; erasing and deciding take images off the list."""

import hashlib
from pathlib import Path

import pytest
from onnx import helper, load_from_string

import settings
from cli import erase, suggest
from inference import bundle
from registry import activation, versions
from registry.activation import Trial
from registry.versions import Record
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import RedisServer
from sightline_testing.reviewed import FeedbackFiles
from sightline_testing.sample_images import encode, photograph
from tests.bundle_copies import NAME
from tests.improving import improved, train_on_less, work_on_a_copy
from wire.orders.suggestions import Suggestions


# Drawn by the tests: at collection, every process of the suite would do so.
def cases() -> list[bytes]:
    return [drawing_jpeg("pie_chart", seed) for seed in range(5)]


def chart() -> bytes:
    return drawing_jpeg("bar_chart", 1)


def look_alike() -> bytes:
    return drawing_jpeg("pie_chart", 30)


@pytest.fixture
def listed(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Suggestions:
    probe = QueueProbe(redis_server)
    monkeypatch.setattr(settings, "REDIS_PORT", redis_server.port)
    monkeypatch.setattr(settings, "REDIS_QUEUE", probe.name)
    return Suggestions(probe.address, probe.name, timeout_s=60.0)


@pytest.fixture
def files(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeedbackFiles:
    """Folders of a test's own that the settings name, with five cases of a new class and three other images."""
    work_on_a_copy(bundles, tmp_path, monkeypatch)
    files = FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(files.uploads))
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(files.feedback / "feedback"))
    files.accept((content, "pie chart") for content in cases())
    for content in (chart(), look_alike(), encode(photograph(), "PNG")):
        files.upload(content)
    (files.uploads / f"{'0' * 32}.jpg").write_bytes(b"no image")
    # Stored twice, under the name of a report and under another one.
    (files.uploads / f"{'1' * 32}.jpg").write_bytes(cases()[0])
    return files


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_images_that_nobody_reported_are_listed_with_the_reasons(
    files: FeedbackFiles, listed: Suggestions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert suggest.main([]) == 0
    suggested, search = listed.read()
    assert search is not None
    assert (search.looked_at, search.model, search.candidate) == (3, f"{NAME}/1-int8", "")
    assert list(search.notes) == ["near"]
    [unsure] = suggested
    assert (unsure.image, unsure.reasons) == (sha256(chart()), {"unsure": ""})
    assert (files.uploads / unsure.filename).read_bytes() == chart()

    train_on_less(monkeypatch, 16)
    assert improved(files) == 0
    activation.try_beside(tmp_path / "bundles", Trial(f"{NAME}/2-int8", 0.1))
    assert suggest.main([]) == 0
    suggested, search = listed.read()
    assert search is not None
    assert (search.candidate, search.notes) == (f"{NAME}/2-int8", {})
    found = {each.image: each for each in suggested}
    assert found[sha256(look_alike())].reasons == {"disputed": "pie chart", "near": "pie chart"}
    assert suggested[0].image == sha256(look_alike())
    before = len(suggested)
    assert erase.main([suggested[0].filename]) == 0
    assert len(listed.read().suggestions) == before - 1


def test_without_features_two_reasons_are_left_out_and_the_list_says_why(
    files: FeedbackFiles, listed: Suggestions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = bundle.load(tmp_path / "bundles" / NAME / "1-int8")
    assert base.folder is not None
    graph = load_from_string(base.model)
    last = graph.graph.output[0]
    graph.graph.node.append(helper.make_node("Abs", [last.name], ["absolute"]))
    last.name = "absolute"
    record = Record(f"{NAME}/1-int8", "2026-01-01T00:00:00+00:00", (), (), 0, ())
    versions.put(base.folder, "2-int8", graph.SerializeToString(), base.labels, record)
    monkeypatch.setattr(settings, "MODEL_BUNDLE", f"{NAME}/2-int8")
    assert suggest.main(["--uploads", str(files.uploads)]) == 0
    suggested, search = listed.read()
    assert search is not None
    assert {reason: why[:25] for reason, why in search.notes.items()} == dict.fromkeys(
        ("unlike", "near"), "the model has no features"
    )
    assert {reason for each in suggested for reason in each.reasons} == {"unsure"}


@pytest.mark.usefixtures("files")
def test_a_redis_that_is_away_leaves_the_list_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    assert suggest.main(["--max-images", "1"]) == 1
    assert "the list stays as it was" in capsys.readouterr().err
