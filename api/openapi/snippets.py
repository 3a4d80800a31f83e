"""Sample requests and responses for /docs. tests/test_documentation.py compares them with commands that are run."""

from typing import NamedTuple

# In place of the address of the service.
ADDRESS = "http://127.0.0.1:8000/"

_PYTHON = """\
import json
from pathlib import Path
from urllib.request import Request, urlopen

image = Path("examples/cat.jpg").read_bytes()
request = Request("http://127.0.0.1:8000/predict", image, {"Content-Type": "image/jpeg"})
with urlopen(request) as response:
    answer = json.load(response)
print(answer["prediction"], answer["score"])"""

_JAVASCRIPT = """\
import { readFile } from "node:fs/promises";

const response = await fetch("http://127.0.0.1:8000/predict", {
  method: "POST",
  headers: { "Content-Type": "image/jpeg" },
  body: await readFile("examples/cat.jpg"),
});
const answer = await response.json();
if (!response.ok) throw new Error(`${answer.code}: ${answer.detail}`);
console.log(answer.prediction, answer.score);"""


class Snippet(NamedTuple):
    """A text to copy: a request in one language, or a response."""

    title: str
    text: str


REQUESTS = (
    Snippet("curl", "curl -F file=@examples/cat.jpg http://127.0.0.1:8000/predict"),
    Snippet("Python", _PYTHON),
    Snippet("JavaScript", _JAVASCRIPT),
)
RESPONSE = Snippet("Response", '{"success": true, "prediction": "tiger_cat", "score": 0.4111}')
DETAILED_REQUEST = Snippet("curl", "curl -F file=@examples/cat.jpg 'http://127.0.0.1:8000/predict?top_k=3'")
DETAILED_RESPONSE = Snippet(
    "Response",
    """\
{
  "success": true,
  "prediction": "tiger_cat",
  "score": 0.4111,
  "predictions": [
    {"label": "tiger_cat", "score": 0.4111},
    {"label": "Egyptian_cat", "score": 0.356},
    {"label": "tabby", "score": 0.1617}
  ],
  "filename": "5f2d…8b.jpg",
  "prediction_id": "eyJ…",
  "model_version": "efficientnet-lite0/1-int8"
}""",
)
ERROR = Snippet(
    "Error",
    """\
{
  "type": "urn:sightline:problem:queue_full",
  "title": "Service Unavailable",
  "status": 503,
  "detail": "The service is busy: the queue holds 128 jobs and takes 128.",
  "code": "queue_full",
  "instance": "/predict",
  "request_id": "5f0c2a9e1b7d4c36"
}""",
)
