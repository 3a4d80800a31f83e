"""Files between the browser and the trainer: stored whole, found by their id alone, and gone in time."""

import os
from pathlib import Path

import pytest

from storage.errors import StorageFull
from storage.transfers.folder import KEPT_S, FolderTransfers


@pytest.fixture
def transfers(tmp_path: Path) -> FolderTransfers:
    return FolderTransfers(tmp_path / "feedback")


def test_what_is_uploaded_is_found_until_it_is_dropped(transfers: FolderTransfers) -> None:
    transfer_id = transfers.receive({"model.onnx": b"graph", "labels.txt": b"cat\n"}, 0)
    folder = transfers.received(transfer_id)
    assert folder is not None
    assert (folder / "labels.txt").read_bytes() == b"cat\n"
    assert [path.name for path in sorted(folder.iterdir())] == ["labels.txt", "model.onnx"]
    transfers.drop(transfer_id)
    transfers.drop(transfer_id)
    assert transfers.received(transfer_id) is None


@pytest.mark.parametrize("name", ["", ".", "..", "../exports", "/etc", "a/b", "\0", "x" * 200])
def test_no_name_leads_elsewhere(transfers: FolderTransfers, name: str) -> None:
    transfers.receive({"model.onnx": b""}, 0)
    transfers.drop(name)
    assert transfers.received(name) is None
    assert transfers.open_archive(name) is None


def test_nothing_is_stored_without_room(transfers: FolderTransfers, tmp_path: Path) -> None:
    with pytest.raises(StorageFull):
        transfers.receive({"model.onnx": b"graph"}, 2**62)
    assert list((tmp_path / "feedback" / "transfers" / "imports").iterdir()) == []


def test_there_is_one_archive_and_it_goes_with_the_others(transfers: FolderTransfers) -> None:
    assert transfers.drop_archives() == 0
    transfers.archive("1-0").write_bytes(b"first")
    transfers.archive("2-0").write_bytes(b"second")
    assert transfers.open_archive("1-0") is None
    opened = transfers.open_archive("2-0")
    assert opened is not None
    with opened:
        assert opened.read() == b"second"
    assert transfers.drop_archives() == 1
    assert transfers.open_archive("2-0") is None


def test_what_is_old_goes(transfers: FolderTransfers) -> None:
    assert transfers.drop_old() == 0
    old = transfers.received(transfers.receive({"model.onnx": b"graph"}, 0))
    new = transfers.received(transfers.receive({"model.onnx": b"graph"}, 0))
    archive = transfers.archive("1-0")
    archive.write_bytes(b"")
    assert old is not None
    for path in (old, archive):
        os.utime(path, (0, path.stat().st_mtime - KEPT_S - 1))
    assert transfers.drop_old() == 2
    assert new is not None
    assert (old.exists(), archive.exists(), new.exists()) == (False, False, True)
