import base64
import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

import settings
from predict.prediction import Prediction

FILENAME, VERSION, JOB = "0123456789abcdef0123456789abcdef.jpeg", "efficientnet-lite0/1-int8", "1f" * 16


def predicted(best: tuple[str, float] = ("carpenter's_kit", 0.8765), **known: Any) -> Prediction:
    return Prediction(best, **{"filename": FILENAME, "job_id": JOB, "model_version": VERSION} | known)


def facts(prediction: Prediction | None) -> dict[str, Any] | None:
    """Everything that an id holds."""
    names = ("filename", "label", "score", "job_id", "owner", "model_version")
    return None if prediction is None else {name: getattr(prediction, name) for name in names}


@given(
    filename=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60),
    label=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60),
    score=st.floats(0, 1),
)
def test_an_id_says_what_was_answered(filename: str, label: str, score: float) -> None:
    prediction = predicted((label, score), filename=filename)
    assert facts(Prediction.of_id(prediction.id)) == facts(prediction)


def test_an_id_begins_with_the_job_s_and_fits_a_header() -> None:
    issued = predicted().id
    assert issued.startswith(f"{JOB}.")
    assert issued.isascii()
    assert len(issued) < 200


@pytest.mark.parametrize("at", range(0, len(predicted().id), 7))
def test_an_id_that_was_changed_anywhere_is_none(at: int) -> None:
    issued = predicted().id
    changed = issued[:at] + ("A" if issued[at] != "A" else "B") + issued[at + 1 :]
    assert Prediction.of_id(changed) is None


@given(text=st.text())
def test_no_other_text_is_an_id(text: str) -> None:
    assert Prediction.of_id(text) is None


def test_another_note_under_a_signature_is_none() -> None:
    job, _, rest = predicted().id.partition(".")
    signed = base64.urlsafe_b64decode(rest + "==")
    forged = base64.urlsafe_b64encode(signed.replace(b"carpenter's_kit", b"carpenter's_cat")).decode()
    assert Prediction.of_id(f"{job}.{forged}") is None


def test_another_service_s_id_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    issued = predicted().id
    monkeypatch.setattr(settings, "SECRET_KEY", "another")
    assert Prediction.of_id(issued) is None


def test_an_id_names_its_owner_whatever_the_class_is_called() -> None:
    owned = predicted(owner="alice")
    assert facts(Prediction.of_id(owned.id)) == facts(owned)
    hostile = predicted(("cat\x000.5\0net/1\0bob", 0.8765))
    read = Prediction.of_id(hostile.id)
    assert read is not None
    assert (read.label, read.owner) == ("cat\ufffd0.5\ufffdnet/1\ufffdbob", "")


@pytest.mark.parametrize(("query", "headers"), [("top_k=none&explain=1", {}), ("", {"X-Request-Timeout-Ms": "soon"})])
def test_the_pages_form_ignores_what_programs_may_choose(
    client: FlaskClient, asked: list[str], image: bytes, query: str, headers: dict[str, str]
) -> None:
    form = {"file": (io.BytesIO(image), "cat.jpg")}
    assert client.post(f"/?{query}", data=form, headers=headers).status_code == 200
    assert len(asked) == 1
