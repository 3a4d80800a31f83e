"""A Redis that is far away: its replies take a time, or are held back until they are let go."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Self

READ_BYTES = 65_536
CONNECT_S = 10.0


class SlowRedis:
    """A relay before a Redis; commands pass immediately, replies after `latency_s` and not while they are held."""

    def __init__(self, port: int, latency_s: float = 0.0) -> None:
        self._redis_port = port
        self._latency_s = latency_s
        self._may_pass = threading.Event()
        self._may_pass.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.let_go()
        self._end(self._listener)
        self.cut()

    def hold(self) -> None:
        """Let no reply pass from now on."""
        self._may_pass.clear()

    def let_go(self) -> None:
        """Let the replies pass."""
        self._may_pass.set()

    def cut(self) -> None:
        """End every connection, and with it the replies that were held."""
        for each in list(self._open):
            self._end(each)

    def _accept(self) -> None:
        with closing(self._listener), suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                redis = socket.create_connection(("127.0.0.1", self._redis_port), CONNECT_S)
                redis.settimeout(None)
                for each in (client, redis):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open += [client, redis]
                replies: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
                for target, *words in ((self._pass_on, client, redis), (self._collect, redis, replies)):
                    threading.Thread(target=target, args=words, daemon=True).start()
                threading.Thread(target=self._deliver, args=(replies, client), daemon=True).start()

    def _pass_on(self, client: socket.socket, redis: socket.socket) -> None:
        with closing(client), suppress(OSError):
            while piece := client.recv(READ_BYTES):
                redis.sendall(piece)
        self._end(redis)

    def _collect(self, redis: socket.socket, replies: SimpleQueue[tuple[float, bytes]]) -> None:
        with closing(redis), suppress(OSError):
            while piece := redis.recv(READ_BYTES):
                replies.put((time.monotonic() + self._latency_s, piece))
        replies.put((0.0, b""))

    def _deliver(self, replies: SimpleQueue[tuple[float, bytes]], client: socket.socket) -> None:
        with suppress(OSError):
            while (told := replies.get())[1]:
                time.sleep(max(told[0] - time.monotonic(), 0.0))
                self._may_pass.wait()
                client.sendall(told[1])
        self._end(client)

    def _end(self, opened: socket.socket) -> None:
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
