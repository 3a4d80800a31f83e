"""With scripts off the plain form does the same: the server renders the answer, the error and the thanks."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from sightline_testing.browser import Visitor
from sightline_testing.sample_images import bad, good

Visit = Callable[..., Visitor]


@pytest.fixture
def plain_visitor(visit: Visit) -> Visitor:
    return visit(java_script_enabled=False)


def send(visitor: Visitor, file: Path) -> None:
    visitor.choose(file)
    with visitor.navigation():
        visitor.page.get_by_role("button", name="Name it").click()


def test_the_plain_form_gives_the_same_answer(plain_visitor: Visitor, visit: Visit, image: Path) -> None:
    send(plain_visitor, image)
    scripted = visit()
    scripted.choose(image)
    assert plain_visitor.answer() == scripted.answer()
    assert plain_visitor.answer_name() == scripted.answer_name()
    said = plain_visitor.page.locator("#answer-opening").inner_text()
    assert said == scripted.page.locator("#answer-opening").inner_text()


def test_a_sample_image_is_answered_with_one_click(plain_visitor: Visitor) -> None:
    with plain_visitor.navigation():
        plain_visitor.page.get_by_role("button", name="espresso").click()
    assert plain_visitor.answer_name().lower() == "espresso"
    assert plain_visitor.page.get_by_alt_text("The image you gave").evaluate("image => image.naturalWidth") > 0


def test_the_plain_form_shows_the_stored_image(plain_visitor: Visitor, image: Path) -> None:
    send(plain_visitor, image)
    shown = plain_visitor.page.get_by_alt_text("The image you gave")
    stored = plain_visitor.page.request.get(plain_visitor.url + (shown.get_attribute("src") or ""))
    assert stored.body() == good("baseline.jpg").content


@pytest.mark.parametrize("label", ["", "tiger cat"])
def test_the_plain_report_is_thanked_for(plain_visitor: Visitor, image: Path, label: str) -> None:
    send(plain_visitor, image)
    plain_visitor.page.locator("#report-label").fill(label)
    plain_visitor.report()
    expect(plain_visitor.page.get_by_role("heading", level=1)).to_have_text("Thank you")


@pytest.mark.parametrize("name", ["notes.txt", "words.jpg"])
def test_the_plain_form_refuses_in_words(plain_visitor: Visitor, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(bad("text.jpg").content)
    send(plain_visitor, file)
    assert len(plain_visitor.error()) > len("No.")
    expect(plain_visitor.page.get_by_role("heading", level=1)).to_have_text("What is in the image?")


def test_the_report_of_a_rendered_answer_is_sent_by_script_where_there_are_scripts(
    visitor: Visitor, image: Path
) -> None:
    visitor.choose(image)
    visitor.answer()
    page = visitor.page.request.post(
        visitor.url + "/",
        multipart={"file": {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": image.read_bytes()}},
    )
    visitor.page.route("**/rendered", lambda route: route.fulfill(body=page.text(), content_type="text/html"))
    with visitor.before_scripts("/rendered", "main"):
        visitor.page.locator("#report-label").focus()
    expect(visitor.page.locator("#labels option").first).to_be_attached()
    visitor.answer()
    visitor.report()
    visitor.reported()
