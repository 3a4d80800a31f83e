import subprocess
import sys

import offload
from tests.serving import API

# Locks and files as the operating system has them: gevent cannot switch while they block.
UNDER_GEVENT = """
from gevent import monkey
from wire.process import entry_points
with entry_points.read_once(): monkey.patch_all()
import os, threading, gevent, error_handlers, offload
from storage.errors import StorageStuck

def read_from(pipe):
    return os.read(pipe, 1)

def others_go_on():
    reader, writer = os.pipe()
    waiting = gevent.spawn(offload.run, lambda: read_from(reader))
    gevent.sleep(0.01)
    os.write(writer, b"x")  # no other thread could: the loop is free
    assert waiting.get() == b"x"

def images_go_on_while_reports_wait():
    pipes = [os.pipe() for _ in range(offload.THREADS)]
    waiting = [gevent.spawn(offload.run_for_reports, lambda pipe=pipe: read_from(pipe[0])) for pipe in pipes]
    gevent.sleep(0.01)
    assert offload.run(lambda: 7) == 7
    for _, writer in pipes:
        os.write(writer, b"x")
    gevent.joinall(waiting)

def what_is_raised_comes_back():
    try:
        offload.run(lambda: 1 // 0)
    except ZeroDivisionError:
        return
    raise AssertionError

def timeout_ends():
    offload.TIMEOUT_S = 0.05
    reader, writer = os.pipe()
    try:
        offload.run(lambda: read_from(reader))
    except StorageStuck as error:
        problem = error_handlers.problem_of(error)
        assert (problem.status, problem.code) == (503, "storage_stuck"), problem
        os.write(writer, b"x")
        return
    raise AssertionError

def a_log_on_a_full_disk_keeps_nobody_waiting():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
    what_is_raised_comes_back()

others_go_on(); images_go_on_while_reports_wait()
what_is_raised_comes_back(); timeout_ends(); a_log_on_a_full_disk_keeps_nobody_waiting()
"""


def test_without_gevent_the_work_is_done_here_and_now() -> None:
    assert offload.run(lambda: 7) == 7


def test_with_gevent_others_go_on_errors_come_back_and_timeout_ends() -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT], cwd=API, capture_output=True, text=True, timeout=60, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
