"""Every `code` that the service returns: its status, cause and remedy, for /docs and docs/errors.md."""

from collections.abc import Mapping
from typing import NamedTuple


class ProblemCode(NamedTuple):
    """What a client needs to know about one code."""

    status: int
    cause: str
    remedy: str


PROBLEM_CODES: Mapping[str, ProblemCode] = {
    "malformed": ProblemCode(
        400,
        "The request contains no usable image, or its body is not valid HTTP, JSON, or form data.",
        "Read `X-Error-Detail`, then correct the request.",
    ),
    "invalid_parameter": ProblemCode(
        400, "A query parameter or header has an invalid value.", "Use a value in the range that `detail` states."
    ),
    "invalid_report": ProblemCode(
        400,
        "A report is not a JSON object, has an unknown field, or has a field that is too long.",
        "Send `prediction_id` or `filename`, and optionally `label` and `comment`.",
    ),
    "invalid_decision": ProblemCode(
        400, "A review decision has an invalid field.", "Send `report_id`, `decision` and `label` as strings."
    ),
    "invalid_order": ProblemCode(
        400,
        "The order has no known `kind`, or lacks what the kind requires.",
        "Send `kind`, and `version` to evaluate, promote or discard.",
    ),
    "no_image": ProblemCode(400, "The form has no image in the field `file`.", "Choose at least one image."),
    "label_needed": ProblemCode(
        400, "The decision requires a label.", "Send `label`. To accept a report without one, relabel it instead."
    ),
    "unauthorized": ProblemCode(
        401, "The API key is missing or unknown.", "Send `Authorization: Bearer <key>` or `X-API-Key: <key>`."
    ),
    "operator_key_needed": ProblemCode(
        401, "The route requires the operator key.", "Send the operator key, or sign in at `/review/login`."
    ),
    "cross_site": ProblemCode(
        403,
        "A page of another origin sent a request that changes something.",
        "Add the origin to `CORS_ORIGINS`, or call the service from your server.",
    ),
    "not_found": ProblemCode(404, "The path does not exist.", "Check the path against this reference."),
    "unknown_job": ProblemCode(
        404,
        "The job does not exist, was cancelled, or its result has expired.",
        "Submit the image again. Results are kept for two minutes.",
    ),
    "unknown_model": ProblemCode(
        404, "The requested model or version is not served.", "Use `default`, or the name that `/readyz` returns."
    ),
    "prediction_unknown": ProblemCode(
        404,
        "The prediction id is not valid, or another key or service created it.",
        "Classify the image again and report the new id.",
    ),
    "picture_unknown": ProblemCode(
        404, "No image with this name is stored.", "Upload the image again. Old images are removed by clean-up."
    ),
    "archive_gone": ProblemCode(
        404, "The order has written no archive, or it is removed.", "Send an order to `export` again."
    ),
    "order_unknown": ProblemCode(
        404, "No order has this id, or the order is too old.", "Read the audit log for older orders."
    ),
    "report_unknown": ProblemCode(404, "No report has this id.", "Reload the review page."),
    "method_not_allowed": ProblemCode(
        405, "The path does not support the method.", "Use a method from the `Allow` header."
    ),
    "client_too_slow": ProblemCode(
        408, "The headers or the body arrived too slowly.", "Retry on a faster connection, or send a smaller image."
    ),
    "client_gone": ProblemCode(
        408, "The client closed the connection before the result was ready.", "Wait longer before you disconnect."
    ),
    "decided_meanwhile": ProblemCode(
        409, "Another reviewer has decided on this report.", "Reload the review page, then decide again if necessary."
    ),
    "orders_full": ProblemCode(
        409,
        "As many orders as allowed are waiting for the trainer.",
        "Check that a trainer is running, and wait until it has finished some.",
    ),
    "too_large": ProblemCode(
        413,
        "The image, form or report exceeds a size limit.",
        "Scale the image down, or raise `MAX_UPLOAD_BYTES`.",
    ),
    "uri_too_long": ProblemCode(414, "The request line is too long.", "Shorten the URL."),
    "unsupported_type": ProblemCode(
        415,
        "The file is not an image, or its format is not accepted.",
        "Convert it to JPEG, PNG or WebP, or check `FORMATS`.",
    ),
    "unsupported_encoding": ProblemCode(
        415, "The `Content-Encoding` is not supported.", "Use `gzip`, `deflate`, or none."
    ),
    "expectation_failed": ProblemCode(417, "The `Expect` header has an unknown value.", "Remove the header."),
    "image_broken": ProblemCode(
        422, "The image is damaged, truncated, or takes too long to decode.", "Save the image again, then retry."
    ),
    "archive_refused": ProblemCode(
        422,
        "The ZIP archive is damaged, exceeds a limit, or has images outside a folder for each class.",
        "Pack `<class>/<image>`, at most 300 images at a time.",
    ),
    "image_too_large": ProblemCode(
        422, "The image has too many pixels, frames or scans, or one side is too long.", "Scale the image down."
    ),
    "not_explainable": ProblemCode(
        422,
        "The model cannot produce a heat map, or does not have the class.",
        "Omit `explain`, or use a model that ends in a mean and one linear layer.",
    ),
    "idempotency_key_reused": ProblemCode(
        422,
        "The `Idempotency-Key` was used for a different report or order.",
        "Use a new key for each report and order.",
    ),
    "rate_limited": ProblemCode(
        429, "The rate limit of the key or address is reached.", "Wait for `Retry-After` seconds, or send fewer images."
    ),
    "headers_too_large": ProblemCode(431, "The request headers are too large.", "Send fewer or shorter headers."),
    "internal": ProblemCode(500, "The service failed.", "Search its log for the `request_id` of the response."),
    "image_missing": ProblemCode(
        500,
        "The worker cannot find the stored image.",
        "Check that API and workers share `UPLOAD_FOLDER` or `IMAGE_STORE`.",
    ),
    "poison": ProblemCode(
        500,
        "Three workers failed while they processed the image.",
        "Do not retry. `make dead-letters` shows the image to the operator.",
    ),
    "queue_full": ProblemCode(
        503,
        "More work is queued than the workers can do within the deadline.",
        "Retry after `Retry-After` seconds. If it persists, start more workers.",
    ),
    "overloaded": ProblemCode(
        503,
        "The API process cannot read requests fast enough.",
        "Retry after `Retry-After` seconds. If it persists, raise `API_WORKERS`.",
    ),
    "uploads_full": ProblemCode(
        503,
        "The memory for uploads (`MAX_UPLOADS_BYTES`) is in use.",
        "Retry after `Retry-After` seconds, or raise the setting.",
    ),
    "no_worker": ProblemCode(
        503,
        "No model worker is running.",
        "`/readyz` returns the start-up error. Run `make doctor` for the remedy.",
    ),
    "not_ready": ProblemCode(503, "The model or its heat map is still loading.", "Retry after `Retry-After` seconds."),
    "not_replicated": ProblemCode(
        503,
        "Fewer Redis replicas than `JOBS_WAIT_REPLICAS` confirmed the job.",
        "Check the replicas, or lower the setting.",
    ),
    "redis_unavailable": ProblemCode(503, "Redis does not respond.", "Check Redis and the `REDIS_…` settings."),
    "storage_stuck": ProblemCode(
        503, "The storage does not respond in time.", "Check the disk, or the bucket of `IMAGE_STORE`."
    ),
    "storage_unavailable": ProblemCode(
        503, "The storage is read-only or failed.", "Check the folder's permissions and the disk."
    ),
    "database_unavailable": ProblemCode(
        503, "The database of the reports does not respond.", "Check PostgreSQL and `DATABASE_URL`."
    ),
    "database_schema": ProblemCode(503, "The database has the tables of another version.", "Run `make migrate`."),
    "deadline_exceeded": ProblemCode(
        504,
        "The result was not ready within the timeout.",
        "Retry, raise `REQUEST_TIMEOUT_S`, or use an asynchronous request.",
    ),
    "storage_full": ProblemCode(
        507,
        "The disk is full, or the reports have reached `MAX_REPORTS_BYTES`.",
        "Free disk space: `make clean-uploads`.",
    ),
}
