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
from middleware import model_predict
from observability import metrics, tracing
from openapi import operations
from openapi.operation import JSON, describe
from openapi.schemas import MAX_LABEL, LabelList, Reported
from predict import async_jobs, batch, heat_maps, options
from predict.prediction_ids import Predicted as Prediction
from problems import Problem
from reports import feedback as feedback_files
from reports import labels as reports_labels
from reports import requests
from reports.schema import Report, shaped
from server.security_headers import PICTURE_POLICY
from wire.errors import WireError

router = Blueprint("app_router", __name__)

# A report is a line of text; a body that is larger is none. Every field at its limit, each character escaped, fits in.
MAX_REPORT_BYTES = 64 * 1024
# Each client that takes a stored image slowly holds so much of it.
READ_BYTES = 64 * 1024
PICTURE_CACHING = "private, max-age=86400, immutable"


@router.route("/", methods=["GET"])
@describe("GET", operations.PAGE)
def index() -> str:
    """Show the page."""
    return _page()


@router.route("/", methods=["POST"])
@describe("POST", operations.UPLOAD)
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
@describe("GET", operations.STORED_PICTURE)
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
@describe("POST PUT", operations.PREDICT)
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
@describe("GET", operations.MAP)
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
@describe("GET", operations.LABELS)
def labels() -> LabelList:
    """Say what the model can say, for whoever names a picture rightly."""
    state = middleware.queue_state()
    version = f"{state.model}/{state.version}" if state is not None and state.model else None
    return {"model_version": version, "labels": list(reports_labels.current())}


@router.route("/feedback", methods=["GET", "POST"])
@describe("GET", operations.ABOUT_REPORTS)
@describe("POST", operations.REPORT)
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
    told = {name: form[name] for name in operations.DETAILS if name in form}
    if "model" in told:
        return told
    state = middleware.queue_state()
    return told if state is None else told | {"model": state.model, "model_version": state.version}
