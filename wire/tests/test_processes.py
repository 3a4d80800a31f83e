"""Forks, greenlets and kills, in programs of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, suspend, wait_until
from sightline_testing.workers import StandInWorker, answer_for
from wire import Answer, Delivery

PROGRAMS = Path(__file__).parent / "programs"
LONGER_THAN_IT_WAITS_S = 1.2


def command(program: str, queue: QueueProbe) -> list[str]:
    return [sys.executable, str(PROGRAMS / program), str(queue.server.port), queue.name]


def output_of(program: str, queue: QueueProbe) -> list[str]:
    done = subprocess.run(command(program, queue), capture_output=True, text=True, timeout=2 * WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_an_asker_begins_anew_in_each_child_and_goes_on_in_the_parent(queue: QueueProbe) -> None:
    with StandInWorker(queue.address, queue.name):
        answers = output_of("forking.py", queue)
    who = Counter(answer.partition("-")[0] for answer in answers)
    assert who == dict.fromkeys(["before", "parent", "after", "child0", "child1", "child2"], 5)
    assert queue.reply_streams() == []
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_greenlets_wait_side_by_side_and_never_block_the_loop(queue: QueueProbe) -> None:
    release = threading.Event()

    def hold(delivery: Delivery) -> Answer:
        if delivery.job.image not in {"first.jpg", "last.jpg"}:
            release.wait(WAIT_S)
        return answer_for(delivery.job)

    with ThreadPoolExecutor(1) as pool, StandInWorker(queue.address, queue.name, hold):
        program = pool.submit(output_of, "greenlets.py", queue)
        wait_until(lambda: queue.depth() == 200, "all greenlets wait for an answer")
        release.set()
        [line] = program.result(2 * WAIT_S)
    most_in_flight, ticks = map(int, line.split())
    assert most_in_flight == 200
    assert ticks > 0
    assert queue.reply_streams() == []
    wait_until(lambda: (queue.depth(), queue.pending()) == (0, 0), "the killed greenlet's job is gone too")


def test_a_process_that_was_held_up_together_with_redis_still_receives_the_replies(queue: QueueProbe) -> None:
    with subprocess.Popen(command("held_up.py", queue), stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "asking\n"
        suspend(program.pid)
        time.sleep(LONGER_THAN_IT_WAITS_S)
        program.send_signal(signal.SIGCONT)
        assert program.stdout.read() == 2 * "[b'PONG']\n"


def test_whether_a_loop_runs_is_known_without_letting_another_greenlet_run() -> None:
    program = [sys.executable, str(PROGRAMS / "undisturbed.py")]
    assert subprocess.run(program, capture_output=True, timeout=2 * WAIT_S, check=True).stdout == b"0\n"


def test_the_jobs_of_a_worker_that_was_killed_are_done_by_another(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer()
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(producer.submit, f"{number}.jpg", timeout_s=WAIT_S) for number in range(5)]
        wait_until(lambda: queue.depth() == 5, "all are queued")
        with subprocess.Popen(command("dying.py", queue), stdout=subprocess.PIPE, text=True) as dying:
            assert dying.stdout is not None
            assert dying.stdout.readline() == "5\n"
            dying.kill()
        with StandInWorker(queue.address, queue.name, lease_ms=50) as worker:
            assert [each.result(WAIT_S).predictions[0][0] for each in waiting] == [f"{n}.jpg" for n in range(5)]
    assert [each.deliveries for each in worker.seen] == [2] * 5
    assert (queue.depth(), queue.pending()) == (0, 0)
