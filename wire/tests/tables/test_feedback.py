"""The names of exported folders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.tables.feedback import folder_name, label_of

HARD = (
    "..", ".", ".hidden", "a.", "a ", " a", "a/b", "a\\b", "/etc", "C:", "a:b", "100%", "a%2Fb", "%-0123456789abcdef",
    "CON", "con", "nul.txt", "COM1", "com\u00b9", "LPT9.x", "CONIN$", "Aux", "cases.csv", "Cases.CSV", "metadata.jsonl",
    "nul\0", "tab\t", "what?", "<b>", "a|b", '"', "*", "\ud800", "\udfff x", "caf\u00e9", "cafe\u0301",
)  # fmt: skip
LONG = (
    "\u5716" * 90,
    "\u5716" * 67,
    "x" * 201,
    "\U0001f600" * 200,
    "%" * 200,
    "\u5716" * 89 + "\u8868",
    ".\u00fc" * 150,
)


@pytest.mark.parametrize("label", [*HARD, *LONG, "x" * 200, "\u5716" * 66])
def test_a_folder_s_name_is_one_everywhere(label: str) -> None:
    name = folder_name(label)
    assert 0 < len(name.encode()) <= 200
    assert not set(name) & set('/\\:*?"<>|')
    assert name.isprintable()
    assert not {name[0], name[-1]} & set(". ")
    assert name.partition(".")[0].casefold() not in {"con", "prn", "aux", "nul", "com1", "com\u00b9", "lpt9", "conin$"}
    assert name.casefold() not in {"cases.csv", "metadata.jsonl"}


@pytest.mark.parametrize("label", HARD)
def test_a_label_is_read_back_from_its_folder(label: str) -> None:
    assert label_of(folder_name(label)) == label


@pytest.mark.parametrize("label", LONG)
def test_a_name_that_was_cut_is_known_to_be(label: str) -> None:
    assert label_of(folder_name(label)) is None


@pytest.mark.parametrize(
    "name", ["tabby", "50%", "50%-off", "100% wool", "%zz", "%FF", "%41", "a%2fb", "x-0123456789abcdef"]
)
def test_a_folder_that_a_person_has_made_is_named_like_its_label(name: str) -> None:
    assert label_of(name) == name


@given(labels=st.lists(st.text(st.characters(), min_size=1), min_size=2, max_size=2, unique=True))
def test_two_labels_never_share_a_folder_and_are_read_back(labels: list[str]) -> None:
    names = [folder_name(label) for label in labels]
    assert len(set(names)) == 2
    assert all(label_of(name) in (label, None) for name, label in zip(names, labels, strict=True))


@given(label=st.text(st.sampled_from("x%-.\u5716 0a"), min_size=60, max_size=260))
def test_no_label_takes_the_folder_of_one_that_was_cut(label: str) -> None:
    assert folder_name(folder_name(label)) != folder_name(label) or label_of(folder_name(label)) == label
