import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.tables.labels import Spelling, key, tidy

ONE_CLASS = [
    ("tiger cat", "Tiger_Cat", " TIGER\u00a0\tcat ", "tiger\u3000cat", "ti\u200bger cat", "tiger__cat"),
    ("caf\u00e9", "cafe\u0301", "CAF\u00c9", "\uff43\uff41\uff46\u00e9", "ca\u00adf\u00e9\ufeff"),
    ("carpenter's_kit", "Carpenter\u2019s kit", "carpenter\uff07s kit", "carpenter\u02bcs kit"),
    ("T-shirt", "t\u2011shirt", "T\u2013SHIRT", "\uff34-shirt", "t\u2212shirt"),
    ("stra\u00dfe", "STRASSE", "stra\u1e9ee"),
    ("\u30c6\u30ec\u30d3", "\uff83\uff9a\uff8b\uff9e"),
    ("\ud55c\uae00", unicodedata.normalize("NFD", "\ud55c\uae00")),
    ("\u2764", "\u2764\ufe0f"),
    ("fi", "\ufb01"),
    ("\u0645\u06cc\u0634\u0648\u062f", "\u0645\u06cc\u200c\u0634\u0648\u062f"),
    ("\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3"),
    ("a b", "a\x00b", "a\x07 b", "a\u2028b", "a\x85b"),
]


@pytest.mark.parametrize("spellings", ONE_CLASS)
def test_spellings_of_one_class_have_one_key(spellings: tuple[str, ...]) -> None:
    assert {key(each) for each in spellings} == {key(spellings[0])}
    assert {Spelling(spellings[:1]).of(each) for each in spellings} == {spellings[0]}


@pytest.mark.parametrize(
    ("one", "other"),
    [("cafe", "caf\u00e9"), ("T-shirt", "T shirt"), ("tigercat", "tiger cat"), ("cat", "cats"), ("1", "2")],
)
def test_what_differs_in_more_is_another_class(one: str, other: str) -> None:
    assert key(one) != key(other)


@given(label=st.text(st.characters(codec="utf-8")))
def test_a_label_s_key_and_its_tidy_form_stay_what_they_are(label: str) -> None:
    assert key(key(label)) == key(label)
    assert tidy(tidy(label)) == tidy(label)
    assert key(tidy(label)) == key(label)
    assert len(tidy(label).splitlines()) < 2


@pytest.mark.parametrize("label", ["", " ", "_", "\u200b", "\u3164", "\u00ad\ufeff", "\x00", "_\u2060_"])
def test_what_nobody_sees_names_no_class(label: str) -> None:
    assert key(label) == ""
    assert Spelling(["tabby"]).of(label) == ""


def test_labels_of_a_model_that_differ_in_their_spelling_alone_keep_their_own() -> None:
    spelling = Spelling(["Polish", "polish", "nail_polish"])
    assert [spelling.of(label) for label in ("Polish", "polish", "POLISH", "Nail polish")] == [
        "Polish", "polish", "Polish", "nail_polish",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("label", "named"), [("Polish", ["Shoe cream", "polish"]), ("polish", ["Polish", "Shoe cream"])]
)
def test_of_labels_that_differ_in_their_spelling_alone_one_is_renamed(label: str, named: list[str]) -> None:
    spelling = Spelling(["Polish", "polish"], [(label, "Shoe cream")])
    assert [spelling.of(each) for each in ("Polish", "polish", "POLISH")] == [*named, named[0]]
    assert spelling.of("shoe_cream") == "Shoe cream"
    back = Spelling(["Polish", "polish"], [(label, "Shoe cream"), ("Shoe cream", label)])
    assert [back.of(each) for each in ("Polish", "polish")] == ["Polish", "polish"]


def test_a_new_class_is_called_as_it_was_written_first() -> None:
    spelling = Spelling(["tiger_cat"]).extended(["Bar  chart", "bar_chart", "Tiger cat"])
    assert spelling.of("BAR CHART") == "Bar chart"
    assert spelling.of("tiger cat") == "tiger_cat"


def test_a_renamed_class_has_its_new_name_under_every_spelling() -> None:
    spelling = Spelling(["tiger_cat", "bar chart"], [("Bar_chart", "column  chart"), ("tiger cat", "Striped cat")])
    assert spelling.of("BAR chart") == spelling.of("Column Chart") == "column chart"
    assert spelling.of("tiger_cat") == "Striped cat"
    assert set(spelling.keys("column chart")) == {"bar chart", "column chart"}


def test_renames_follow_each_other_and_lead_back() -> None:
    renames = [("a", "b"), ("b", "c")]
    assert [Spelling(["a"], renames).of(label) for label in "abc"] == ["c"] * 3
    assert [Spelling(["a"], [*renames, ("c", "a")]).of(label) for label in "abc"] == ["a"] * 3
    assert [Spelling(["a"], [*renames, ("a", "d")]).of(label) for label in "abcd"] == ["d"] * 4


def test_a_class_that_is_given_the_name_of_another_becomes_part_of_it() -> None:
    spelling = Spelling(["bar chart", "bar graph", "tabby"], [("bar graph", "Bar_Chart")])
    assert {spelling.of(label) for label in ("bar graph", "BAR CHART")} == {"bar chart"}
    assert spelling.of("tabby") == "tabby"


def test_a_class_is_respelled_by_its_own_name() -> None:
    assert Spelling(["Bar Chart"], [("bar chart", "bar chart")]).of("BAR CHART") == "bar chart"


@pytest.mark.parametrize("rename", [("", "x"), ("x", ""), ("\u200b", "x"), ("x", "_")])
def test_a_rename_of_nothing_changes_nothing(rename: tuple[str, str]) -> None:
    assert [Spelling(["x"], [rename]).of(label) for label in ("x", "y")] == ["x", "y"]
