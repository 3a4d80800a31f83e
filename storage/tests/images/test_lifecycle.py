"""The rules by which a real S3 server removes old objects: set, read, and set again next to other rules."""

import secrets
from xml.etree import ElementTree

import pytest

from sightline_testing.s3_server import KEY, SECRET, S3Server
from storage.errors import StorageUnavailable
from storage.images.lifecycle import Lifecycle, Rule, _rule_of
from storage.s3 import Server

DAYS = {"images": 30, "owners": 31}


def server(s3_server: S3Server, secret: str = SECRET) -> Server:
    return Server(s3_server.url, "us-east-1", KEY, secret)


def test_what_is_below_a_folder_of_the_place_is_removed_after_its_days(s3_server: S3Server) -> None:
    prefix = secrets.token_hex(4)
    lifecycle = Lifecycle(f"s3://images/{prefix}", server(s3_server))
    assert lifecycle.days("images") == 0
    lifecycle.expire(DAYS)
    assert [lifecycle.days(folder) for folder in ("images", "owners", "reported")] == [30, 31, 0]


def test_rules_are_renewed_and_those_of_others_stay(s3_server: S3Server) -> None:
    one, other = (Lifecycle(f"s3://images/{secrets.token_hex(4)}", server(s3_server)) for _ in range(2))
    one.expire(DAYS)
    other.expire(DAYS)
    before = len(other.rules())
    other.expire({"images": 7, "owners": 8})
    assert [one.days("images"), other.days("images"), other.days("owners")] == [30, 7, 8]
    assert len(other.rules()) == before


@pytest.mark.parametrize(
    ("place", "secret", "says"),
    [("s3://images/a", "another", "SignatureDoesNotMatch"), ("s3://no-such-bucket", SECRET, "NoSuchBucket")],
)
def test_a_refusal_names_the_reason_of_the_server(s3_server: S3Server, place: str, secret: str, says: str) -> None:
    with pytest.raises(StorageUnavailable, match=says):
        Lifecycle(place, server(s3_server, secret)).rules()


def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(StorageUnavailable, match="refused"):
        Lifecycle("s3://images", Server("http://127.0.0.1:1", access_key_id=KEY, secret_access_key=SECRET)).rules()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("<ID>a</ID><Prefix>x/</Prefix><Expiration><Days>1</Days></Expiration>", Rule("a", "x/", 1)),
        (
            "<Filter><And><Prefix>x/</Prefix></And></Filter><Expiration><Date>2030</Date></Expiration>",
            Rule("", "x/", 0),
        ),
        ("<Filter/><Transition><Days>9</Days></Transition>", Rule("", "", 0)),
    ],
)
def test_a_rule_is_read_in_each_of_its_forms(text: str, rule: Rule) -> None:
    element = ElementTree.fromstring(f"<Rule><Status>Enabled</Status>{text}</Rule>")  # noqa: S314  our own
    assert _rule_of(element) == rule
