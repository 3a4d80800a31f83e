"""Previews of stored images, which workers make: for formats that browsers cannot show."""

from flask import Blueprint, Flask, Response, request, url_for
from werkzeug.exceptions import NotFound

from auth import access
from images import uploads
from openapi.operation import Answer, Operation
from predict import job_queue
from predict.prediction import PredictOptions
from problems import Problem
from server.messages import IMAGE_POLICY

router = Blueprint("previews", __name__)

SIDE = 640
# The same bytes have the same preview.
CACHING = "private, max-age=86400, immutable"
# By their suffixes, formats that no browser shows, or few do. A page replaces others that turn out not to be shown.
UNSHOWN = (".heic", ".heif", ".tif", ".tiff")


def install(app: Flask) -> None:
    """Let the templates call `shown_image(name)`."""
    app.jinja_env.globals["shown_image"] = address_of


def address_of(filename: str) -> str:
    """Return the address at which a browser finds a stored image in a format that it can show."""
    if filename.lower().endswith(UNSHOWN):
        return url_for("previews.preview", filename=filename)
    return url_for("app_router.display_image", filename=filename)


@router.route("/previews/<filename>.jpg")
@access.costs_a_job
@Operation(
    "GET",
    "A stored image as a small JPEG",
    {200: Answer(f"the image, upright, in sRGB, of at most {SIDE} pixels a side", media_types=["image/jpeg"])},
    problems=(404, 415, 422, 429, 503, 504),
)
def preview(filename: str) -> Response:
    """Return a stored image as a small JPEG."""
    images = uploads.image_store()
    image = uploads.stored_image(images, filename) if access.may_see(images, filename) else None
    if image is None:
        raise NotFound
    content = job_queue.preview(image, PredictOptions.of(request, reads_choices=False), SIDE)
    if not content:
        detail = "The worker that answered is of an earlier release, which makes no previews; restart it, or try again."
        raise Problem(503, "not_ready", detail, retry_after_s=1)
    response = Response(content, content_type="image/jpeg")
    response.headers["Content-Security-Policy"] = IMAGE_POLICY
    response.headers["Cache-Control"] = CACHING
    return response
