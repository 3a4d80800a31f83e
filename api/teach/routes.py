"""The page to teach the model: examples of a class, training, what came of it, and the versions to go back to."""

from collections import Counter
from datetime import UTC, datetime
from io import BytesIO
from typing import Annotated, Any, NotRequired, TypedDict

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.wrappers import Response as AnyResponse

import error_handlers
import settings
import utils
import views
from auth import access
from images import uploads
from images.multipart import MAX_IMAGES, MAX_OVERHEAD_BYTES
from openapi.negotiation import sent_texts, wants_page
from openapi.operation import HTML, JSON, OF_AN_IMAGE, Answer, Body, Operation, Text
from openapi.schemas import Score
from problems import Problem
from reports import audit, idempotency, labels, transfers
from reports.schema import MAX_LABEL
from server import edge
from storage.errors import StorageError
from teach import archive, examples, imports, orders
from wire import WireError
from wire.orders.messages import EXPORT, KINDS, Known

router = Blueprint("teach", __name__, url_prefix="/teach")
router.before_request(access.require_operator)

MAX_ORDER_BYTES = 64 * 1024
# Of more, `improve --only` chooses.
MAX_CHOICES = 300
STATES = ("queued", "running", "done", "failed")
LABEL = Text("label", "query", "name of the class", "bar chart", r"[^\x00]{0,200}")
ORDER_ID = Text("order_id", "query", "an order", "1764510000000-0", "[0-9]{1,19}-[0-9]{1,19}")


class ExampleAdded(TypedDict):
    """An image is a case of the class now; the prediction is the model's own."""

    success: bool
    filename: NotRequired[str]
    report_id: NotRequired[str]
    prediction: NotRequired[str]
    score: NotRequired[Score]
    error: NotRequired[Annotated[str, {"description": "why the image was not accepted"}]]
    name: Annotated[str, {"description": "of the file, as it was sent"}]


class ExamplesAdded(TypedDict):
    """The result for each image."""

    label: Annotated[str, {"description": "the class name"}]
    examples: list[ExampleAdded]


class LabelledExample(ExampleAdded):
    """An image of an archive."""

    label: Annotated[str, {"description": "the class name, from its folder"}]


class ArchiveAdded(TypedDict):
    """The result for each image of an archive."""

    labels: Annotated[dict[str, int], {"description": "number of examples of each class"}]
    examples: list[LabelledExample]


class OrderRequest(TypedDict):
    """A request to the trainer."""

    kind: Annotated[str, {"enum": [*orders.ARGUMENTS]}]
    version: NotRequired[Annotated[str, {"description": "<model>/<version>, to evaluate, promote or discard"}]]
    evaluate: NotRequired[Annotated[str, {"description": "with train: compare the version immediately"}]]
    provisional: NotRequired[Annotated[str, {"description": "with promote: accept a comparison on few images"}]]
    force: NotRequired[Annotated[str, {"description": "with promote: serve another network without a comparison"}]]
    image: NotRequired[Annotated[str, {"description": "the name of the stored image to erase"}]]
    label: NotRequired[Annotated[str, {"description": "with train: the class, for the log"}]]
    only: NotRequired[Annotated[str, {"description": "with train: the classes whose cases are used, one a line"}]]


class OrderState(TypedDict):
    """An order, its progress and its outcome."""

    id: str
    kind: Annotated[str, {"enum": [*KINDS]}]
    state: Annotated[str, {"enum": [*STATES]}]
    by: str
    at: str
    arguments: dict[str, str]
    attempt: int
    step: int
    steps: int
    what: str
    done: int
    count: int
    left_s: Annotated[float, {"description": "estimated seconds left in this step"}]
    total_left_s: Annotated[float, {"description": "estimated seconds left in all; 0 if not known"}]
    reason: str
    result: dict[str, Any]


@router.route("", methods=["GET"])
@access.open_to_all  # in place of the key that others bring, the operator's
@Operation(
    "GET",
    "Show the training page",
    {200: Answer("a page", media_types=[HTML]), 302: Answer("redirect to the sign-in page", media_types=[HTML])},
    parameters=(LABEL,),
    problems=(401, 503),
)
def teach() -> str:
    """Show the class that is taught, the orders and the versions."""
    label = LABEL.read(request) or ""
    label = examples.label_of(label) if label.strip() else ""
    cases = examples.of_class(label) if label else []
    book = orders.book()
    return render_template(
        "teach.html",
        label=label,
        cases=cases,
        confusions=examples.confusions(cases, label),
        fewest=examples.FEWEST,
        enough=examples.ENOUGH,
        max_label=MAX_LABEL,
        max_files=MAX_IMAGES,
        max_upload_bytes=settings.MAX_UPLOAD_BYTES,
        formats=settings.FORMATS.split(","),
        accepted=utils.accepted(),
        classes=labels.reviewed()[: MAX_CHOICES + 1],
        max_choices=MAX_CHOICES,
        presets=imports.PRESETS,
        max_model_bytes=imports.MAX_MODEL_BYTES,
        shared=_shared(),
        orders=[_shown(each) for each in book.orders],
        has_trainer=book.has_trainer,
        versions=list(reversed(book.versions)),
    )


@router.route("/examples", methods=["POST"])
@Operation(
    "POST",
    "Add examples of a class",
    {
        200: Answer("the result for each image", ExamplesAdded),
        303: Answer("the images are added: redirect to the page", media_types=[HTML]),
    },
    body=Body(fields={"label": "name of the class, new or existing"}, required=["label", "file"], image_field="file"),
    problems=(401, *OF_AN_IMAGE),
)
def add_examples() -> ExamplesAdded | AnyResponse:
    """Keep images as cases of a class."""
    request.max_content_length = settings.MAX_UPLOAD_BYTES + MAX_OVERHEAD_BYTES
    files = request.files.getlist("file") if request.mimetype == uploads.FORM else []
    label = examples.label_of(request.form.get("label", ""))
    if not any(file.filename for file in files):
        raise Problem(400, "no_image", "No image was sent as form field 'file'. Choose images first.")
    added = [_added(file, label) for file in files]
    audit.note_done("examples", {"label": label, "images": str(sum(each["success"] for each in added))}, "kept")
    if not wants_page(request):
        return {"label": label, "examples": added}
    failed = [f"{each['name']}: {each['error']}" for each in added if not each["success"]]
    if failed:
        raise Problem(422, "image_broken", f"{len(added) - len(failed)} of {len(added)} are kept. " + " ".join(failed))
    return redirect(url_for("teach.teach", label=label), 303)


@router.route("/archive", methods=["POST"])
@Operation(
    "POST",
    "Add examples of several classes",
    {
        200: Answer("the result for each image", ArchiveAdded),
        303: Answer("the images are added: redirect to the page", media_types=[HTML]),
    },
    body=Body(fields={"file": "a ZIP archive with a folder of images for each class"}, required=["file"]),
    problems=(401, *OF_AN_IMAGE),
)
def add_archive() -> ArchiveAdded | AnyResponse:
    """Keep the images of an archive as cases of the classes that their folders name."""
    request.max_content_length = archive.MAX_ARCHIVE_BYTES + MAX_OVERHEAD_BYTES
    files = request.files.getlist("file") if request.mimetype == uploads.FORM else []
    if not files or not files[0].filename:
        raise Problem(400, "no_image", "No archive was sent as form field 'file'. Choose a ZIP archive first.")
    added = [_unpacked(found) for found in archive.images_in(files[0].stream)]
    kept = Counter(each["label"] for each in added if each["success"])
    for label, count in kept.items():
        audit.note_done("examples", {"label": label, "images": str(count), "from": "an archive"}, "kept")
    if not wants_page(request):
        return {"labels": dict(kept), "examples": added}
    failed = [f"{each['name']}: {each['error']}" for each in added if not each["success"]]
    summary = f"{sum(kept.values())} of {len(added)} images are examples now: {', '.join(kept) or 'of no class'}."
    edge.flash_all([summary, *failed])
    return redirect(url_for("teach.teach"), 303)


def _unpacked(found: archive.Found) -> LabelledExample:
    """Keep an image of an archive."""
    name = f"{found.label}/{found.name}"[:MAX_LABEL]
    if found.fault:
        return {"success": False, "name": name, "label": found.label, "error": found.fault}
    try:
        label = examples.label_of(found.label)
    except Problem as problem:
        return {"success": False, "name": name, "label": found.label, "error": problem.detail}
    added = _added(FileStorage(BytesIO(found.data), found.name), label)
    return {**added, "name": name, "label": label}


def _added(file: FileStorage, label: str) -> ExampleAdded:
    """Keep one image; a fault in it does not affect the others."""
    name = (file.filename or "")[:MAX_LABEL]
    try:
        example = examples.add(request, file, label, audit.who())
    except (Problem, WireError, StorageError, OSError) as error:
        problem = error_handlers.problem_of(error)
        if problem is None or problem.status in {401, 503, 504, 507}:
            raise
        return {"success": False, "name": name, "error": problem.detail}
    return {"success": True, "name": name, **example._asdict()}  # type: ignore[typeddict-item]


@router.route("/orders", methods=["POST"])
@Operation(
    "POST",
    "Send an order to the trainer",
    {
        201: Answer("the order is queued", OrderState),
        303: Answer("the order is queued: redirect to its page", media_types=[HTML]),
    },
    parameters=(idempotency.KEY,),
    body=Body(
        fields={
            "kind": "kind of the order",
            "version": "name of the version",
            "provisional": "accept a comparison on few images",
            "force": "serve another network without a comparison",
            "image": "name of the image to erase",
            "only": "a class to train on, several times for several; all by default",
            "choose": "1 if `only` names every class to train on",
            idempotency.FIELD: idempotency.FIELD_MEANING,
        },
        required=["kind"],
        choices={"kind": tuple(orders.ARGUMENTS)},
        document=OrderRequest,
    ),
    problems=(401, 409, 415, 422, 503),
)
def place_order() -> tuple[OrderState, int] | AnyResponse:
    """Place an order."""
    refusal = Problem(400, "invalid_order", "An order is an object of texts: kind, version.")
    fields = sent_texts(request, MAX_ORDER_BYTES, refusal, _chosen)
    placed = orders.place(fields.get("kind", ""), fields, idempotency.key_of(request)).known
    if request.is_json:
        return _shown(placed), 201
    return redirect(url_for("teach.order", order_id=placed.order.id), 303)


def _chosen(form: MultiDict[str, str]) -> dict[str, str]:
    """Return a form with the classes that were chosen in one field; all of them are as none, which means all."""
    only = form.getlist("only")
    if form.get("choose") and not only:
        raise Problem(400, "invalid_order", "No class is chosen to train on. Choose one at least.")
    is_all = {each.label for each in labels.reviewed()}.issubset(only) if only else True
    return {**form, "only": "" if is_all else "\n".join(only)}


@router.route("/models", methods=["POST"])
@Operation(
    "POST",
    "Import a network",
    {
        201: Answer("the order is queued", OrderState),
        303: Answer("the order is queued: redirect to its page", media_types=[HTML]),
    },
    parameters=(idempotency.KEY,),
    body=Body(
        fields={
            "model": "the ONNX file",
            "labels": "a file with a label for each output; not needed with a config.json that has them",
            "config": "config.json or preprocessor_config.json of timm or Hugging Face, in place of a preset",
            "preset": "how images are prepared",
            "name": "of the network; by default that of the file",
            "size": "of the input, where the graph leaves it open",
            idempotency.FIELD: idempotency.FIELD_MEANING,
        },
        required=["model"],
        choices={"preset": tuple(imports.PRESETS)},
    ),
    problems=(401, 409, 422, 503, 507),
)
def import_model() -> tuple[OrderState, int] | AnyResponse:
    """Store a network of the operator's own, and have the trainer check and import it."""
    request.max_content_length = imports.MAX_MODEL_BYTES + 3 * imports.MAX_TABLE_BYTES + MAX_OVERHEAD_BYTES
    files = request.files if request.mimetype == uploads.FORM else MultiDict()
    placed = imports.place(request.form, files, idempotency.key_of(request))
    if not wants_page(request):
        return _shown(placed), 201
    return redirect(url_for("teach.order", order_id=placed.order.id), 303)


@router.route("/orders/<order_id>", methods=["GET"])
@access.open_to_all
@Operation(
    "GET",
    "Get the progress and outcome of an order",
    {200: Answer("a page for browsers, JSON for other clients", OrderState, media_types=[HTML, JSON])},
    problems=(401, 404, 503),
)
def order(order_id: str) -> OrderState | str:
    """Show an order."""
    shown = _shown(orders.find(ORDER_ID.parse(order_id)))
    if not wants_page(request):
        return shown
    return render_template("order.html", order=shown, is_over=shown["state"] in {"done", "failed"})


@router.route("/orders/<order_id>/archive", methods=["GET"])
@access.open_to_all
@Operation(
    "GET",
    "Download the archive that an order has written",
    {200: Answer("the reviewed cases, a folder for each label", media_types=["application/zip"])},
    problems=(401, 404, 503),
)
def download_archive(order_id: str) -> AnyResponse:
    """Send an archive; it is kept for a day, until the next one is written, or until an image is erased."""
    known = orders.find(ORDER_ID.parse(order_id))
    archives = transfers.transfers()
    opened = transfers.run(lambda: archives.open_archive(known.order.id)) if known.order.kind == EXPORT else None
    if opened is None:
        raise Problem(404, "archive_gone", f"This archive is not here, or no longer: export again. {_shared()}".strip())
    audit.note("download", {}, "sent", known.order.id)
    response = views.file_response(opened)
    response.content_type = "application/zip"
    response.headers["Content-Disposition"] = f'attachment; filename="reviewed-cases-{_moment(known)[:10]}.zip"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _shared() -> str:
    """Return what a trainer on another host needs for imports and exports; empty where it has that."""
    if settings.IMAGE_STORE:
        return ""
    return "A trainer on another host needs the same folder of reports, or IMAGE_STORE."


def _shown(known: Known) -> OrderState:
    order, progress, outcome = known
    return {
        "id": order.id,
        "kind": order.kind,
        "state": known.state,
        "by": order.by,
        "at": _moment(known),
        "arguments": dict(order.arguments),
        "attempt": progress.attempt if progress else 0,
        "step": progress.step if progress else 0,
        "steps": progress.steps if progress else 0,
        "what": progress.what if progress else "",
        "done": progress.done if progress else 0,
        "count": progress.count if progress else 0,
        "left_s": progress.left_s if progress else 0.0,
        "total_left_s": progress.total_left_s if progress else 0.0,
        "reason": outcome.reason if outcome else "",
        "result": dict(outcome.result) if outcome else {},
    }


def _moment(known: Known) -> str:
    """Return when it was ordered."""
    return datetime.fromtimestamp(known.order.at_ms / 1000, UTC).isoformat(timespec="seconds")
