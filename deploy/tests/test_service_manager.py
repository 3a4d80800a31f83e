"""What systemd receives from the launcher if it reads late."""

import socket
from pathlib import Path

import pytest

from launcher import service_manager
from launcher.service_manager import ServiceManager


def test_ready_is_said_again_once_a_manager_that_reads_late_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_manager, "ROOM_S", 0.01)
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)
        told = ServiceManager({"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"})
        full = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
        for _ in range(full + 1):
            told.alive()
        told.ready("serving")
        assert {manager.recv(100) for _ in range(full)} == {b"WATCHDOG=1"}
        told.alive()
        assert manager.recv(100) == b"READY=1\nSTATUS=serving"
        assert manager.recv(100) == b"WATCHDOG=1"
        told.alive()
        assert manager.recv(100) == b"WATCHDOG=1", "it was sent twice"
        with pytest.raises(BlockingIOError):
            manager.recv(100)
