"""The pages that belong to no other room: help."""

from flask import Blueprint, render_template

import settings
import utils
from auth import access
from openapi.operation import HTML, Answer, Operation

router = Blueprint("help", __name__)


@router.route("/help")
@access.open_to_all
@Operation("GET", "Show help for the pages", {200: Answer("a page", media_types=[HTML])})
def help_page() -> str:
    """Explain the pages, and name the documentation."""
    limits = {"max_upload_bytes": settings.MAX_UPLOAD_BYTES, "accepted": utils.accepted()}
    return render_template("help.html", keep_days=settings.KEEP_UPLOADS_DAYS, **limits)
