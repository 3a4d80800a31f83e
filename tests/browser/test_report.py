"""That's wrong: the report is sent as it has always been, and what became of it is said."""

from pathlib import Path
from urllib.parse import parse_qs

from sightline_testing.browser import Visitor
from sightline_testing.service import Service


def lines(service: Service) -> list[str]:
    """What is reported up to now; nothing is known of a service that was not started here."""
    file = service.state_dir and service.state_dir / "feedback" / "feedback"
    return file.read_text().splitlines() if file and file.exists() else []


def test_a_report_names_the_stored_picture_the_class_and_the_score(
    visitor: Visitor, service: Service, picture: Path
) -> None:
    before = lines(service)
    with visitor.page.expect_response("**/predict*") as answered:
        visitor.choose(picture)
    visitor.answer()
    with visitor.page.expect_request("**/feedback") as sent:
        visitor.report()
    visitor.reported()
    answer = answered.value.json()
    said = "{{'filename': '{filename}', 'prediction': '{prediction}', 'score': {score}}}".format(**answer)
    model, version = answer["model_version"].split("/")
    fields = {"report": [said], "model": [model], "model_version": [version]}
    assert parse_qs(sent.value.post_data or "") == fields
    if service.state_dir:
        assert lines(service) == [*before, said]


def test_a_report_is_sent_once_for_each_answer(visitor: Visitor, picture: Path) -> None:
    visitor.choose(picture)
    visitor.answer()
    visitor.report()
    visitor.reported()
    button = visitor.page.locator("#report-button")
    assert not button.is_visible()
    visitor.choose(picture)
    button.wait_for()
    visitor.page.locator("#tiles .tile").last.click()
    visitor.reported()
    assert not button.is_visible(), "nor when the first answer is shown again"


def test_a_report_that_does_not_arrive_is_not_thanked_for(visitor: Visitor, picture: Path) -> None:
    visitor.choose(picture)
    visitor.answer()
    visitor.page.context.set_offline(True)
    visitor.report()
    visitor.page.locator("#report-line", has_text="The report was not saved. The service cannot be reached.").wait_for()
    visitor.page.context.set_offline(False)
    visitor.report()
    visitor.reported()
