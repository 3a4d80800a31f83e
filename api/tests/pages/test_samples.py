"""The sample images of the page, classified by its form without scripts."""

import pytest
from flask.testing import FlaskClient

import views
from pages import samples


def test_a_sample_is_stored_and_answered_as_if_it_were_sent(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def predicted(name: str) -> tuple[str, float]:
        asked.append(name)
        return "espresso", 0.9

    monkeypatch.setattr(views, "model_predict", predicted)
    page = client.post("/?sample=espresso")
    assert page.status_code == 200
    assert 'data-state="answer"' in page.text
    assert client.get(f"/display/{asked[0]}").data == (samples.folder() / "espresso.jpg").read_bytes()


@pytest.mark.parametrize(("name", "status"), [("nothing", 404), ("../secret", 400), ("", 400)])
def test_what_is_no_sample_is_refused(client: FlaskClient, name: str, status: int) -> None:
    assert client.post("/", query_string={"sample": name}).status_code == status


def test_a_file_beside_a_sample_is_refused_on_the_page(client: FlaskClient) -> None:
    answer = client.post("/?sample=espresso", data={"file": (samples.folder() / "cat.jpg").open("rb")})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert "not both" in client.get("/").text
