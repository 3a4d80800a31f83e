import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import schema
from reports.schema import Report

# Where lines break, what ends a quoted string, what begins a formula.
tricky = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029'\"\\{},:=+-@\t"))
)


@given(
    filename=st.from_regex(r"[0-9a-f]{32}\.(jpg|png)", fullmatch=True),
    prediction=st.text(
        st.characters(codec="utf-8", exclude_characters="\\\r\n'", exclude_categories=["Cc"]), max_size=60
    ),
    score=st.floats(0, 1),
)
def test_the_page_s_report_is_read_back(filename: str, prediction: str, score: float) -> None:
    text = f"{{'filename': '{filename}', 'prediction': '{prediction}', 'score': {score}}}"
    assert schema.parse(text) == Report(filename, prediction, score)


@pytest.mark.parametrize("label", ["carpenter's_kit", "jack-o'-lantern", "'", "it's, 'score': 0.1"])
def test_labels_that_end_the_string_early_are_read_all_the_same(label: str) -> None:
    text = f"{{'filename': 'a.jpg', 'prediction': '{label}', 'score': 0.9}}"
    assert schema.parse(text) == Report("a.jpg", label, 0.9)


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 1, "prediction": "tabby", "filename": "a.jpg"}',
        " {'filename':'a.jpg','prediction':'tabby','score':1} ",
        "{'filename': 'a.jpg', 'prediction': 'tab' 'by', 'score': 1e0}",
    ],
)
def test_any_way_to_write_the_three_keys_will_do(text: str) -> None:
    assert schema.parse(text) == Report("a.jpg", "tabby", 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "this is wrong",
        "[]",
        "{}",
        "{'filename': 'a.jpg', 'prediction': 'tabby'}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 'high'}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': True}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': None}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 1e999}",
        "{'filename': 'a.jpg', 'prediction': 7, 'score': 1}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 1, 'more': 2}",
        "{'filename': '../a.jpg', 'prediction': 'tabby', 'score': 1}",
        "{'filename': 'a\\\\b.jpg', 'prediction': 'tabby', 'score': 1}",
        "{'filename': '', 'prediction': 'tabby', 'score': 1}",
        "{'filename': 'a.jpg', 'prediction': 'it's', 'score': 1.2.3}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': " + "9" * 4000 + "}",
        "{'filename': 'a.jpg', 'prediction': '" + "x" * schema.MAX_PARSED_CHARACTERS + "', 'score': 1}",
        "(" * 4000,
        "\0",
        "__import__('os').system('true')",
    ],
)
def test_any_other_text_is_no_report(text: str) -> None:
    assert schema.parse(text) is None


@given(text=st.one_of(tricky, st.text()))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    report = schema.parse(text)
    assert report is None or math.isfinite(report.score)
