import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

import settings
from predict import prediction_ids
from predict.prediction_ids import Predicted

PREDICTED = Predicted("0123456789abcdef0123456789abcdef.jpeg", "carpenter's_kit", 0.8765, "efficientnet-lite0/1-int8")


@given(
    filename=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60),
    label=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60),
    score=st.floats(0, 1),
)
def test_an_id_says_what_was_answered(filename: str, label: str, score: float) -> None:
    predicted = Predicted(filename, label, score, "net/1")
    assert prediction_ids.read(prediction_ids.issue("1f" * 16, predicted)) == predicted


def test_an_id_begins_with_the_job_s_and_fits_a_header() -> None:
    issued = prediction_ids.issue("1f" * 16, PREDICTED)
    assert issued.startswith("1f" * 16 + ".")
    assert issued.isascii()
    assert len(issued) < 200


@pytest.mark.parametrize("at", range(0, len(prediction_ids.issue("1f" * 16, PREDICTED)), 7))
def test_an_id_that_was_changed_anywhere_is_none(at: int) -> None:
    issued = prediction_ids.issue("1f" * 16, PREDICTED)
    changed = issued[:at] + ("A" if issued[at] != "A" else "B") + issued[at + 1 :]
    assert prediction_ids.read(changed) is None


@given(text=st.text())
def test_no_other_text_is_an_id(text: str) -> None:
    assert prediction_ids.read(text) is None


def test_another_note_under_a_signature_is_none() -> None:
    job, _, rest = prediction_ids.issue("job", PREDICTED).partition(".")
    signed = base64.urlsafe_b64decode(rest + "==")
    forged = base64.urlsafe_b64encode(signed.replace(b"carpenter's_kit", b"carpenter's_cat")).decode()
    assert prediction_ids.read(f"{job}.{forged}") is None


def test_another_service_s_id_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    issued = prediction_ids.issue("job", PREDICTED)
    monkeypatch.setattr(settings, "SECRET_KEY", "another")
    assert prediction_ids.read(issued) is None


def test_an_id_names_its_owner_whatever_the_class_is_called() -> None:
    owned = PREDICTED._replace(owner="alice")
    assert prediction_ids.read(prediction_ids.issue("job", owned)) == owned
    hostile = PREDICTED._replace(label="cat\x000.5\0net/1\0bob")
    told = prediction_ids.read(prediction_ids.issue("job", hostile))
    assert told == PREDICTED._replace(label="cat\ufffd0.5\ufffdnet/1\ufffdbob")
