"""Writing what other processes read."""

import os
import stat
from pathlib import Path

import pytest

from storage import files


def test_a_file_is_replaced_whole_and_no_draft_is_left(tmp_path: Path) -> None:
    path = tmp_path / "active"
    for content in (b"one\n", b"two\n"):
        files.replace(path, content)
        assert path.read_bytes() == content
    files.replace(path, b"secret", 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["active"]


def test_what_cannot_be_written_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    (tmp_path / "active").mkdir()
    with pytest.raises(OSError, match="active"):
        files.replace(tmp_path / "active", b"x")
    assert [each.name for each in tmp_path.iterdir()] == ["active"]


def test_a_file_is_on_the_disk_before_it_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "active").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    files.replace(tmp_path / "active", b"x")
    assert synced == [(False, False), (True, True)]
