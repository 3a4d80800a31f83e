"""That's wrong: the page requests the right label in one step, and shows the outcome of the report."""

import csv
from pathlib import Path

import pytest
from playwright.sync_api import Request

from sightline_testing.browser import Visitor
from sightline_testing.service import Service


def lines(service: Service) -> list[str]:
    """What is reported up to now; nothing is known of a service that was not started here."""
    file = service.state_dir and service.state_dir / "feedback" / "feedback"
    return file.read_text().splitlines() if file and file.exists() else []


def last_row(service: Service) -> dict[str, str] | None:
    if not service.state_dir:
        return None
    with (service.state_dir / "feedback" / "feedback.csv").open(newline="") as file:
        return list(csv.DictReader(file))[-1]


def reported(visitor: Visitor, label: str = "") -> Request:
    """Report the answer that is shown, and give what was sent."""
    if label:
        visitor.page.locator("#report-label").fill(label)
    with visitor.page.expect_request("**/feedback") as sent:
        visitor.report()
    visitor.reported()
    return sent.value


def test_a_report_names_the_prediction_the_stored_image_the_class_and_the_score(
    visitor: Visitor, service: Service, image: Path
) -> None:
    before = lines(service)
    with visitor.page.expect_response("**/predict*") as answered:
        visitor.choose(image)
    visitor.answer()
    sent = reported(visitor)
    answer = answered.value.json()
    assert sent.post_data_json == {"prediction_id": answer["prediction_id"], "label": ""}
    if service.state_dir:
        said = "{{'filename': '{filename}', 'prediction': '{prediction}', 'score': {score}}}".format(**answer)
        assert lines(service) == [*before, said]
        row = last_row(service)
        assert row is not None
        assert (row["model"], row["model_version"]) == tuple(answer["model_version"].split("/"))
        assert len(row["image_sha256"]) == 64


@pytest.mark.parametrize(("typed", "kept"), [("Tiger cat", "tiger_cat"), ("bar chart <b>", "bar chart <b>")])
def test_what_it_really_is_may_be_known_to_the_model_or_not(
    visitor: Visitor, service: Service, image: Path, typed: str, kept: str
) -> None:
    visitor.choose(image)
    visitor.answer()
    reported(visitor, typed)
    row = last_row(service)
    assert row is None or row["label"] == kept


def test_who_is_not_sure_need_not_say_what_it_is(visitor: Visitor, service: Service, image: Path) -> None:
    visitor.choose(image)
    visitor.answer()
    visitor.page.locator("#report-label").fill("half a gue")
    visitor.page.locator("#report-unsure").click()
    visitor.reported()
    row = last_row(service)
    assert row is None or row["label"] == ""


def test_that_s_wrong_without_a_name_asks_for_one_before_anything_is_sent(
    visitor: Visitor, service: Service, image: Path
) -> None:
    visitor.choose(image)
    visitor.answer()
    before = lines(service)
    visitor.page.locator("#report-button").click()
    visitor.page.locator("#report-line", has_text="What is it? Write its name, or choose “Not sure”.").wait_for()
    assert visitor.focused() == "report-label"
    assert visitor.spoken().startswith("What is it?")
    assert lines(service) == before
    visitor.page.keyboard.type("lynx")
    visitor.page.keyboard.press("Enter")
    visitor.reported()


def test_a_report_can_be_taken_back_and_sent_again(visitor: Visitor, service: Service, image: Path) -> None:
    visitor.choose(image)
    visitor.answer()
    reported(visitor, "lynx")
    visitor.page.get_by_role("button", name="Undo").click()
    visitor.page.locator("#report-line", has_text="Your report is withdrawn.").wait_for()
    if service.state_dir:
        decided = (service.state_dir / "feedback" / "decisions.csv").read_text().splitlines()[-1]
        assert '"reject","","the reporter"' in decided
    before = lines(service)
    reported(visitor, "lynx")
    assert not service.state_dir or len(lines(service)) == len(before) + 1, "it is another report"


def test_the_labels_of_the_model_are_offered_while_one_types(visitor: Visitor, image: Path) -> None:
    visitor.choose(image)
    visitor.answer()
    assert visitor.page.locator("#labels option").count() == 0, "no text was typed"
    visitor.page.locator("#report-label").focus()
    offered = visitor.page.locator('#labels option[value="tiger cat"]')
    offered.wait_for(state="attached")
    assert visitor.page.locator("#labels option").count() > 100


def test_enter_sends_what_was_typed(visitor: Visitor, service: Service, image: Path) -> None:
    visitor.choose(image)
    visitor.answer()
    visitor.page.locator("#report-label").fill("lynx")
    visitor.page.keyboard.press("Enter")
    visitor.reported()
    row = last_row(service)
    assert row is None or row["label"] == "lynx"
    assert visitor.focused() == "report-line", "the field is gone, and the keyboard is where the thanks stand"


def test_a_report_is_sent_once_for_each_answer(visitor: Visitor, image: Path) -> None:
    visitor.choose(image)
    visitor.answer()
    visitor.report()
    visitor.reported()
    button = visitor.page.locator("#report-button")
    assert not button.is_visible()
    visitor.choose(image)
    button.wait_for()
    visitor.page.locator("#tiles .tile").last.click()
    visitor.reported()
    assert not button.is_visible(), "nor when the first answer is shown again"


def test_a_report_that_does_not_arrive_is_not_thanked_for(visitor: Visitor, image: Path) -> None:
    visitor.choose(image)
    visitor.answer()
    visitor.page.context.set_offline(True)
    visitor.report()
    visitor.page.locator("#report-line", has_text="The report was not saved. The service cannot be reached.").wait_for()
    visitor.page.context.set_offline(False)
    visitor.report()
    visitor.reported()


def test_a_report_that_does_not_arrive_says_nothing_about_the_next_image(
    visitor: Visitor, photograph: Path, image: Path
) -> None:
    visitor.choose(photograph)
    visitor.answer()
    held = visitor.hold("**/feedback*")
    visitor.report()
    request = held.wait()
    visitor.choose(image)
    visitor.page.get_by_alt_text("The image you gave: scene.jpg").wait_for()
    visitor.answer()
    request.abort()
    visitor.page.wait_for_timeout(300)
    assert visitor.page.locator("#report-line").inner_text() == "Not right? What is it?"


def test_a_report_whose_answer_was_lost_is_kept_once(visitor: Visitor, service: Service, image: Path) -> None:
    visitor.choose(image)
    visitor.answer()
    before = lines(service)
    lose = lambda route: (route.fetch(), route.abort())  # noqa: E731 -- Playwright marks its handlers
    visitor.page.route("**/feedback", lose, times=1)
    visitor.report()
    visitor.page.locator("#report-line", has_text="The report was not saved.").wait_for()
    visitor.report()
    visitor.reported()
    assert not service.state_dir or len(lines(service)) == len(before) + 1
