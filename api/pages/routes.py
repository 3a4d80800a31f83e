"""The pages that belong to no other room: help, and the documentation."""

from flask import Blueprint, redirect, render_template, url_for
from werkzeug.wrappers import Response

import settings
import utils
from auth import access
from openapi.operation import HTML, Answer, Operation
from pages import documentation

router = Blueprint("help", __name__)


@router.route("/help")
@access.open_to_all
@Operation("GET", "Show help for the pages", {200: Answer("a page", media_types=[HTML])})
def help_page() -> str:
    """Explain the pages, and name the documentation."""
    limits = {"max_upload_bytes": settings.MAX_UPLOAD_BYTES, "accepted": utils.accepted()}
    return render_template("help.html", keep_days=settings.KEEP_UPLOADS_DAYS, **limits)


@router.route("/help/")
@access.open_to_all
def documentation_start() -> Response:
    """Redirect to the first page, from which relative links work."""
    return redirect(url_for(documentation.ENDPOINT, filename=documentation.START))


@router.route("/help/<path:filename>")
@access.open_to_all
@Operation(
    "GET",
    "Return a file of the documentation site",
    {200: Answer("a page or another file", media_types=[HTML])},
    problems=(404,),
)
def documentation_file(filename: str) -> Response:
    """Return a file of the site that `make docs` has built."""
    return documentation.file_response(filename)
