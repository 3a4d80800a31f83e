"""Notifications to systemd by sd_notify, where it has started the launcher: ready, stopping, watchdog."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

# Of the environment, for the launcher alone: gunicorn would report for itself.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# While the service is not ready yet, each word of that gives it so much longer before systemd gives up.
PATIENCE_US = 120_000_000
# How long "ready" and "stopping" wait for room: the kernel keeps ten states that the manager has not read yet.
ROOM_S = 1.0


class ServiceManager:
    """Sends states to the socket that systemd names; does nothing where there is none."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        is_watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_s = int(environment.get("WATCHDOG_USEC") or 0) / 1_000_000 if is_watched else 0.0
        self._unsent = ""

    @property
    def every_s(self) -> float | None:
        """How often `alive` has to be called; None: never."""
        return self._watchdog_s / 2 if self._address and self._watchdog_s else None

    def waiting(self, status: str) -> None:
        """Say what the service still waits for, and that it does."""
        self._send(f"STATUS={status}\nEXTEND_TIMEOUT_USEC={PATIENCE_US}")

    def ready(self, status: str) -> None:
        """Say that the service answers; again with the next `alive` if the manager had no room for it."""
        state = f"READY=1\nSTATUS={status}"
        self._unsent = "" if self._send(state, ROOM_S) else state

    def alive(self) -> None:
        """Send the watchdog notification."""
        if self._unsent and self._send(self._unsent):
            self._unsent = ""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the service is coming to its end."""
        self._send("STOPPING=1\nSTATUS=stopping", ROOM_S)

    def _send(self, state: str, room_s: float = 0.0) -> bool:
        """Return whether the manager has the state, or there is none."""
        if not self._address:
            return True
        # An error of the manager must not end the service.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.settimeout(room_s)
            sender.sendto(state.encode(), self._address)
            return True
        return False
