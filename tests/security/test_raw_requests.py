"""Attacks on the HTTP and form parsers, byte for byte: each is refused, and leaves nothing behind."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sightline_testing.client import Client
from sightline_testing.faults.system import processes
from sightline_testing.hostile.asking import Sender, files_below
from sightline_testing.hostile.measured import Measured
from sightline_testing.hostile.requests import ATTACKS, FRAMING, answers_to, form, good, part, request, reset
from sightline_testing.service import Service, printed

STORED_NAME = re.compile(r"uploads/[0-9a-f]{32}\.(?i:jpe?g|png|gif|webp|bmp)")


@pytest.fixture(scope="session")
def address(service: Service) -> tuple[str, int]:
    parts = urlsplit(service.url)
    return parts.hostname or "", parts.port or 0


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_leaves_nothing_outside_the_store(
    address: tuple[str, int], state_dir: Path, client: Client, launcher_pid: int, name: str
) -> None:
    before, running = files_below(state_dir), processes(launcher_pid)
    attack = ATTACKS[name]
    answers = answers_to(address, attack.make())
    assert [status for status, _, _ in answers if status not in attack.statuses] == []
    assert len(answers) == 1
    new = files_below(state_dir) - before
    assert [path for path in new if not STORED_NAME.fullmatch(path)] == []
    assert processes(launcher_pid) == running
    assert client.get("/livez").status == 200


@pytest.mark.parametrize("name", FRAMING)
def test_no_request_is_smuggled_behind_another(address: tuple[str, int], name: str) -> None:
    smuggled = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    data = FRAMING[name].make().replace(b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n", smuggled)
    assert [status for status, _, _ in answers_to(address, data)] != []
    assert b'{"status":"ok"}' not in b"".join(body for _, _, body in answers_to(address, data))


def test_a_form_as_browsers_send_it_is_taken(address: tuple[str, int]) -> None:
    whole = form(part('form-data; name="file"; filename="a.jpg"'))
    closing = whole.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    [(status, _, body)] = answers_to(address, closing, closes=False)
    assert (status, b'"success": true' in body) == (200, True)


def test_requests_in_one_packet_are_answered_in_order(address: tuple[str, int]) -> None:
    data = request("GET /livez HTTP/1.1") + request("GET /nowhere HTTP/1.1") + request("GET /livez HTTP/1.1")
    assert [status for status, _, _ in answers_to(address, data)] == [200, 404, 200]


def test_clients_that_vanish_leave_nothing(
    address: tuple[str, int], sender: Sender, state_dir: Path, launcher_pid: int
) -> None:
    before, running = files_below(state_dir), processes(launcher_pid)
    whole = form(part('form-data; name="file"; filename="a.jpg"'))
    for length in range(10, len(whole), len(whole) // 60):
        reset(address, whole[:length])
    assert sender.send(good()).status == 200
    assert [path for path in files_below(state_dir) - before if not STORED_NAME.fullmatch(path)] == []
    assert processes(launcher_pid) == running


def test_nothing_of_all_this_was_a_fault_of_ours(service: Service, state_dir: Path, measured: Measured) -> None:
    assert "Traceback" not in printed(state_dir)
    measured.told["broken requests, none a fault of ours"] = str(len(ATTACKS))
