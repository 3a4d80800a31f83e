"""Suggested images, in a real Redis: a list that is replaced as a whole, and shrinks with each decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sightline_testing.queue_probe import QueueProbe
from wire.errors import MessageError
from wire.orders.suggestions import CLAIMED_S, MAX_SUGGESTIONS, UNSURE, Search, Suggestion, Suggestions

ONE = Suggestion("ab" * 32, "one.jpg", "tabby", 0.25, "m/1", {UNSURE: ""}, 0)
SEARCH = Search(1764510000, 40, "m/1", "m/2", {"near": "no class was taught"})


@pytest.fixture
def listed(queue: QueueProbe) -> Suggestions:
    return Suggestions(queue.address, queue.name, timeout_s=60.0)


def numbered(number: int) -> Suggestion:
    return replace(ONE, image=f"{number:064x}", rank=number)


def test_before_a_search_there_is_neither_a_list_nor_a_search(listed: Suggestions) -> None:
    assert listed.read() == ([], None)
    listed.remove([])


def test_a_list_is_replaced_as_a_whole_and_read_in_its_order(listed: Suggestions) -> None:
    listed.replace([ONE], SEARCH)
    listed.replace([numbered(12), numbered(3)], SEARCH)
    assert listed.read() == ([numbered(3), numbered(12)], SEARCH)
    assert listed.find([numbered(3).image, ONE.image]) == {numbered(3).image: numbered(3)}


def test_what_is_decided_leaves_the_list(listed: Suggestions) -> None:
    listed.replace([numbered(1), numbered(2)], SEARCH)
    listed.remove([numbered(1).image, ONE.image])
    assert listed.read().suggestions == [numbered(2)]


def test_of_several_who_claim_an_image_one_has_it_until_it_is_released(listed: Suggestions, queue: QueueProbe) -> None:
    assert listed.claim([]) == set()
    assert listed.claim(["a", "b"]) == {"a", "b"}
    assert listed.claim(["b", "c"]) == {"c"}
    assert 0 < queue.redis("TTL", f"{queue.keys.suggestions}:claimed:a") <= CLAIMED_S
    listed.release(["b"])
    listed.release([])
    assert listed.claim(["a", "b"]) == {"b"}


def test_the_list_is_bounded(listed: Suggestions) -> None:
    listed.replace([numbered(number) for number in range(MAX_SUGGESTIONS + 1)], SEARCH)
    assert len(listed.read().suggestions) == MAX_SUGGESTIONS


def test_entries_that_cannot_be_read_are_left_out(queue: QueueProbe, listed: Suggestions) -> None:
    listed.replace([ONE], SEARCH)
    queue.redis("HSET", queue.keys.suggestions, "x", b"{", "about", b"[]")
    assert listed.read() == ([ONE], None)


def test_the_bytes_of_a_suggestion() -> None:
    """Written without the encoder: both sides may be of different releases."""
    data = (
        b'{"v":1,"image":"' + b"ab" * 32 + b'","filename":"one.jpg","prediction":"tabby","score":0.25,"model":"m/1",'
        b'"reasons":{"unsure":""},"rank":0}'
    )
    assert ONE.encode() == data
    assert Suggestion.decode(data) == ONE
    assert Suggestion.decode(data.replace(b'"unsure"', b'"of a later release"')).reasons == {}
    for wrong in (b"one.jpg", b"0.25"):
        with pytest.raises(MessageError):
            Suggestion.decode(data.replace(wrong, b"../x"))
