"""Reports as tasks of Label Studio, and what was labelled there as decisions about them.

The archive is unpacked into a folder named FOLDER of Label Studio's document root, so that its tasks find their images;
`config.xml` is the labelling interface. Label Studio's exports JSON and JSON-MIN come back, of this interface or of one
with a single control for labels.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from markupsafe import escape

import offload
from reports import export, labels
from storage.images.port import ImageStore
from storage.reports.port import STATUS_OF, ReportStore, Row
from wire.tables.feedback import REJECT
from wire.tables.labels import key

FOLDER, IMAGES, TASKS_FILE, CONFIG_FILE = "sightline", "images", "tasks.json", "config.xml"
LABEL, OTHER, REPORT = "label", "other", "report"
REPORTER = "reporter"
# Decisions are numbered in 63 bits.
MAX_DECISION = 2**63
# The form of a prediction or a decision for each kind of control that may hold a label.
_VALUES = ("choices", "text", "taxonomy")
_CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Text name="said" value="$said"/>
  <Choices name="{label}" toName="image" choice="single" layout="select">
{choices}
  </Choices>
  <TextArea name="{other}" toName="image" maxSubmissions="1" placeholder="what it is, if it is not in the list"/>
  <Choices name="{report}" toName="image" choice="single-radio">
    <Choice value="{reject}" hint="the report is of no use"/>
  </Choices>
</View>
"""


class Labelled(NamedTuple):
    """The decision of a task on its report: the label, or a rejection; neither where no one has labelled it.

    `seen` is the number of the decision that counted when the task was made, None where the task does not say.
    """

    task: str
    report_id: str
    label: str
    is_rejected: bool
    reviewer: str
    seen: int | None


def zip_pieces(reports: ReportStore, images: ImageStore, statuses: Iterable[str]) -> Iterator[bytes]:
    """Yield an archive of the reports of some statuses: their images, as far as stored, the tasks and the interface."""
    sink, wanted = export.Sink(), frozenset(statuses)
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]  # it wants no more of a file than writing
        written: set[str] = set()
        for row in _reports(reports, wanted):
            name = row["filename"]
            content = None if name in written else offload.run(partial(export.content_of, images, row))
            if content is not None:
                written.add(name)
                archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{IMAGES}/{name}"), content)
                yield sink.taken()
        spelling, known = labels.spelling().extended(reports.labels()), set(labels.current())
        with archive.open(zipfile.ZipInfo(f"{FOLDER}/{TASKS_FILE}"), "w", force_zip64=True) as file:
            rows = (row for row in _reports(reports, wanted) if row["filename"] in written)
            separator = "[\n"
            for task in (_task(row, spelling.of(row["final_label"])) for row in rows):
                known.update(_labels_of(task))
                file.write(f"{separator}{json.dumps(task, ensure_ascii=False)}".encode("utf-8", "replace"))
                separator = ",\n"
                yield sink.taken()
            file.write(b"[]\n" if separator.startswith("[") else b"\n]\n")
        archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{CONFIG_FILE}"), _interface(known))
    yield sink.taken()


def read(document: Any) -> Iterator[Labelled]:
    """Yield the decision of each task of an export of Label Studio; raise ValueError where it is none."""
    if not isinstance(document, list) or not all(isinstance(task, dict) for task in document):
        raise ValueError("it is no list of tasks: export the project from Label Studio as JSON or JSON-MIN")
    for number, task in enumerate(_latest(document), 1):
        data = task["data"] if isinstance(task.get("data"), dict) else task
        controls, who = _annotation(task) if "annotations" in task else _flat(task)
        rejected = REJECT in controls.pop(REPORT, ())
        found = controls.get(OTHER) or [text for texts in controls.values() for text in texts]
        seen = data.get("decision")
        yield Labelled(
            str(task.get("id", number)),
            str(data.get("report_id", "")),
            found[0] if len(found) == 1 else "",
            rejected,
            f"Label Studio {who}".strip(),
            seen if isinstance(seen, int) and abs(seen) < MAX_DECISION else None,
        )


def _latest(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each task once: JSON-MIN has one for each annotation, of which the latest counts."""
    latest: dict[str, dict[str, Any]] = {}
    for number, task in enumerate(tasks):
        name = str(task.get("id", f"number {number}"))
        if name not in latest or _time_of(task) > _time_of(latest[name]):
            latest[name] = task
    return list(latest.values())


def _time_of(made: Mapping[str, Any]) -> str:
    return str(made.get("updated_at") or made.get("created_at") or "")


def _reports(reports: ReportStore, statuses: frozenset[str]) -> Iterator[Row]:
    last = 0
    while rows := reports.reports(last):
        last = rows[-1]["seq"]
        yield from (row for row in rows if row["status"] in statuses)


def _task(row: Row, label: str) -> dict[str, Any]:
    model = f"{row['model']}/{row['model_version']}" if row["model"] else "model"
    predictions = [{"model_version": model, "result": _choice(LABEL, row["prediction"])}] if row["prediction"] else []
    if predictions and row["score"] is not None:
        predictions[0]["score"] = row["score"]
    if row["label"]:
        predictions.append({"model_version": REPORTER, "result": _choice(LABEL, row["label"])})
    given: list[dict[str, Any]] = _choice(LABEL, label) if label else []
    if row["status"] == STATUS_OF[REJECT]:
        given = _choice(REPORT, REJECT)
    return {
        "data": {
            "image": f"/data/local-files/?d={FOLDER}/{IMAGES}/{quote(row['filename'])}",
            "said": "; ".join(filter(None, (f"{row['prediction']} (predicted)", _reported(row), row["comment"]))),
            "report_id": row["report_id"],
            "decision": row["decision"],
        },
        "predictions": predictions,
        "annotations": [{"result": given}] if given else [],
    }


def _reported(row: Row) -> str:
    return f"{row['label']} (reported)" if row["label"] else ""


def _choice(control: str, value: str) -> list[dict[str, Any]]:
    return [{"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": [value]}}]


def _labels_of(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield the labels that a task names, which the interface has to offer."""
    for each in (*task["predictions"], *task["annotations"]):
        for part in each["result"]:
            if part["from_name"] == LABEL:
                yield from part["value"]["choices"]


def _interface(known: Iterable[str]) -> str:
    # A report's form may name anything; XML has no way to write some characters.
    offered = sorted(filter(str.isprintable, known), key=lambda label: (key(label), label))
    choices = "\n".join(f'    <Choice value="{escape(label)}"/>' for label in offered)
    return _CONFIG.format(choices=choices, label=LABEL, other=OTHER, report=REPORT, reject=REJECT)


def _annotation(task: Mapping[str, Any]) -> tuple[dict[str, list[str]], str]:
    """Return the values of the latest annotation of a task, by control, and who made it."""
    made = [each for each in _list(task["annotations"]) if isinstance(each, dict) and not each.get("was_cancelled")]
    if not made:
        return {}, ""
    latest = max(made, key=_time_of)
    controls: dict[str, list[str]] = {}
    for part in _list(latest.get("result")):
        with suppress(KeyError, TypeError, IndexError):
            controls.setdefault(part["from_name"], []).extend(_texts(part["value"]))
    author = latest.get("completed_by")
    return controls, str(author.get("email") or author.get("id", "")) if isinstance(author, dict) else str(author or "")


def _flat(task: Mapping[str, Any]) -> tuple[dict[str, list[str]], str]:
    """Return the same of a task of JSON-MIN, which has a field for each control."""
    given = {name: task[name] for name in (LABEL, OTHER, REPORT) if task.get(name)}
    controls = {name: _texts(value if isinstance(value, dict) else {"text": value}) for name, value in given.items()}
    return controls, str(task.get("annotator") or "")


def _texts(value: Mapping[str, Any]) -> list[str]:
    """Return the texts of the value of a control; of a place in a taxonomy, the last."""
    given: object = next((value[name] for name in _VALUES if name in value), [])
    each = [given] if isinstance(given, str) else _list(given)
    texts = (text[-1] if isinstance(text, list) and text else text for text in each)
    # Half a surrogate pair, which JSON may hold, is no text.
    return [str(text).encode("utf-8", "replace").decode() for text in texts if isinstance(text, str | float | int)]


def _list(value: object) -> list[Any]:
    """Return what is a list, of a file that anyone may have written."""
    return value if isinstance(value, list) else []
