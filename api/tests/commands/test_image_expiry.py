"""The command that has a bucket remove images, on a real S3 server."""

import json
import secrets

import pytest

import settings
from commands import image_expiry
from sightline_testing.s3_server import KEY, SECRET, S3Server
from storage.images.lifecycle import Lifecycle
from storage.s3 import Server


@pytest.fixture
def place(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    place = f"s3://images/{secrets.token_hex(4)}"
    for name, value in {**s3_server.settings, "IMAGE_STORE": place, "KEEP_UPLOADS_DAYS": 6.5}.items():
        monkeypatch.setattr(settings, name, value)
    return place


def test_images_are_removed_after_the_days_of_the_setting_and_reported_ones_never(
    place: str, s3_server: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image_expiry.main([]) == 0
    lifecycle = Lifecycle(place, Server(s3_server.url, "us-east-1", KEY, SECRET))
    assert [lifecycle.days(folder) for folder in ("images", "owners", "reported")] == [7, 8, 0]
    set_to = capsys.readouterr().out
    assert image_expiry.main(["--show"]) == 0
    assert f"{place.removeprefix('s3://images/')}/images/: removed after 7 days\n" in set_to
    assert capsys.readouterr().out == set_to


def test_the_rules_are_printed_for_other_tools_without_a_request(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "S3_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(settings, "S3_ACCESS_KEY_ID", "")
    assert image_expiry.main(["--json"]) == 0
    [images, owners] = json.loads(capsys.readouterr().out)["Rules"]
    assert images["Filter"] == {"Prefix": f"{place.removeprefix('s3://images/')}/images/"}
    assert [rule["Expiration"]["Days"] for rule in (images, owners)] == [7, 8]
    assert image_expiry.main([]) == 1
    assert "--json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("IMAGE_STORE", "", "IMAGE_STORE is not set"),
        ("S3_SECRET_ACCESS_KEY", "another", "SignatureDoesNotMatch"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_cannot_be_done_is_told(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, name, value)
    assert image_expiry.main([]) == 1
    assert told in capsys.readouterr().err
