"""The routes of the page and of the HTTP API.

What the templates get:

- `index.html`: `filename` (stored name), `prediction` (class), `score` (0 to 1, 4 decimals), `predictions` (a list of
  (label, score), best first), `prediction_id`, `model_version` ("<model>/<version>"), `report` (what the page's form
  posts to /feedback as `report`), all None before there is an answer; `error` (a message, or None);
  `max_upload_bytes`; `max_label` (characters); `formats` (names of FORMATS) and `accepted` (them in words);
  `needs_key` (whether programs have to send an API key). Messages
  about a file that cannot be used come by `get_flashed_messages()`.
- `feedback.html`: `report` (what was just saved, or None).
- `error.html`: `status`, `message`.

The report form may add fields that go into the CSV: `label`, `comment`, `model`, `model_version`.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BufferedReader

from flask import Blueprint, Request, Response, redirect, render_template, request, url_for
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse
from werkzeug.wsgi import FileWrapper

import error_handlers
import settings
import utils
from auth import access
from images import stored, uploads
from images.uploads import StoredImage, image_store
from middleware import model_predict
from observability import metrics, tracing
from openapi.operation import HTML, OF_AN_IMAGE, Answer, Body, Operation
from openapi.response_headers import OF_A_PREDICTION
from openapi.schemas import (
    BatchResponse,
    ImageInJson,
    ImagesInJson,
    JobState,
    LabelList,
    NoImageResponse,
    PredictResponse,
)
from pages import samples
from pages.samples import SAMPLE
from predict import async_jobs, batch, heat_maps, job_queue
from predict.prediction import (
    EXPLAIN,
    PREFER,
    TIMEOUT_MS,
    TOP_K,
    USUAL_TOP_K,
    Prediction,
    PredictOptions,
    current_options,
    json_response,
)
from problems import Problem, UnusableFile
from reports import idempotency, schema, submission
from reports import labels as reports_labels
from reports.schema import MAX_LABEL, Report, Reported, ReportRequest
from reports.submission import Submission
from server import edge
from server.messages import IMAGE_POLICY
from wire import WireError
from wire.tables.labels import key as label_key

router = Blueprint("app_router", __name__)

# A report is a line of text; a body that is larger is none. Every field at its limit, each character escaped, fits in.
MAX_REPORT_BYTES = 64 * 1024
# Each client that takes a stored image slowly holds so much of it.
READ_BYTES = 64 * 1024
IMAGE_CACHING = "private, max-age=86400, immutable"
IMAGE_TYPES = tuple(kind.media_type for kind in utils.KINDS if kind.name in settings.FORMATS.split(","))


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
        200: Answer("the page with the prediction", media_types=[HTML]),
        302: Answer("no image: redirect to the page", media_types=[HTML], headers=["Location"]),
    },
    parameters=(SAMPLE,),
    body=Body(image_field="file"),
    problems=(404, *OF_AN_IMAGE),
)
def upload_image() -> str | AnyResponse:
    """Answer the page's plain form."""
    try:
        job_queue.check_room_early(request)
        started, sample = time.perf_counter(), SAMPLE.read(request)
        if sample is not None and request.content_length:
            raise UnusableFile("Choose a file or a sample image, not both.")
        file = uploads.file_of(request, raw=False) if sample is None else samples.file_of(sample)
        image = _stored(file, request, started)
    except (UnusableFile, uploads.NoImage) as error:
        edge.flash_all([error.detail])
        return redirect(url_for("app_router.index"))
    return _page(classify(image, PredictOptions.of(request, reads_choices=False)))


@router.route("/display/<filename>")
@Operation(
    "GET",
    "A stored image",
    {
        200: Answer("the image", media_types=IMAGE_TYPES, headers=["ETag"]),
        304: Answer("not changed", headers=["ETag"]),
    },
    problems=(404, 503),
)
def display_image(filename: str) -> Response:
    """Return a stored image, inert: its detected type, and no right to do anything."""
    images = image_store()
    opened = stored.open_stored(images, filename) if access.may_see(images, filename) else None
    if opened is None:
        raise NotFound
    file, kind = opened
    response = file_response(file)
    response.content_type = kind.media_type
    response.headers["Content-Security-Policy"] = IMAGE_POLICY
    response.headers["Cache-Control"] = IMAGE_CACHING
    response.set_etag(filename)
    response.make_conditional(request)
    return response


def file_response(file: BufferedReader) -> Response:
    """Return a small file in one piece; a large one piece by piece, as the client takes it."""
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
        200: Answer(
            "the best class, and more on request; a list for several images",
            PredictResponse | BatchResponse,
            headers=OF_A_PREDICTION,
        ),
        202: Answer(
            "a pending job; fetch its result at `Location`",
            JobState,
            headers=["Location", "Preference-Applied", "Retry-After"],
        ),
    },
    parameters=(TOP_K, EXPLAIN, TIMEOUT_MS, PREFER),
    body=Body(
        fields={each.name: f"as in the query: {each.meaning}" for each in (TOP_K, EXPLAIN)},
        required=["file"],
        image_field="file",
        image_types=(*IMAGE_TYPES, "application/octet-stream"),
        document=ImageInJson | ImagesInJson,
    ),
    problems=OF_AN_IMAGE,
    other_problems={400: NoImageResponse},
    problems_as_page=False,
)
def predict() -> Response:
    """Return what is in an image: three keys, and more for those who ask."""
    asked: Request = request._get_current_object()  # type: ignore[attr-defined]  # each look by the proxy is four calls
    options = PredictOptions.of(asked)
    job_queue.check_room_early(asked, options.client)
    started = time.perf_counter()
    files, is_batch = uploads.files_of(asked)
    options = options.with_form(asked)
    if options.explain and (is_batch or options.is_async):
        raise Problem(400, "invalid_parameter", "explain is for one image whose answer is waited for.")
    if is_batch:
        return _answer_batch(files, options)
    image = _stored(files[0], asked, started)
    if options.is_async:
        return async_jobs.accept(image, options)
    prediction = classify(image, options)
    explanation = heat_maps.explanation(prediction) if options.explain else None
    return json_response(prediction.to_json(options.top_k, explanation), headers=prediction.headers())


def _answer_batch(files: Sequence[FileStorage], options: PredictOptions) -> Response:
    """Answer for each image by itself; the request as a whole succeeds."""
    items = batch.predict(request, files, image_store(), options, classify)
    facts = {"instance": error_handlers.instance(), "request_id": error_handlers.request_id()}
    return json_response({"results": [item.to_json(options.top_k, **facts) for item in items]})


def _stored(file: FileStorage, asked: Request, started: float) -> StoredImage:
    """Store the request's one image; its upload began at `started` of the performance counter."""
    image = uploads.store_file(file, image_store(), job_queue.check_expensive)
    uploads.forget_body(asked)
    metrics.note(metrics.UPLOAD, time.perf_counter() - started)
    if tracing.state.spans is not None:
        tracing.state.spans.note_upload(asked.environ, started)
    return image


def classify(image: StoredImage, options: PredictOptions) -> Prediction:
    """Return what is in a stored image, by `model_predict` of this module, which a caller may substitute."""
    top_k = max(USUAL_TOP_K, options.top_k or 0)
    digest, cost = image.sha256, image.decode_ms
    options = replace(options, top_k=top_k, job_id=os.urandom(16).hex(), sha256=digest, decode_ms=cost)
    token, started = current_options.set(options), time.perf_counter()
    try:
        answer = model_predict(image.name)
    except WireError as error:
        metrics.count_drop(error)
        raise
    finally:
        current_options.reset(token)
    metrics.count_prediction(answer, time.perf_counter() - started)
    return answer if isinstance(answer, Prediction) else Prediction(answer, image.name, options.job_id, options.owner)


@router.route("/p/<prediction_id>")  # TorchServe has /predictions/<model>
@Operation(
    "GET",
    "Get a prediction while its image is stored",
    {200: Answer("the page with the image, the best class and its score", media_types=[HTML])},
    problems=(404, 503),
)
def show_prediction(prediction_id: str) -> str:
    """Show a prediction again, from its signed id, to its owner."""
    prediction = Prediction.of_id(prediction_id)
    if prediction is None or not access.may_use(prediction.owner):
        raise NotFound
    images = image_store()
    if not access.may_see(images, prediction.filename) or not stored.is_stored(images, prediction.filename):
        raise NotFound
    return _page(prediction)


@router.route("/maps/<filename>/<path:label>.png")
@access.costs_a_job
@Operation(
    "GET",
    "Get the heat map of a class for a stored image",
    {
        200: Answer(
            "an image with the proportions of the photograph, transparent where nothing supports the class",
            media_types=["image/png"],
        )
    },
    problems=(404, 415, 422, 429, 503, 504),
)
def activation_map(filename: str, label: str) -> Response:
    """Return the heat map of a class in a stored image, as an image."""
    images = image_store()
    image = uploads.stored_image(images, filename) if access.may_see(images, filename) else None
    if image is None:
        raise NotFound
    prediction = classify(image, replace(PredictOptions.of(request, reads_choices=False), explain=label))
    response = Response(heat_maps.png(prediction), content_type="image/png")
    response.headers["Content-Security-Policy"] = IMAGE_POLICY
    response.headers["Cache-Control"] = heat_maps.CACHING
    return response


@router.route("/labels")
@Operation("GET", "List the labels of the model", {200: Answer("the labels; empty if no worker is running", LabelList)})
def labels() -> LabelList:
    """Return the classes that the model knows, for naming an image correctly."""
    state = job_queue.queue_state()
    version = f"{state.model}/{state.version}" if state is not None and state.model else None
    return {"model_version": version, "labels": list(reports_labels.current())}


@router.route("/feedback", methods=["GET", "POST"])
@Operation("GET", "Show the purpose of reports", {200: Answer("a page", media_types=[HTML])})
@Operation(
    "POST",
    "Report a wrong prediction",
    {
        200: Answer("the report of the form is stored", media_types=[HTML]),
        201: Answer("the JSON report is stored", Reported),
    },
    parameters=(idempotency.KEY,),
    body=Body(
        fields={
            "report": "free text, or {'filename': '<stored name>', 'prediction': '<class>', 'score': <score>}",
            **schema.DETAILS,
            idempotency.FIELD: idempotency.FIELD_MEANING,
        },
        document=ReportRequest,
    ),
    problems=(404, 415, 422, 503, 504, 507),
)
def feedback() -> str | tuple[Reported, int]:
    """Explain reports, or keep one."""
    if request.method != "POST":
        return render_template("feedback.html", report=None)
    request.max_content_length = MAX_REPORT_BYTES
    key = idempotency.key_of(request)
    # An empty object is as if nothing were reported.
    if request.is_json and request.get_json() != {}:
        return _report(key), 201
    text = request.form.get("report")
    if text:
        schema.check_form(request.form)
        images, report = image_store(), schema.parse(text)
        is_visible = report is not None and access.may_see(images, report.filename)
        submission.save(Submission(text, report, _details(request.form), key, is_visible), images)
    return render_template("feedback.html", report=text)


@router.route("/feedback/<report_id>", methods=["DELETE"])
@Operation(
    "DELETE",
    "Withdraw a report that is not decided yet",
    {204: Answer("the report is withdrawn")},
    problems=(404, 409, 503, 507),
)
def withdraw_report(report_id: str) -> Response:
    """Withdraw a report by its id, which only the reporter knows."""
    submission.withdraw(report_id)
    return Response(status=204)


def _report(key: str) -> Reported:
    """Keep a report that came as JSON."""
    prediction, filename, details = submission.read(request.get_json(), image_store())
    if prediction is None:
        image = uploads.stored_image(image_store(), filename) or StoredImage(filename)
        prediction = classify(image, PredictOptions.of(request, reads_choices=False))
    report = Report(prediction.filename, prediction.label, prediction.score)
    model, _, version = prediction.model_version.partition("/")
    details |= {"model": model, "model_version": version}
    report_id = submission.save(Submission(report.text(), report, details, key), image_store())
    is_known = reports_labels.is_known(details["label"]) if label_key(details["label"]) else None
    return {"success": True, "report_id": report_id, "label_known": is_known}


def _details(form: Mapping[str, str]) -> dict[str, str]:
    """Return details that the report lacks; the model is the current one, unless the page names it."""
    details = {name: form[name] for name in schema.DETAILS if name in form}
    state = job_queue.queue_state()
    if "model" in details or state is None:
        return details
    return details | {"model": state.model, "model_version": state.version}


def failure_page(problem: Problem) -> str:
    """Return the page with what went wrong."""
    return _page(error=problem.detail)


def _page(prediction: Prediction | None = None, error: str | None = None) -> str:
    shown: dict[str, object] = dict.fromkeys(
        ("filename", "prediction", "score", "predictions", "prediction_id", "model_version", "report")
    )
    if prediction is not None:
        shown = {
            "filename": prediction.filename,
            "prediction": prediction.label,
            "score": prediction.score,
            "predictions": prediction.top(USUAL_TOP_K),
            "prediction_id": prediction.id,
            "model_version": prediction.model_version or None,
            "report": Report(prediction.filename, prediction.label, prediction.score).text(),
        }
    formats = settings.FORMATS.split(",")
    limits = {"max_upload_bytes": settings.MAX_UPLOAD_BYTES, "max_label": MAX_LABEL}
    needs = {"formats": formats, "accepted": utils.accepted(), "needs_key": bool(settings.API_KEYS_FILE)}
    return render_template("index.html", error=error, **needs, **limits, **shown)
