"""Redis dies, loses all, goes away, stalls, is emptied, is full: what was accepted is answered all the same."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sightline_testing.faults.figures import Figure
from sightline_testing.faults.keeper import USUAL, Keeper, Scale
from sightline_testing.faults.ledger import Ledger, Outcome
from sightline_testing.faults.leftovers import nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.rates import usual_rate
from sightline_testing.faults.system import System, sleep_until
from sightline_testing.redis_server import RedisServer, redis_binaries
from sightline_testing.waiting import wait_until
from wire import Address, QueueUnavailable
from wire.redis.connection import Connection
from wire.redis.keys import GROUP
from wire.redis.resp import pack

# Below what one slow shared core can do; the full run is on a machine of its own.
RATE = 15.0
AT_STAKE = 5
AWAY = "redis_unavailable"
# Between the count of running requests and the moment at which it is known that Redis is down.
SENT_MEANWHILE = 5


def test_no_accepted_job_is_lost_when_redis_is_killed(system: System, scale: Scale) -> None:
    times = scale.of(2, 10)
    with nothing_left_over(system):
        ledger, returns = load_while(system, scale, kill_redis, times)
        if scale.is_full:
            figures = (lost(ledger), refused_s(ledger), back_s(ledger, returns, 1.0))
            scale.judge(f"Redis killed {times} times", *figures, note=ledger)
        assert_all_answered_or_refused(ledger)


def test_no_accepted_job_is_lost_when_redis_comes_back_empty(system: System, scale: Scale) -> None:
    assert_survives(system, scale, "Redis restarted empty", kill_and_empty_redis, scale.of(2, 5))


def test_jobs_survive_that_every_key_is_removed(system: System, scale: Scale) -> None:
    assert_survives(system, scale, "FLUSHALL", remove_every_key, scale.of(3, 20))


def test_jobs_survive_that_the_group_of_workers_is_removed(system: System, scale: Scale) -> None:
    assert_survives(system, scale, "the group removed", remove_the_group, scale.of(3, 20))


def test_requests_are_refused_while_redis_is_out_of_memory(system: System, scale: Scale) -> None:
    pids = system.worker_pids() + system.api_pids()
    with nothing_left_over(system):
        ledger, _ = load_while(system, scale, fill_memory, 1)
        if scale.is_full:
            scale.judge("Redis out of memory", lost(ledger), note=ledger)
        assert_all_answered_or_refused(ledger)
        assert ledger.counts()["refused queue_full"], f"no request was refused as queue_full: {ledger}"
        assert pids == system.worker_pids() + system.api_pids(), "a process has died of it"


def test_the_service_says_so_while_redis_is_away_and_works_again_after(system: System, scale: Scale) -> None:
    seconds = scale.of(3.0, 30.0)
    with nothing_left_over(system):
        with Load(system.url, system.asked, rate=usual_rate(system, scale, RATE)) as load:
            wait_for_answers(load)
            with redis_away(system):
                left_at, under_way = time.monotonic(), load.under_way
                wait_until(lambda: system.readiness().status == 503, "it is not ready")
                not_ready_s = time.monotonic() - left_at
                assert system.readiness().json()["code"] == AWAY
                while time.monotonic() < left_at + seconds:
                    assert system.client.get("/livez").status == 200
                    assert system.readiness().status == 503
                    time.sleep(0.05)
            back_at = time.monotonic()
            wait_for_answers(load)
            wait_until(lambda: system.readiness().status == 200, "it is ready")
        assert load.ledger.counts()[f"refused {AWAY}"]
        assert_told_of_the_outage(load.ledger, scale, f"Redis away {seconds:g} s", (not_ready_s, back_at, under_way))


def test_requests_are_refused_while_redis_stalls(system: System, scale: Scale) -> None:
    seconds = scale.of(3.0, 10.0)
    with nothing_left_over(system):
        with Load(system.url, system.asked, rate=usual_rate(system, scale, RATE)) as load:
            wait_for_answers(load)
            [redis] = system.pids("redis-server")
            system.kill(redis, signal.SIGSTOP)
            try:
                stalled_at, under_way = time.monotonic(), load.under_way
                wait_until(lambda: load.ledger.counts()[f"refused {AWAY}"], "requests are refused")
                wait_until(lambda: system.readiness().status == 503, "it is not ready")
                not_ready_s = time.monotonic() - stalled_at
                assert system.client.get("/livez").status == 200
                sleep_until(stalled_at + seconds)
            finally:
                system.kill(redis, signal.SIGCONT)
            back_at = time.monotonic()
            wait_for_answers(load)
        assert_told_of_the_outage(load.ledger, scale, f"Redis stalled {seconds:g} s", (not_ready_s, back_at, under_way))


def test_a_demoted_redis_is_left_though_it_has_cut_nobody_off(keeper: Keeper, scale: Scale, tmp_path: Path) -> None:
    """A name leads to the new primary; the connections to the one before stay, and it answers all that is read."""
    with Pair(tmp_path) as pair:
        system = keeper.give({**USUAL, "CONSUMERS": "1"}, workers=1, redis_socket=str(pair.name))
        with Load(system.url, system.asked, rate=RATE) as load:
            wait_for_answers(load)
            pair.swap()
            demoted_at = time.monotonic()
            wait_for_answers(load)
        keeper.stop()
    if scale.is_full:
        scale.judge("Redis demoted", lost(load.ledger), back_s(load.ledger, [demoted_at], 1.0), note=load.ledger)
    assert_all_answered_or_refused(load.ledger)


class Pair:
    """Two servers, of which one feeds the other, and the unix socket of a name that leads to one of them."""

    def __init__(self, folder: Path) -> None:
        binary = next(iter(redis_binaries().values()))
        self.name = folder / "redis.sock"
        self._servers = [RedisServer(binary, folder / part) for part in ("first", "second")]

    def __enter__(self) -> Self:
        for server in self._servers:
            server.folder.mkdir()
            server.start()
        self._lead_to(0)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    def swap(self) -> None:
        """Have the other one take over, as an administrator does it by hand."""
        first, second = self._servers
        second.command("REPLICAOF", "NO", "ONE")
        self._lead_to(1)
        first.command("REPLICAOF", second.host, second.port)

    def _lead_to(self, number: int) -> None:
        first, second = self._servers
        if not number:
            second.command("REPLICAOF", first.host, first.port)
            wait_until(lambda: b"state=online" in first.command("INFO", "replication"), "the replica is fed")
        new = self.name.with_suffix(".new")
        new.symlink_to(self._servers[number].socket_path)
        new.rename(self.name)


def assert_survives(system: System, scale: Scale, what: str, hurt: Callable[[System, Load], None], times: int) -> None:
    with nothing_left_over(system):
        ledger, _ = load_while(system, scale, hurt, times)
        if scale.is_full:
            twice = Figure("answered twice", ledger.doubled, "requests", most=0)
            scale.judge(f"{what}, {times} times", lost(ledger), twice, note=ledger)
        assert_all_answered_or_refused(ledger)


def assert_told_of_the_outage(ledger: Ledger, scale: Scale, what: str, seen: tuple[float, float, int]) -> None:
    """Judge an outage; requests that were open at its start have a deadline shorter than it lasts in a full run."""
    not_ready_s, back_at, under_way = seen
    if scale.is_full:
        scale.judge(
            what,
            refused_s(ledger),
            Figure("/readyz false", not_ready_s, most=2.0),
            back_s(ledger, [back_at], 2.0),
            Figure("late", ledger.count(Outcome.LATE), "requests", most=under_way + SENT_MEANWHILE),
            note=ledger,
        )
        ledger.entries = [each for each in ledger.entries if each.outcome is not Outcome.LATE]
    assert_all_answered_or_refused(ledger)


def load_while(
    system: System, scale: Scale, hurt: Callable[[System, Load], None], times: int
) -> tuple[Ledger, list[float]]:
    """Put load on the service, hurt it so often, and wait each time until it answers again."""
    returns = []
    with Load(system.url, system.asked, rate=usual_rate(system, scale, RATE)) as load:
        wait_for_answers(load)
        for _ in range(times):
            hurt(system, load)
            returns.append(time.monotonic())
            wait_for_answers(load)
            time.sleep(scale.of(0.2, 2.0))
    return load.ledger, returns


@contextmanager
def jobs_at_stake(system: System) -> Iterator[None]:
    """Hold the workers still until jobs have piled up, and through the block: so many are lost or not."""
    with system.held_workers():
        wait_until(lambda: system.queue_depth() >= AT_STAKE, "jobs are at stake")
        yield


def kill_redis(system: System, _: Load) -> None:
    """Kill it in the midst of work; the supervisor starts it again."""
    with jobs_at_stake(system):
        kill_and_wait(system)
        assert system.queue_depth() >= AT_STAKE, "the append-only file brought the jobs back"


def kill_and_empty_redis(system: System, _: Load) -> None:
    """Kill it when its file is gone already."""
    with jobs_at_stake(system):
        shutil.rmtree(system.state_dir / "redis" / "appendonlydir", ignore_errors=True)  # Redis 7
        (system.state_dir / "redis" / "appendonly.aof").unlink(missing_ok=True)  # Redis 6
        kill_and_wait(system)


def kill_and_wait(system: System) -> None:
    [before] = system.pids("redis-server")
    system.kill(before)
    wait_until(lambda: system.pids("redis-server") not in ([], [before]) and answers(system), "Redis is back", 60)


def remove_every_key(system: System, _: Load) -> None:
    with jobs_at_stake(system):
        system.redis("FLUSHALL")


def remove_the_group(system: System, _: Load) -> None:
    with jobs_at_stake(system):
        system.redis("XGROUP", "DESTROY", system.keys.jobs, GROUP)


@contextmanager
def redis_away(system: System) -> Iterator[None]:
    """Cut every connection to Redis and let none be made, for the length of the block."""
    socket = Path(system.redis_address.socket_path)
    hidden = socket.with_suffix(".hidden")
    socket.rename(hidden)
    try:
        cut_connections(hidden)
        yield
    finally:
        hidden.rename(socket)


def cut_connections(socket: Path) -> None:
    connection = Connection(Address(socket_path=str(socket)), "fault-test")
    connection.exchange(pack("CLIENT", "KILL", "TYPE", "normal"), 1)
    connection.close()


def fill_memory(system: System, load: Load) -> None:
    system.redis("CONFIG", "SET", "maxmemory", "1mb")
    sent = len(load.ledger.entries)
    wait_until(lambda: len(load.ledger.entries) > sent + 30, "some met a full Redis")
    system.redis("CONFIG", "SET", "maxmemory", "256mb")


def answers(system: System) -> bool:
    try:
        return bool(system.redis("PING"))
    except QueueUnavailable:
        return False


def wait_for_answers(load: Load, count: int = 5) -> None:
    """Wait until so many more were answered right that were sent from now on."""
    now = time.monotonic()
    wait_until(lambda: load.ledger.between(now, now + 1e9).count(Outcome.RIGHT) >= count, "it answers again", 90)


def assert_all_answered_or_refused(ledger: Ledger) -> None:
    """Every request was answered right, or refused with the time to come again; none twice."""
    assert ledger.count(Outcome.RIGHT)
    assert ledger.count(Outcome.RIGHT, Outcome.REFUSED) == len(ledger.entries), ledger
    assert not ledger.doubled


def lost(ledger: Ledger) -> Figure:
    accepted_in_vain = len(ledger.entries) - ledger.count(Outcome.RIGHT, Outcome.REFUSED)
    return Figure("accepted and not answered right", accepted_in_vain, "requests", most=0)


def refused_s(ledger: Ledger) -> Figure:
    return Figure("p99 of refusals", ledger.percentile_s(0.99, Outcome.REFUSED), most=0.3)


def back_s(ledger: Ledger, returns: Sequence[float], most: float) -> Figure:
    """How long it took from each return of Redis to the first right answer."""
    answered = sorted(each.ended_at for each in ledger.ended(Outcome.RIGHT))
    waits = [next(moment for moment in answered if moment > back_at) - back_at for back_at in returns]
    return Figure("answers again", max(waits), most=most)
