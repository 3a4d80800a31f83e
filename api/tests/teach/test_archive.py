"""Archives of examples: which are accepted, and which are refused without harm."""

import io
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Mapping

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from problems import Problem
from reports import record
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from teach import archive
from tests.teach.test_routes import KEY, OWN, PAGE

JPEG = sample_images.jpeg(64, 48)


def packed(entries: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in entries.items():
            made.writestr(zipfile.ZipInfo(name), content, method)
    file.seek(0)
    return file


def refusal(file: io.BytesIO) -> str:
    with pytest.raises(Problem) as refused:
        list(archive.images_in(file))
    assert (refused.value.status, refused.value.code) == (422, "archive_refused")
    return refused.value.detail


def test_images_are_those_of_the_folders_of_classes() -> None:
    file = packed(
        {
            "bar chart/1.jpg": JPEG,
            "set/pie%2Fchart/2.PNG": JPEG,
            "set/": b"",
            "set/notes.txt": b"x",
            "__MACOSX/set/._1.jpg": b"x",
            "set/pie/.hidden.jpg": b"x",
        }
    )
    assert [(each.label, each.name, each.data) for each in archive.images_in(file)] == [
        ("bar chart", "1.jpg", JPEG),
        ("pie/chart", "2.PNG", JPEG),
    ]


ELSEWHERE = ("1.jpg", "/a/1.jpg", "../a/1.jpg", "a/../1.jpg", "a/./1.jpg", "C:/a/1.jpg", "a\\1.jpg", "a/b/c/1.jpg")


@pytest.mark.parametrize("name", [*ELSEWHERE, "a/b\n/1.jpg"])
def test_no_name_leads_anywhere(name: str) -> None:
    assert "<class>/<image>" in refusal(packed({"ok/1.jpg": JPEG, name: JPEG}))


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive" * 100, JPEG, b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    assert refusal(io.BytesIO(content))


def test_bombs_are_refused_before_anything_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "times its own" in refusal(packed({f"a/{number}.jpg": b"\0" * 10_000_000 for number in range(3)}))
    many = {f"a/{number}.jpg": b"" for number in range(archive.MAX_IMAGES + 1)}
    assert "at most 300" in refusal(packed(many))
    assert "entries" in refusal(packed({f"a/{number}.txt": b"" for number in range(archive.MAX_ENTRIES + 1)}))
    assert "long names" in refusal(packed({f"{'x' * 60_000}{number}": b"" for number in range(10)}))
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 100_000)
    assert "too many" in refusal(packed({f"a/{number}.jpg": bytes(range(256)) * 100 for number in range(5)}))


def test_a_second_list_of_entries_in_the_form_of_zip64_is_not_read() -> None:
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    many = entry * (archive.MAX_LIST_BYTES // len(entry) + 2)
    count = len(many) // len(entry)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(many), 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(many), 1)
    for comment in (b"", b"a comment"):
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry), 0, len(comment)) + comment
        file = io.BytesIO(many + record + locator + end)
        assert len(zipfile.ZipFile(file).infolist()) == count, "the library reads the longer list"
        assert "ZIP64" in refusal(file)


def test_a_name_that_is_damaged_in_one_place_fails_alone() -> None:
    data = packed({"a/1.jpg": JPEG, "a/ü.jpg": JPEG, "a/3.jpg": JPEG}).getvalue()
    broken = data.replace("ü".encode(), b"\xff\xff", 1)  # that before the image, not that of the list
    faults = [each.fault for each in archive.images_in(io.BytesIO(broken))]
    assert [bool(fault) for fault in faults] == [False, True, False]


def test_an_entry_that_says_less_than_it_holds_gives_no_more_than_it_says() -> None:
    content = b"\0" * 50_000_000
    data = bytearray(packed({"a/1.jpg": content, "a/2.jpg": JPEG}).getvalue())
    # In both places where an archive declares the size of an entry.
    at = data.find(struct.pack("<L", len(content)))
    while at >= 0:
        data[at : at + 4] = struct.pack("<L", 1000)
        at = data.find(struct.pack("<L", len(content)))
    tracemalloc.start()
    found = list(archive.images_in(io.BytesIO(bytes(data))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found[0].data) <= 1000
    assert found[1].data == JPEG
    assert peak < 5_000_000


def test_an_image_that_is_too_large_encrypted_or_damaged_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_UPLOAD_BYTES", len(JPEG))
    entries = {"a/1.jpg": JPEG, "a/2.jpg": JPEG + b"\0", "a/3.jpg": JPEG}
    data = bytearray(packed(entries, zipfile.ZIP_STORED).getvalue())
    first = data.find(JPEG)
    data[first + 20] ^= 0xFF  # the checksum is that of other bytes now
    third = data.rfind(b"PK\x01\x02")
    data[third + 8] |= 1
    faults = [each.fault for each in archive.images_in(io.BytesIO(bytes(data)))]
    assert [fault.split(":")[0].split(" ")[2] for fault in faults] == ["damaged", "more", "encrypted"]


def test_the_next_page_shows_what_came_of_many_classes_with_long_names(
    client: FlaskClient, queue: RedisServer, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)
    client.post("/review/login", data={"key": KEY, "name": "Ann"}, headers=OWN)
    names = ["".join(chr(0x4E00 + hash((number, at)) % 20_000) for at in range(60)) for number in range(16)]
    entries = {f"{name}/{place}.jpg": JPEG if place else b"x" for name in names for place in range(2)}
    led = client.post("/teach/archive", data={"file": (packed(entries), "a.zip")}, headers=OWN | PAGE)
    assert len(led.headers["Set-Cookie"]) < 4000, "browsers drop a larger one"
    page = client.get("/teach").text
    assert "16 of 32 images are examples now" in page
    assert re.search(r"And \d+ more\.", page)


def test_an_archive_makes_cases_of_each_class(
    client: FlaskClient, application: Flask, queue: RedisServer, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)
    client.post("/review/login", data={"key": KEY, "name": "Ann"}, headers=OWN)
    images = [sample_images.jpeg(64, 40 + number) for number in range(3)]
    entries = {"bar_chart/a.jpg": images[0], "lynx/b.jpg": images[1], "lynx/c.jpg": images[2], "lynx/d.jpg": b"x"}
    answer = client.post("/teach/archive", data={"file": (packed(entries), "a.zip")}, headers=OWN)
    assert answer.status_code == 200, answer.text
    assert answer.get_json()["labels"] == {"bar_chart": 1, "lynx": 2}
    assert [each["success"] for each in answer.get_json()["examples"]] == [True, True, True, False]
    with application.test_request_context():
        assert sorted(case["final_label"] for case in record.report_store().cases(0)) == ["bar_chart", "lynx", "lynx"]
    led = client.post("/teach/archive", data={"file": (packed(entries), "a.zip")}, headers=OWN | PAGE)
    assert (led.status_code, led.location) == (303, "/teach")
    page = client.get("/teach").text
    assert "3 of 4 images are examples now" in page
    assert "lynx/d.jpg" in page
    refused = client.post("/teach/archive", data={"file": (io.BytesIO(b"x"), "a.zip")}, headers=OWN)
    assert (refused.status_code, refused.get_json()["code"]) == (422, "archive_refused")
    assert client.post("/teach/archive", data={"file": (packed(entries), "a.zip")}).status_code in {401, 403}
