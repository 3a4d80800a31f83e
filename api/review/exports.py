"""The exports of the review: reviewed cases as tables and as folders of images, and reports for Label Studio."""

from collections.abc import Iterator
from itertools import chain

from flask import Blueprint, Response, request

from images import uploads
from openapi.operation import Answer, Operation, Text
from reports import export, label_studio
from reports.record import report_store
from server.messages import IMAGE_POLICY
from storage.reports.port import STATUSES

ALL = "all"
STATUS = Text("status", "query", "only images with this status", "open", f"({'|'.join((*STATUSES, ALL))})")


def add_routes(router: Blueprint) -> None:
    """Add the exports to the routes of the review, which are the operator's alone."""
    router.add_url_rule("/cases.csv", view_func=cases_csv)
    router.add_url_rule("/cases.jsonl", view_func=cases_jsonl)
    router.add_url_rule("/cases.zip", view_func=cases_zip)
    router.add_url_rule("/label-studio.zip", view_func=label_studio_zip)


def _describe_export(kind: str, media_type: str) -> Operation:
    return Operation(
        "GET", f"The reviewed cases as {kind}", {200: Answer("a file", media_types=[media_type])}, problems=(401, 503)
    )


@_describe_export("CSV", "text/csv")
def cases_csv() -> Response:
    """Answer the table of the reviewed cases as CSV."""
    return _file(export.csv_pieces(report_store()), "text/csv", "cases.csv")


@_describe_export("JSON lines", "application/x-ndjson")
def cases_jsonl() -> Response:
    """Answer the table as a JSON object on each line."""
    return _file(export.jsonl_pieces(report_store()), "application/x-ndjson", "cases.jsonl")


@_describe_export("an archive of folders by label", "application/zip")
def cases_zip() -> Response:
    """Answer the images of the reviewed cases in folders by label."""
    return _file(export.zip_pieces(report_store(), uploads.image_store()), "application/zip", "cases.zip")


@Operation(
    "GET",
    "Export reports as Label Studio tasks, with images and a labelling interface",
    {200: Answer("a file", media_types=["application/zip"])},
    parameters=(STATUS,),
    problems=(401, 503),
)
def label_studio_zip() -> Response:
    """Answer the reports of a status, or all of them, for Label Studio."""
    status = STATUS.read(request) or ALL
    statuses = STATUSES if status == ALL else (status,)
    pieces = label_studio.zip_pieces(report_store(), uploads.image_store(), statuses)
    return _file(pieces, "application/zip", "label-studio.zip")


def _file(pieces: Iterator[bytes], media_type: str, name: str) -> Response:
    whole = filter(None, pieces)
    # Read before the response begins, so that a place that does not serve is an error and no broken file.
    first = next(whole, b"")
    response = Response(chain((first,), whole), content_type=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Content-Security-Policy"] = IMAGE_POLICY
    return response
