"""Real Sentinels, real primaries that go: nothing that was accepted is lost, and the queue works again by itself.

FULL=1 repeats each failover 20 times and judges the times.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_group import RedisGroup, ask, running_cluster, running_group, valkey_binary
from sightline_testing.redis_server import RedisServer, redis_binaries
from sightline_testing.slow_redis import SlowRedis
from sightline_testing.stub_load import Outcomes, StubLoad
from sightline_testing.waiting import WAIT_S, wait_until
from wire import AsyncJobs, QueueUnavailable
from wire.errors import NotReplicated
from wire.redis.address import Address, Place, Sentinels, parse
from wire.redis.connection import Connection
from wire.redis.keys import Keys
from wire.redis.pipeline import Pipeline
from wire.redis.resp import pack

IS_FULL = bool(os.environ.get("FULL"))
TIMES = 20 if IS_FULL else 1
BETWEEN = 100 if IS_FULL else 20
DOWN_AFTER_MS = 1500
# All replicas, since a busy machine may have Sentinels choose any of them; where one is down, all that there are then.
WAIT_REPLICAS = int(os.environ.get("WAIT_REPLICAS", "2"))
MOST_REFUSED_S, MOST_TWICE = 5.0, 0.01

Hurt = Callable[[RedisGroup, RedisServer], None]


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisGroup]:
    with running_group(valkey_binary(), tmp_path_factory.mktemp("group"), down_after_ms=DOWN_AFTER_MS) as group:
        yield group


def kill(_: RedisGroup, primary: RedisServer) -> None:
    primary.kill()


def hand_over(group: RedisGroup, _: RedisServer) -> None:
    group.fail_over("COORDINATED")


def stop(_: RedisGroup, primary: RedisServer) -> None:
    primary.pause()


def mend(group: RedisGroup, hurt: Hurt, server: RedisServer) -> None:
    if hurt is kill:
        group.rejoin(server)
    elif hurt is stop:
        server.resume()
    group.wait_until_whole()


HURTS = (kill, hand_over, *((stop,) if IS_FULL else ()))


@pytest.mark.parametrize("hurt", HURTS, ids=lambda hurt: hurt.__name__)
def test_nothing_accepted_is_lost_when_another_primary_takes_over(group: RedisGroup, hurt: Hurt) -> None:
    times = []
    with StubLoad(group.address, wait_replicas=WAIT_REPLICAS) as load:
        for _ in range(TIMES):
            load.wait_for_answers(BETWEEN)
            before, begin = group.primary(), time.monotonic()
            hurt(group, before)
            group.wait_for_another(before)
            load.wait_for_answers()
            times.append(load.outcomes.refused_s(begin, time.monotonic()))
            mend(group, hurt, before)
    report(hurt.__name__, load.outcomes, times)
    assert not load.outcomes.lost, str(load.outcomes)
    assert load.outcomes.handles
    if IS_FULL:
        assert max(times) <= MOST_REFUSED_S
        assert load.outcomes.done_twice <= MOST_TWICE * len(load.outcomes.runs)


def test_a_job_that_too_few_replicas_have_is_refused_and_taken_back(group: RedisGroup) -> None:
    with StubLoad(group.address, callers=0, async_rate=0, workers=1, wait_replicas=2) as load:
        handle = load.jobs.enqueue("first.jpg", timeout_s=WAIT_S)
        wait_until(lambda: load.jobs.find(handle).reply is not None, "it is answered")
        replica = next(each for each in group.servers if each is not group.primary())
        replica.pause()
        try:
            wait_until(lambda: is_refused(load.jobs), "it is refused: 1 of 2 replicas")
            # It is not queried again immediately, and its connection is closed.
            with pytest.raises(NotReplicated, match="1 of 2 replicas"):
                load.jobs.enqueue("third.jpg", timeout_s=WAIT_S)
            wait_until(lambda: load.producer.refresh().jobs == 0, "nothing is in the queue")
            assert load.producer.submit("waiting.jpg", timeout_s=WAIT_S)
        finally:
            replica.resume()
        wait_until(lambda: not is_refused(load.jobs), "it is accepted again")
    group.wait_until_whole()


def is_refused(jobs: AsyncJobs) -> bool:
    try:
        jobs.enqueue("some.jpg", timeout_s=WAIT_S)
    except NotReplicated:
        return True
    return False


def test_connections_to_a_primary_that_was_replaced_are_ended_though_it_answers(group: RedisGroup) -> None:
    """The Sentinels name a new primary immediately; the old one stays a primary for seconds."""
    before = group.primary()
    with closing(Connection(group.address, "test")) as connection:
        connection.exchange(pack("SET", "key", "1"), 1, WAIT_S)
        group.fail_over("COORDINATED")
        now = group.wait_for_another(before)
        wait_until(lambda: port_of(connection) == now.port, "it is connected to the new one")
    group.wait_until_whole()


def port_of(connection: Connection) -> int:
    """Return the port of the server that a connection leads to; 0 while there is none."""
    try:
        [info] = connection.exchange(pack("INFO", "server"), 1, 0.5)
    except QueueUnavailable:
        return 0
    return int(dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)[b"tcp_port"])


def test_a_sentinel_that_is_behind_or_away_misleads_nobody(group: RedisGroup) -> None:
    """It names a replica, of the epoch of before; another one of the list does not answer at all."""
    primary = group.primary()
    stray = RedisServer(group.servers[0].binary, primary.folder)
    stray.start()
    behind = group.new_sentinel(stray)
    try:
        wait_until(lambda: bool(behind.facts()), "it answers")
        places = [Place("127.0.0.1", each.port) for each in (behind, *group.sentinels)]
        sentinels = Sentinels("main", (*places, Place("127.0.0.1", 1)))
        with closing(Connection(Address(sentinels=sentinels), "test")) as connection:
            assert port_of(connection) == primary.port
    finally:
        behind.close()
        stray.close()


def test_what_sentinels_do_not_know_is_told_by_its_name(group: RedisGroup) -> None:
    wrong = parse(group.url.replace("/main", "/mian"))
    for opened in (Connection(wrong, "test"), Pipeline(wrong, "test")):
        with closing(opened), pytest.raises(QueueUnavailable, match="knows no primary 'mian'"):
            opened.exchange(pack("PING"), 1, WAIT_S)
    away = parse("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main")
    with pytest.raises(QueueUnavailable, match=r"no Sentinel names the primary: .*Connection refused"):
        Connection(away, "test").exchange(pack("PING"), 1, WAIT_S)


def test_sentinels_have_a_password_of_their_own(group: RedisGroup) -> None:
    for each in group.sentinels:
        ask(each.port, "ACL", "SETUSER", "watcher", "on", ">secret", "+sentinel|master", "+client|setname")
        ask(each.port, "ACL", "SETUSER", "watcher", "+sentinel|get-master-addr-by-name")
    address = parse(group.url, sentinel_username="watcher", sentinel_password="secret")  # noqa: S106  a test's own
    with closing(Connection(address, "test")) as connection:
        assert port_of(connection) == group.primary().port
    wrong = parse(group.url, sentinel_username="watcher", sentinel_password="wrong")  # noqa: S106  as above
    with pytest.raises(QueueUnavailable, match="no Sentinel names the primary: WRONGPASS"):
        Connection(wrong, "test").exchange(pack("PING"), 1, WAIT_S)


@pytest.mark.parametrize("refusal", ["READONLY", "NOREPLICAS"])
def test_connections_to_a_server_that_cannot_be_written_to_are_ended(
    start_redis: Callable[..., QueueProbe], refusal: str
) -> None:
    """Also one that waits for replies, which a replica has none of; readiness fails as well."""
    queue = start_redis()
    queue.announce()
    producer = queue.producer()
    wait_until(lambda: producer.refresh().workers, "the worker is known")
    connections = opened(queue)
    if refusal == "READONLY":
        queue.server.command("REPLICAOF", "127.0.0.1", "1")
    else:
        queue.server.command("CONFIG", "SET", "min-replicas-to-write", "1")
    with pytest.raises(QueueUnavailable, match=refusal):
        producer.refresh()
    if refusal == "READONLY":
        wait_until(lambda: not opened(queue) & connections, "all of them are ended")
    queue.server.command("REPLICAOF", "NO", "ONE")
    queue.server.command("CONFIG", "SET", "min-replicas-to-write", "0")
    wait_until(lambda: producer.snapshot() is not None, "it works again")


def opened(queue: QueueProbe) -> set[bytes]:
    """Return the ids of the connections of the service."""
    lines = queue.server.command("CLIENT", "LIST").split(b"\n")
    return {line.split()[0] for line in lines if b"name=sightline" in line}


def test_a_cluster_may_be_asked_at_any_node(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cluster")
    with running_cluster(redis_binaries()["7.0"], folder, Keys("test").jobs) as nodes:
        *others, holder = nodes
        for node in others:
            address = parse(f"redis://127.0.0.1:1,127.0.0.1:{node.port}")
            with StubLoad(address) as load:
                load.wait_for_answers()
            assert load.outcomes.handles
            assert not load.outcomes.lost, str(load.outcomes)
            Pipeline.to(address).close()
        assert b"{test}" in holder.command("KEYS", "*")
        with pytest.raises(QueueUnavailable, match="a Redis cluster has the database 0 alone"):
            Connection(parse(f"redis://127.0.0.1:{holder.port}/1"), "test").exchange(pack("PING"), 1, WAIT_S)


def test_the_jobs_of_a_worker_host_that_is_cut_off_are_answered_by_others(queue: QueueProbe) -> None:
    """It takes jobs, is cut off, and returns after a while with outdated answers."""
    lease_s = 1.0
    with (
        SlowRedis(queue.server.port) as cable,
        StubLoad(queue.address, workers=1, more_workers=[Address(port=cable.port)], callers=16) as load,
    ):
        load.wait_for_answers()
        for _ in range(3 if IS_FULL else 1):
            cable.hold()
            time.sleep(10.0 if IS_FULL else 1.5 * lease_s)
            cable.let_go()
            load.wait_for_answers()
    slowest = max(load.outcomes.seconds)
    sys.stdout.write(f"a worker host cut off: {load.outcomes}; the slowest answer took {slowest:.2f} s\n")
    assert not load.outcomes.lost, str(load.outcomes)
    if IS_FULL:
        assert slowest <= 1.5 * lease_s + 16 * 0.02 + 0.5


def report(what: str, outcomes: Outcomes, times: list[float]) -> None:
    longest, usual = max(times), sorted(times)[len(times) // 2]
    text = f"{what}, {len(times)} times: {outcomes}; without an answer for {usual:.1f} s, at most {longest:.1f} s"
    sys.stdout.write(f"{text}\n")
