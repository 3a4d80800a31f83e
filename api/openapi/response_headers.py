"""The headers of responses that clients may use: what /openapi.json describes and CORS exposes."""

from typing import Any, NamedTuple

Schema = dict[str, Any]


class ResponseHeader(NamedTuple):
    """What a header means, and its JSON schema."""

    meaning: str
    schema: Schema


OF_EVERY_RESPONSE = ("X-Request-Id",)
OF_A_PREDICTION = ("X-Prediction-Id", "X-Model-Version", "X-Cache", "X-Warnings", "Server-Timing")
OF_PROBLEMS = ("X-Error-Code", "X-Error-Detail")
# Those of problems of one status.
OF_STATUS = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    415: ("Accept-Encoding",),
    **dict.fromkeys((429, 503, 504, 507), ("Retry-After",)),
}

_TEXT: Schema = {"type": "string"}

RESPONSE_HEADERS = {
    "X-Request-Id": ResponseHeader("id of this request in the logs; taken from the request if it has one", _TEXT),
    "X-Error-Code": ResponseHeader("the stable code of the failure", {"type": "string", "examples": ["queue_full"]}),
    "X-Error-Detail": ResponseHeader("description of the failure, one line of ASCII", _TEXT),
    "Retry-After": ResponseHeader("seconds to wait before a retry", {"type": "integer", "minimum": 1}),
    "Allow": ResponseHeader("the methods of this address", _TEXT),
    "WWW-Authenticate": ResponseHeader("how to send an API key", _TEXT),
    "Accept-Encoding": ResponseHeader("supported content encodings of a request body", _TEXT),
    "X-Prediction-Id": ResponseHeader("id of this prediction, for reports", _TEXT),
    "X-Model-Version": ResponseHeader("<model>/<version>", _TEXT),
    "X-Cache": ResponseHeader(
        "hit or miss of the result cache; absent if no cache was used",
        {"enum": ["hit", "miss"]},
    ),
    "X-Warnings": ResponseHeader("reasons to doubt the prediction: one_colour; absent if there are none", _TEXT),
    "Server-Timing": ResponseHeader("milliseconds in the queue, for decoding and for inference", _TEXT),
    "Location": ResponseHeader("address of the job", {"type": "string", "format": "uri-reference"}),
    "Preference-Applied": ResponseHeader("the preference that was applied", {"const": "respond-async"}),
    "Inference-Header-Content-Length": ResponseHeader(
        "length of the JSON before the binary tensors; absent if there are none", {"type": "integer", "minimum": 1}
    ),
    "ETag": ResponseHeader("version of the document, for If-None-Match", _TEXT),
}
