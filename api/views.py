"""The routes of the page and of the HTTP API.

What the templates get:

- `index.html`: `filename` (stored name), `prediction` (class), `score` (0 to 1, 4 decimals), `predictions` (a list of
  (label, score), best first), `prediction_id`, `model_version` ("<model>/<version>"), `report` (what the page's form
  posts to /feedback as `report`), all None before there is an answer; `error` (what went wrong, in words, or None);
  `max_upload_bytes`; `max_label` (characters). Messages about a file that cannot be used come by
  `get_flashed_messages()`.
- `feedback.html`: `report` (what was just saved, or None).
- `error.html`: `status`, `message`.

The report form may add fields that go into the CSV: `label`, `comment`, `model`, `model_version`.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path

from flask import Blueprint, Response, current_app, flash, redirect, render_template, request, url_for
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse
from werkzeug.wsgi import FileWrapper

import error_handlers
import middleware
import settings
from auth import access, owners
from images import json_bodies, store, uploads
from images.sniffing import KINDS
from middleware import model_predict
from observability import metrics, tracing
from openapi.operation import HTML, JSON, OF_AN_IMAGE, Answer, Body, Operation
from openapi.schemas import (
    MAX_LABEL,
    ImageInJson,
    ImagesInJson,
    JobState,
    LabelList,
    Malformed,
    Predicted,
    Reported,
    ReportRequest,
    Several,
)
from predict import async_jobs, batch, heat_maps, options
from predict.prediction_ids import Predicted as Prediction
from problems import Problem
from reports import feedback as feedback_files
from reports import labels as reports_labels
from reports import requests
from reports.schema import Report, shaped
from server.messages import PICTURE_POLICY
from wire.errors import WireError

router = Blueprint("app_router", __name__)

# A report is a line of text; a body that is larger is none. Every field at its limit, each character escaped, fits in.
MAX_REPORT_BYTES = 64 * 1024
# Each client that takes a stored image slowly holds so much of it.
READ_BYTES = 64 * 1024
PICTURE_CACHING = "private, max-age=86400, immutable"
IMAGE_TYPES = tuple(kind.media_type for kind in KINDS)
# Fields of a report's form beside the report: columns of the CSV.
DETAILS = {
    "label": "what it really is",
    "comment": "anything else",
    "model": "which model was wrong",
    "model_version": "which version of it",
}


@router.route("/", methods=["GET"])
@Operation("GET", "The page", {200: Answer("the page", media_types=[HTML])})
def index() -> str:
    """Show the page."""
    return _page()


@router.route("/", methods=["POST"])
@Operation(
    "POST",
    "The page's form, without scripts",
    {
        200: Answer("the page with the answer", media_types=[HTML]),
        302: Answer("there was no image: back to the page", media_types=[HTML]),
    },
    body=Body(required=["file"], image_field="file"),
    problems=OF_AN_IMAGE,
)
def upload_image() -> str | AnyResponse:
    """Answer the page's plain form."""
    try:
        options.refuse_early(request)
        picture = _received(raw=False)
    except (uploads.UnusableFile, uploads.NoImage) as error:
        flash(error.detail)
        return redirect(url_for("app_router.index"))
    return _page(picture.name, ask_model(picture.name, options.ask_of(request, options.Wishes(), picture)))


@router.route("/display/<filename>")
@Operation(
    "GET",
    "A stored image",
    {200: Answer("the image", media_types=IMAGE_TYPES), 304: Answer("not changed")},
    problems=(404, 503),
)
def display_image(filename: str) -> Response:
    """Give a stored picture, inert: its detected type, and no right to do anything."""
    folder = upload_folder()
    opened = store.open_stored(folder, filename) if owners.may_see(folder, filename) else None
    if opened is None:
        raise NotFound
    file, kind = opened
    response = _picture_response(file)
    response.content_type = kind.media_type
    response.headers["Content-Security-Policy"] = PICTURE_POLICY
    response.headers["Cache-Control"] = PICTURE_CACHING
    response.set_etag(filename)
    response.make_conditional(request)
    return response


def _picture_response(file: BufferedReader) -> Response:
    """Give a small picture in one piece; a large one piece by piece, as the client takes it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size <= READ_BYTES:
        with file:
            return Response(file.read())
    response = Response(FileWrapper(file, READ_BYTES), direct_passthrough=True)
    response.content_length = size
    response.call_on_close(file.close)
    return response


@router.route("/predict", methods=["POST", "PUT"])
@Operation(
    "POST PUT",
    "Classify an image",
    {
        200: Answer("the best class, and more where it was asked for; of several images, each", Predicted | Several),
        202: Answer("a job to ask for later, at `Location`", JobState),
    },
    parameters=(options.TOP_K, options.EXPLAIN, options.TIMEOUT_MS, options.PREFER),
    body=Body(
        required=["file"],
        image_field="file",
        image_types=(*IMAGE_TYPES, "application/octet-stream"),
        document=ImageInJson | ImagesInJson,
    ),
    problems=OF_AN_IMAGE,
    other_problems={400: Malformed},
    problems_as_page=False,
)
def predict() -> Response:
    """Answer a program: three keys, and more for those who ask."""
    wishes = options.wishes_of(request)
    options.refuse_early(request)
    files, are_several = json_bodies.files_of(request) if request.mimetype == JSON else uploads.files_of(request)
    if wishes.is_explained and (are_several or async_jobs.are_wanted()):
        raise Problem(400, "invalid_parameter", "explain is for one picture whose answer is waited for.")
    if are_several:
        return _answer_several(files, wishes)
    picture = _received(files[0] if files else None)
    ask = options.ask_of(request, wishes, picture)
    if async_jobs.are_wanted():
        return async_jobs.accept(picture.name, ask)
    answer = ask_model(picture.name, ask)
    explanation = heat_maps.explanation(picture.name, answer.activation_map) if wishes.is_explained else None
    return _json(options.told(answer, wishes, explanation), answer.headers())


@router.route("/maps/<filename>/<path:label>.png")
@access.costs_a_job
@Operation(
    "GET",
    "The heat map of one class over a stored image",
    {
        200: Answer(
            "in the image's proportions, transparent where nothing indicates the class", media_types=["image/png"]
        )
    },
    problems=(404, 415, 422, 429, 503, 504),
)
def activation_map(filename: str, label: str) -> Response:
    """Give where the model looks for a class in a stored picture, as a picture."""
    picture = uploads.stored_picture(upload_folder(), filename)
    if picture is None or not owners.may_see(upload_folder(), filename):
        raise NotFound
    answer = ask_model(filename, options.ask_of(request, options.Wishes(explain_label=label), picture))
    response = Response(heat_maps.png(answer.activation_map), content_type="image/png")
    response.headers["Content-Security-Policy"] = PICTURE_POLICY
    response.headers["Cache-Control"] = heat_maps.CACHING
    return response


@router.route("/labels")
@Operation("GET", "The labels of the model", {200: Answer("its labels, none while no worker is known", LabelList)})
def labels() -> LabelList:
    """Say what the model can say, for whoever names a picture rightly."""
    state = middleware.queue_state()
    version = f"{state.model}/{state.version}" if state is not None and state.model else None
    return {"model_version": version, "labels": list(reports_labels.current())}


@router.route("/feedback", methods=["GET", "POST"])
@Operation("GET", "What reports are for", {200: Answer("a page", media_types=[HTML])})
@Operation(
    "POST",
    "Report a wrong answer",
    {200: Answer("the form's report is kept", media_types=[HTML]), 201: Answer("the JSON report is kept", Reported)},
    parameters=(requests.IDEMPOTENCY_KEY,),
    body=Body(
        fields={
            "report": "free text, or {'filename': '<stored name>', 'prediction': '<class>', 'score': <score>}",
            **DETAILS,
        },
        document=ReportRequest,
    ),
    problems=(404, 415, 422, 503, 504, 507),
)
def feedback() -> str | tuple[Reported, int]:
    """Say what reports are for; keep one."""
    if request.method != "POST":
        return render_template("feedback.html", report=None)
    request.max_content_length = MAX_REPORT_BYTES
    key = requests.key_of(request)
    if requests.is_one(request):
        return _report(key), 201
    report = request.form.get("report")
    if report:
        folder = upload_folder()
        details = _details(requests.checked_form(request.form))
        feedback_files.save(report, folder, details, key, may_see=lambda name: owners.may_see(folder, name))
    return render_template("feedback.html", report=report)


def _report(key: str) -> Reported:
    """Keep a report that came as JSON."""
    told = requests.read(request, upload_folder())
    predicted = told.predicted or _predicted_now(told.filename)
    report = Report(predicted.filename, predicted.label, predicted.score)
    details = told.details | requests.model_of(predicted)
    report_id = feedback_files.save_report(report, upload_folder(), details, key)
    label = reports_labels.spelled(told.label)
    return {"success": True, "report_id": report_id, "label_known": reports_labels.is_known(label) if label else None}


def _predicted_now(filename: str) -> Prediction:
    """Ask the model what it says of a stored picture."""
    picture = uploads.stored_picture(upload_folder(), filename) or uploads.Picture(filename)
    return ask_model(filename, options.ask_of(request, options.Wishes(), picture)).predicted


def upload_folder() -> Path:
    """Give the folder that pictures go to: as set on the app since it was made, else as the settings say."""
    told = str(current_app.config["UPLOAD_FOLDER"])
    return Path(settings.UPLOAD_FOLDER if told == current_app.extensions["sightline.upload_folder"] else told)


def failure_page(problem: Problem) -> str:
    """Show the page with what went wrong."""
    return _page(error=problem.detail)


def _answer_several(files: Sequence[FileStorage], wishes: options.Wishes) -> Response:
    """Answer for each picture by itself; the request as a whole succeeds."""
    answered = batch.answer(request, files, upload_folder(), wishes, ask_model)
    told = {"instance": request.path, "request_id": error_handlers.request_id()}
    return _json({"results": [batch.outcome(one, wishes, **told) for one in answered]}, {})


def _received(file: FileStorage | None = None, *, raw: bool = True) -> uploads.Picture:
    """Store the request's one picture, or the file that was found in it."""
    started = time.perf_counter()
    folder = upload_folder()
    picture = uploads.receive(request, folder, raw=raw) if file is None else uploads.take(file, folder)
    uploads.forget_body(request)
    metrics.count_upload(time.perf_counter() - started)
    if tracing.state.spans is not None:
        tracing.state.spans.note_upload(request.environ, started)
    return picture


def _json(document: Mapping[str, object], headers: Mapping[str, str]) -> Response:
    body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return Response(body, headers=dict(headers), content_type=JSON)


def ask_model(name: str, ask: middleware.Ask) -> options.Result:
    """Ask what is in a stored picture, by the name that a caller may put another function under."""
    token, started = middleware.current_ask.set(ask), time.perf_counter()
    try:
        answer = model_predict(name)
    except WireError as error:
        metrics.count_drop(error)
        raise
    finally:
        middleware.current_ask.reset(token)
    metrics.count_prediction(answer, time.perf_counter() - started)
    return options.Result(ask.job_id, name, answer)


def _page(name: str | None = None, answer: options.Result | None = None, error: str | None = None) -> str:
    shown: dict[str, object] = dict.fromkeys(
        ("prediction", "score", "predictions", "prediction_id", "model_version", "report")
    )
    if answer is not None:
        shown = {
            "prediction": answer.label,
            "score": answer.score,
            "predictions": answer.top(middleware.USUAL_TOP_K),
            "prediction_id": answer.id,
            "model_version": answer.model_version,
            "report": shaped(Report(name or "", answer.label, answer.score)),
        }
    return render_template(
        "index.html",
        filename=name,
        error=error,
        max_upload_bytes=settings.MAX_UPLOAD_BYTES,
        max_label=MAX_LABEL,
        **shown,
    )


def _details(form: Mapping[str, str]) -> dict[str, str]:
    """Give what the report itself does not say; the model is the one that answers now, unless the page says which."""
    told = {name: form[name] for name in DETAILS if name in form}
    if "model" in told:
        return told
    state = middleware.queue_state()
    return told if state is None else told | {"model": state.model, "model_version": state.version}
