"""What an order does is what the command of its name does."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

import settings
from inference import bundle
from inference.errors import CasesError
from registry import activation, versions
from registry.versions import Record
from sightline_testing import stripes
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import RedisServer
from sightline_testing.reviewed import FeedbackFiles
from storage.transfers.folder import FolderTransfers
from tests.bundle_copies import NAME
from tests.improving import improved, train_on_less, work_on_a_copy
from trainer import tasks, version_list
from trainer.reporting import Reporter
from trainer.tasks import OrderRefused
from wire.orders import messages
from wire.orders.messages import Order, Progress
from wire.orders.order_book import OrderBook
from wire.orders.trainer_desk import TrainerDesk


@pytest.fixture
def files(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeedbackFiles:
    """Folders of a test's own that the settings name, a copy of the bundles, and five cases of a new class."""
    work_on_a_copy(bundles, tmp_path, monkeypatch)
    train_on_less(monkeypatch, 16)
    files = FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(files.uploads))
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(files.feedback / "feedback"))
    files.accept((drawing_jpeg("pie_chart", seed), "pie chart") for seed in range(5))
    return files


@pytest.fixture
def reporter(redis_server: RedisServer) -> Iterator[Reporter]:
    """The reporter of an order, with the lease of its trainer."""
    probe = QueueProbe(redis_server)
    order_id = OrderBook(probe.address, probe.name, timeout_s=60.0).place(Order(messages.TRAIN, "Ann"))
    desk = TrainerDesk(probe.address, probe.name, "tests")
    assert desk.lead()
    yield Reporter(desk, Progress(order_id))
    desk.leave()


def made_of(version: str) -> tuple[bytes, tuple[str, ...], Record]:
    """Return what a version is: its graph, its labels and its record but for the time."""
    folder = Path(settings.BUNDLES_FOLDER) / NAME / version
    loaded, record = bundle.load(folder), versions.record_of(folder)
    assert record is not None
    return loaded.model, loaded.labels, Record(**{**vars(record), "made_at": ""})


def test_an_order_to_train_makes_what_improve_makes_and_makes_it_once(files: FeedbackFiles, reporter: Reporter) -> None:
    train = order(messages.TRAIN)
    assert tasks.train(train, reporter) == {"version": f"{NAME}/2-int8"}
    assert improved(files) == 0
    assert made_of("2-int8") == made_of("3-int8")
    # As after an attempt that was interrupted when its version stood.
    assert tasks.train(train, reporter) == {"version": f"{NAME}/2-int8"}
    there = sorted(path.name for path in (Path(settings.BUNDLES_FOLDER) / NAME).iterdir())
    assert there == ["1-int8", "2-int8", "3-int8"]


def test_an_order_to_train_may_name_the_classes_whose_cases_it_takes(files: FeedbackFiles, reporter: Reporter) -> None:
    files.accept((drawing_jpeg("bar_chart", seed), "bar chart") for seed in range(2))
    with pytest.raises(CasesError, match="no reviewed report of lynx"):
        tasks.train(order(messages.TRAIN, only="lynx"), reporter)
    made = tasks.train(order(messages.TRAIN, only="Pie_Chart\nlynx"), reporter)
    _, labels, record = made_of(made["version"].partition("/")[2])
    assert ({case.label for case in record.cases}, len(record.cases)) == ({"pie chart"}, 5)
    assert "bar chart" not in labels


@pytest.mark.usefixtures("no_workers")
def test_what_is_promoted_provisionally_has_to_be_confirmed_and_can_be_rolled_back_and_discarded(
    files: FeedbackFiles, reporter: Reporter
) -> None:
    assert improved(files) == 0
    version, bundles = f"{NAME}/2-int8", Path(settings.BUNDLES_FOLDER)
    with pytest.raises(OrderRefused, match="provisionally") as refused:
        tasks.promote(order(messages.PROMOTE, version=version), reporter)
    assert refused.value.result == {"version": version, "needs_confirmation": True}
    before = activation.active(bundles)
    assert before == f"{NAME}/1-int8"
    activation.activate(bundles, version, before, activation.PROMOTED)
    # As after an attempt that was interrupted at its end; so are the second ones below.
    assert tasks.promote(order(messages.PROMOTE, version=version), reporter) == {"version": version}
    assert tasks.shadow(order(messages.SHADOW, version=before), reporter) == {"version": before}
    trial = activation.tried_beside(bundles)
    assert trial is not None
    assert trial.version == before
    tasks.shadow(order(messages.SHADOW), reporter)
    assert activation.tried_beside(bundles) is None
    with pytest.raises(OrderRefused, match="active one"):
        tasks.discard(order(messages.DISCARD, version=version), reporter)
    for _ in range(2):
        assert tasks.roll_back(order(messages.ROLL_BACK), reporter)["version"] == before
    for _ in range(2):
        assert tasks.discard(order(messages.DISCARD, version=version), reporter) == {"version": version}
        assert not (bundles / version).exists()


def test_an_export_is_an_archive_for_the_browser(files: FeedbackFiles, reporter: Reporter) -> None:
    exported = tasks.export(replace(order(messages.EXPORT), id="7-0"), reporter)
    archive = FolderTransfers(files.feedback).open_archive("7-0")
    assert archive is not None
    with archive, ZipFile(archive) as opened:
        names = opened.namelist()
    assert sorted({name.partition("/")[0] for name in names}) == ["cases.csv", "metadata.jsonl", "pie chart"]
    assert (exported["images"], exported["missing"], len(names)) == (5, 0, 7)


@pytest.mark.usefixtures("no_workers")
def test_an_uploaded_network_is_imported_once_served_when_asked_twice_and_discarded(
    files: FeedbackFiles, reporter: Reporter
) -> None:
    bundles = Path(settings.BUNDLES_FOLDER)
    upload = uploaded(files, {"model.onnx": stripes.network(), "labels.csv": b"label\nacross\ndown\n"})
    bring = order(messages.IMPORT, upload=upload, file="my stripes.onnx", preset="torchvision")
    assert tasks.import_network(bring, reporter) == {"version": "my-stripes/1-fp32"}
    assert bundle.load(bundles / "my-stripes" / "1-fp32").labels == ("across", "down")
    assert FolderTransfers(files.feedback).received(upload) is None
    # As after an attempt that was interrupted at its end.
    assert tasks.import_network(bring, reporter) == {"version": "my-stripes/1-fp32"}
    listed = version_list.versions_of(bundles)
    assert [each["version"] for each in listed if each.get("imported_at")] == ["my-stripes/1-fp32"]
    with pytest.raises(OrderRefused) as refused:
        tasks.promote(order(messages.PROMOTE, version="my-stripes/1-fp32"), reporter)
    assert refused.value.result["is_other_network"]
    shutil.copytree(bundles / NAME / "1-int8", bundles / NAME / "2-int8")
    with pytest.raises(OrderRefused, match="the promotion gate decides"):
        tasks.promote(order(messages.PROMOTE, version=f"{NAME}/2-int8", force="1"), reporter)
    tasks.promote(order(messages.PROMOTE, version="my-stripes/1-fp32", force="1"), reporter)
    assert activation.active(bundles) == "my-stripes/1-fp32"
    activation.activate(bundles, f"{NAME}/1-int8", "my-stripes/1-fp32", activation.PROMOTED)
    activation.activate(bundles, f"{NAME}/1-int8", f"{NAME}/1-int8", activation.PROMOTED)
    tasks.discard(order(messages.DISCARD, version="my-stripes/1-fp32"), reporter)
    assert not (bundles / "my-stripes" / "1-fp32").exists()


@pytest.mark.parametrize(
    ("sent", "told", "reason"),
    [
        ({"model.onnx": b"no graph", "labels.txt": b"a\nb\n"}, {"preset": "torchvision"}, "is no plain ONNX file"),
        ({"model.onnx": stripes.network()}, {"preset": "torchvision"}, "--labels FILE is missing"),
        ({"model.onnx": stripes.network(), "labels.txt": b"a\nb\n"}, {}, "how images are prepared is not known"),
        (
            {"model.onnx": stripes.network(), "labels.txt": b"a\nb\nc\n"},
            {"preset": "torchvision"},
            "2 numbers for an image, labels.txt has 3 labels",
        ),
        ({"model.onnx": stripes.network()}, {"preset": "torchvision", "name": "../up"}, "is no name"),
    ],
)
def test_what_is_no_network_is_refused_in_words_and_removed(
    files: FeedbackFiles, reporter: Reporter, sent: dict[str, bytes], told: dict[str, str], reason: str
) -> None:
    upload = uploaded(files, {"labels.txt": b"a\nb\n", **sent} if "name" in told else sent)
    with pytest.raises(OrderRefused) as refused:
        tasks.import_network(order(messages.IMPORT, upload=upload, file="x.onnx", **told), reporter)
    assert reason in str(refused.value)
    assert str(files.feedback) not in str(refused.value)
    assert FolderTransfers(files.feedback).received(upload) is None
    assert [path.name for path in Path(settings.BUNDLES_FOLDER).glob("*/*")] == ["1-int8"]
    with pytest.raises(OrderRefused, match="need one folder"):
        tasks.import_network(order(messages.IMPORT, upload=upload, file="x.onnx", **told), reporter)


def uploaded(files: FeedbackFiles, contents: dict[str, bytes]) -> str:
    return FolderTransfers(files.feedback).receive(contents, 0)


def order(kind: str, **arguments: str) -> Order:
    return Order(kind, "Ann", arguments=arguments)
