"""Reports as tasks of Label Studio, and what was labelled there as decisions."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from flask.testing import FlaskClient

import settings
from commands import feedback
from reports import label_studio
from reports.record import report_store
from tests.review.test_routes import HEADERS, KEY, OWN, decide, report

CONTENT = b"\xff\xd8\xff"


@pytest.fixture(autouse=True)
def _operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)


@pytest.fixture
def folder(client: FlaskClient, uploads_folder: Path) -> Path:
    """Four reports: an open one, one that is accepted, one that is rejected, and one whose image is gone."""
    uploads_folder.mkdir()
    folder = Path(settings.FEEDBACK_FILEPATH).parent
    for name in ("open", "accepted", "rejected"):
        (uploads_folder / f"{name}.jpg").write_bytes(CONTENT + name.encode())
    for name in ("open", "accepted", "rejected", "gone"):
        report(folder, name, label="lynx", comment="the <ears>", model="net", model_version="7")
    decide(client, "accepted", "accept", **HEADERS)
    decide(client, "rejected", "reject", **HEADERS)
    return folder


def archive(client: FlaskClient, query: str = "") -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(client.get(f"/review/label-studio.zip{query}", headers=HEADERS).data))


def tasks(client: FlaskClient, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(archive(client, query).read("sightline/tasks.json"))
    return found


def exported(client: FlaskClient, **said: Any) -> list[dict[str, Any]]:
    """The tasks as Label Studio exports them once they are labelled."""
    made = {"id": 9, "completed_by": 3, "was_cancelled": False, "ground_truth": False, "lead_time": 2.5}
    times = {"created_at": "2026-11-30T12:00:00.000000Z", "updated_at": "2026-11-30T12:00:01.000000Z"}
    return [
        task | {"id": number, "annotations": [made | times | {"result": said[name]}], "predictions": []}
        for number, task in enumerate(tasks(client), 1)
        if (name := task["data"]["report_id"]) in said
    ]


def chosen(value: str, control: str = "label") -> list[dict[str, Any]]:
    part = {"id": "x", "from_name": control, "to_name": "image", "type": "choices", "value": {"choices": [value]}}
    return [part | {"origin": "manual"}]


def take(folder: Path, document: object) -> int:
    file = folder.parent / "export.json"
    file.write_text(json.dumps(document))
    return feedback.main(["label-studio", str(file)])


def decided(name: str) -> tuple[str, str, str]:
    row = report_store().find(name)
    assert row is not None
    return row["status"], row["final_label"], row["reviewer"]


def test_reports_are_tasks_with_what_was_predicted_reported_and_decided(client: FlaskClient, folder: Path) -> None:
    with archive(client) as found:
        assert sorted(found.namelist()) == [
            *(f"sightline/{name}" for name in ("config.xml", "images/accepted.jpg", "images/open.jpg")),
            *(f"sightline/{name}" for name in ("images/rejected.jpg", "tasks.json")),
        ]
        assert found.read("sightline/images/open.jpg") == CONTENT + b"open"
    by_id = {task["data"]["report_id"]: task for task in tasks(client)}
    assert by_id["open"] == {
        "data": {
            "image": "/data/local-files/?d=sightline/images/open.jpg",
            "said": "tabby (predicted); lynx (reported); the <ears>",
            "report_id": "open",
            "decision": 0,
        },
        "predictions": [
            {"model_version": "net/7", "score": 0.5, "result": label_studio._choice("label", "tabby")},
            {"model_version": "reporter", "result": label_studio._choice("label", "lynx")},
        ],
        "annotations": [],
    }
    assert by_id["accepted"]["annotations"] == [{"result": label_studio._choice("label", "lynx")}]
    assert by_id["rejected"]["annotations"] == [{"result": label_studio._choice("report", "reject")}]


@pytest.mark.parametrize(("query", "expected"), [("?status=open", ["open"]), ("?status=rejected", ["rejected"])])
def test_the_reports_of_one_status_are_chosen(
    client: FlaskClient, folder: Path, query: str, expected: list[str]
) -> None:
    assert [task["data"]["report_id"] for task in tasks(client, query)] == expected
    with archive(client, query) as found:
        assert f"sightline/images/{expected[0]}.jpg" in found.namelist()


def test_without_reports_there_is_an_empty_list(client: FlaskClient) -> None:
    assert tasks(client) == []


def test_an_image_that_several_reports_are_about_is_there_once(client: FlaskClient, folder: Path) -> None:
    report(folder, "again", image_path="uploads/open.jpg", label="puma")
    assert [task["data"]["report_id"] for task in tasks(client, "?status=open")] == ["open", "again"]
    with archive(client, "?status=open") as found:
        assert [name for name in found.namelist() if "images" in name] == ["sightline/images/open.jpg"]


def test_the_interface_offers_every_label_that_a_task_names(client: FlaskClient, folder: Path) -> None:
    decide(client, "open", "correct", 'a "b" & <c>', **HEADERS)
    for number, label in enumerate(("it's", "bell \x07")):
        report(folder, f"more {number}", image_path="uploads/open.jpg", label=label)
    with archive(client) as found:
        interface = ElementTree.fromstring(found.read("sightline/config.xml"))  # noqa: S314  our own
    offered = [choice.get("value") for choice in interface.findall("./Choices[@name='label']/Choice")]
    assert offered == ['a "b" & <c>', "it's", "lynx", "tabby"]
    shown = {element.get("value", "")[1:] for element in interface if element.get("value", "").startswith("$")}
    assert shown <= set(tasks(client)[0]["data"])


def test_what_was_labelled_becomes_decisions_once(
    client: FlaskClient, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(folder, "free", image_path="uploads/open.jpg", label="lynx")
    report(folder, "bad", image_path="uploads/open.jpg", label="lynx")
    free = [{"from_name": "other", "to_name": "image", "type": "textarea", "value": {"text": ["bar  chart"]}}]
    said = {
        "open": chosen("Lynx"),
        "free": [*chosen("tabby"), *free],
        "bad": chosen("reject", "report"),
        "accepted": [],
    }
    document = exported(client, **said)
    assert take(folder, document) == 0
    assert "1 accepted, 1 corrected, 1 rejected, 0 as before, 1 without a label; 0 tasks" in capsys.readouterr().out
    assert decided("open") == ("accepted", "lynx", "Label Studio 3")
    assert decided("free") == ("corrected", "bar chart", "Label Studio 3")
    assert decided("bad") == ("rejected", "", "Label Studio 3")
    assert decided("accepted") == ("accepted", "lynx", "operator")
    assert take(folder, document) == 0
    assert "0 accepted, 0 corrected, 0 rejected, 3 as before, 1 without" in capsys.readouterr().out
    document[0]["annotations"][0]["result"] = chosen("puma")
    assert take(folder, document) == 0
    assert decided(document[0]["data"]["report_id"])[1] == "puma", "the same person has labelled it again there"


def test_json_min_is_taken_as_well(client: FlaskClient, folder: Path) -> None:
    flat = {"image": "/data/x.jpg", "annotator": 4, "annotation_id": 1, "lead_time": 1.0}
    document = [
        flat | {"id": 1, "report_id": "open", "decision": 0, "label": "puma"},
        flat | {"id": 2, "report_id": "accepted", "other": ["bar chart"]},
        flat | {"id": 3, "report_id": "gone", "label": {"choices": ["tabby"]}},
    ]
    assert take(folder, document) == 0
    assert decided("open") == ("corrected", "puma", "Label Studio 4")
    assert decided("accepted")[:2] == ("corrected", "bar chart")
    assert decided("gone")[:2] == ("corrected", "tabby")


def test_json_min_has_a_line_for_each_annotation_of_which_the_latest_counts(client: FlaskClient, folder: Path) -> None:
    flat = {"id": 1, "report_id": "open", "decision": 0}
    earlier, later = ({"updated_at": f"2026-11-30T12:00:0{second}.000000Z"} for second in (1, 2))
    document = [flat | later | {"report": "reject"}, flat | earlier | {"label": "puma"}]
    assert take(folder, document) == 0
    assert decided("open")[0] == "rejected"


def test_a_label_that_a_reviewer_has_given_already_stays_the_reviewers(client: FlaskClient, folder: Path) -> None:
    decide(client, "accepted", "correct", "lynx", **HEADERS)  # as it was reported, by hand
    assert take(folder, exported(client, accepted=chosen("lynx"))) == 0
    assert decided("accepted") == ("corrected", "lynx", "operator")


def test_a_single_control_of_any_name_will_do(client: FlaskClient, folder: Path) -> None:
    place = {"from_name": "tax", "to_name": "i", "type": "taxonomy", "value": {"taxonomy": [["animal", "lynx"]]}}
    assert take(folder, exported(client, open=[place], accepted=chosen("puma", "kind"))) == 0
    assert (decided("open")[:2], decided("accepted")[:2]) == (("accepted", "lynx"), ("corrected", "puma"))


def test_of_several_annotations_the_latest_that_was_not_skipped_counts(client: FlaskClient, folder: Path) -> None:
    [task] = exported(client, open=chosen("puma"))
    [made] = task["annotations"]
    earlier = made | {"updated_at": "2026-11-29T12:00:00Z", "result": chosen("tabby")}
    skipped = made | {"updated_at": "2026-12-01T12:00:00Z", "was_cancelled": True, "result": chosen("lion")}
    assert take(folder, [task | {"annotations": [made, earlier, skipped]}]) == 0
    assert decided("open")[1] == "puma"


def test_what_cannot_be_used_is_named_and_the_rest_is_kept(
    client: FlaskClient, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = exported(client, open=chosen("puma"), accepted=chosen("lion"))
    decide(client, "accepted", "correct", "zebra", **HEADERS)
    unknown = {"id": 7, "data": {"image": "x"}, "annotations": [{"result": chosen("puma")}]}
    long = {"id": 8, "data": {"report_id": "gone"}, "annotations": [{"result": chosen("x" * 201)}]}
    assert take(folder, [*document, unknown, long]) == 1
    out, err = capsys.readouterr()
    assert "1 corrected" in out
    assert "3 tasks not used" in out
    assert "task 2 is not used: the report was corrected by operator" in err
    assert "task 7 is not used: there is no report ''" in err
    assert "task 8 is not used: 'xxx" in err
    assert decided("accepted")[1] == "zebra"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '"x"', '{"tasks": []}'])
def test_a_file_that_is_no_export_is_refused_in_words(
    folder: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder.parent / "export.json"
    file.write_text(text)
    assert feedback.main(["label-studio", str(file)]) == 1
    assert "nothing was done" in capsys.readouterr().err


@pytest.mark.parametrize(
    "annotations",
    [[1], [{}], [{"result": None}], [{"result": [{"from_name": "a"}]}], [{"result": [{"from_name": "a", "value": 1}]}]],
)
def test_an_annotation_of_another_kind_is_no_label(folder: Path, annotations: list[Any]) -> None:
    assert take(folder, [{"id": 1, "data": {"report_id": "open"}, "annotations": annotations}]) == 0
    assert decided("open")[0] == "open"


def test_only_the_operator_takes_the_archive(client: FlaskClient) -> None:
    assert client.get("/review/label-studio.zip").status_code == 401
    assert client.get("/review/label-studio.zip", headers=OWN | {"Accept": "text/html"}).status_code == 302


@pytest.mark.parametrize(
    "task",
    [
        {"id": [1], "label": "lynx"},
        {"id": {}, "annotations": None},
        {"id": 1, "annotations": 5},
        {"id": 1, "annotations": [{"result": 5}]},
        {"id": 1, "annotations": [{"result": [{"from_name": "label", "value": {"taxonomy": [[], 5]}}]}]},
        {"id": 1, "label": 7, "report": {"choices": 9}, "decision": 10**4000},
        {"id": 1, "label": "\ud800", "report_id": []},
    ],
)
def test_a_task_of_any_form_is_read(task: dict[str, object]) -> None:
    [labelled] = label_studio.read([task])
    assert labelled.label in {"", "lynx", "?", "5"}
    assert labelled.seen is None
