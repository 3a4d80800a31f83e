import base64
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import error_handlers
import problems
import settings
from app import create_app
from auth import access
from openapi import document as openapi_document
from openapi.operation import Operation, operations_of
from openapi.problem_codes import PROBLEM_CODES
from openapi.response_headers import RESPONSE_HEADERS
from openapi.schemas import PredictResponse
from problems import ProblemDocument
from sightline_testing import sample_images
from tests.serving import wait_until


@pytest.fixture
def document(client: FlaskClient) -> dict[str, object]:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json is not None
    return dict(answer.json)


@pytest.fixture
def quickly_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the libraries of validators import no grammars of formats that this description does not use.

    To compile the 38 of internationalised addresses takes two seconds of processor time.
    """
    monkeypatch.setitem(sys.modules, "rfc3987_syntax", None)


def test_every_route_is_described(application: Flask, document: dict[str, dict[str, dict[str, object]]]) -> None:
    described = {(path, method.upper()) for path, operations in document["paths"].items() for method in operations}
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in application.url_map.iter_rules()
        if rule.endpoint not in {"static", "help.documentation_start"}
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert described == routes


def test_every_operation_has_one_of_the_tags_and_each_is_used(document: dict[str, Any]) -> None:
    named = {tag["name"]: tag["description"] for tag in document["tags"]}
    tags = {
        (path, tag)
        for path, each in document["paths"].items()
        for operation in each.values()
        for tag in operation["tags"]
    }
    assert {tag for _, tag in tags} == named.keys()
    assert len(tags) == len(document["paths"])
    expected = {"/predict": "images", "/jobs/{job}": "images", "/feedback": "feedback", "/review/login": "review"}
    assert expected.items() | {("/metrics", "monitoring"), ("/v2", "protocols"), ("/docs", "description")} <= tags


def test_a_route_of_which_nothing_is_told_is_named(application: Flask) -> None:
    application.add_url_rule("/new", "new", lambda: "")
    with pytest.raises(LookupError, match="GET /new"):
        openapi_document.document(application)


def test_the_limits_are_those_that_requests_are_held_to(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_TOP_K", 7)
    document = client.get("/openapi.json").json
    assert document is not None
    [top_k] = [each for each in document["paths"]["/predict"]["post"]["parameters"] if each["name"] == "top_k"]
    assert top_k["schema"] == {"type": "integer", "minimum": 1, "maximum": 7}
    assert client.post("/predict?top_k=8", data=b"x", content_type="image/jpeg").json["code"] == "invalid_parameter"  # type: ignore[index]


def test_every_failure_of_an_image_is_told(application: Flask) -> None:
    operation = operations_of(application.view_functions["app_router.predict"])["POST"]
    told = set(openapi_document.document(application)["paths"]["/predict"]["post"]["responses"])
    of_a_worker = {str(status) for status, _ in error_handlers._FAILURES.values()}
    assert of_a_worker | {"503", "507", "408", "413"} <= told
    assert isinstance(operation, Operation)


def test_documents_are_described_as_they_are_built() -> None:
    described = openapi_document.Schemas()
    assert described.of(PredictResponse) == {"$ref": "#/components/schemas/PredictResponse"}
    described.of(ProblemDocument)
    schemas = described.by_name
    built = json.loads(problems.Problem(503, "queue_full", "busy").body(instance="/predict", request_id="1"))
    assert set(schemas["ProblemDocument"]["required"]) == set(built)
    assert schemas["PredictResponse"]["required"] == ["prediction", "score", "success"]
    classes = schemas["PredictResponse"]["properties"]["predictions"]
    assert classes["items"] == {"$ref": "#/components/schemas/ClassScore"}
    assert set(schemas) == {"ClassScore", "Explanation", "PredictResponse", "ProblemDocument"}


def test_keys_are_a_part_of_it_where_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, client: FlaskClient
) -> None:
    assert "securitySchemes" not in client.get("/openapi.json").json["components"]  # type: ignore[index]
    monkeypatch.setattr(settings, "API_KEYS_FILE", "/dev/null")
    document = create_app().test_client().get("/openapi.json").json
    assert document is not None
    assert "bearer" in document["components"]["securitySchemes"]
    assert document["paths"]["/predict"]["post"]["security"]
    assert "401" in document["paths"]["/predict"]["post"]["responses"]
    assert document["paths"]["/livez"]["get"]["security"] == []
    assert access.OPERATOR


def test_people_read_the_same(client: FlaskClient, document: dict[str, dict[str, dict[str, object]]]) -> None:
    page = client.get("/docs").text
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in page
    assert "None" not in re.sub(r"<code>[^<]*</code>", "", page)
    assert "http://localhost/predict" in page


def test_the_page_begins_with_predict_and_lists_every_error_code(client: FlaskClient) -> None:
    page = client.get("/docs").text
    assert re.findall(r"<summary><h3><code>([^<]*)", page)[0] == "POST /predict"
    assert re.findall(r'<tr id="error-(\w+)"', page) == sorted(PROBLEM_CODES)
    targets = set(re.findall(r' id="([^"]+)"', page))
    assert [link for link in re.findall(r'href="#([^"]+)"', page) if link not in targets] == []


@pytest.mark.parametrize("keys", ["", "/dev/null"])
@pytest.mark.usefixtures("quickly_imported")
def test_a_well_known_validator_finds_it_valid(monkeypatch: pytest.MonkeyPatch, client: FlaskClient, keys: str) -> None:
    monkeypatch.setattr(settings, "API_KEYS_FILE", keys)
    document = client.get("/openapi.json").get_json()
    # Not in every process of the suite that has none of these tests.
    from openapi_spec_validator import OpenAPIV31SpecValidator  # noqa: PLC0415

    OpenAPIV31SpecValidator(document).validate()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert bool(operation["security"]) <= bool(keys), (path, method)
            for response in operation["responses"].values():
                assert "X-Request-Id" in response["headers"]


@pytest.mark.usefixtures("quickly_imported")
def test_every_example_is_one_that_its_schema_allows(document: dict[str, Any]) -> None:
    operations = [operation for each in document["paths"].values() for operation in each.values()]
    parameters = [parameter for each in operations for parameter in each.get("parameters", ())]
    examples = [(each["name"], each["schema"], each["example"]) for each in parameters if "example" in each]
    assert {"top_k", "start", "X-Request-Timeout-Ms"} <= {name for name, _, _ in examples}
    from jsonschema import Draft202012Validator  # noqa: PLC0415

    validators = [(name, Draft202012Validator(schema), example) for name, schema, example in examples]
    assert [(name, example) for name, validator, example in validators if not validator.is_valid(example)] == []


def test_no_described_path_ends_in_a_slash(document: dict[str, Any]) -> None:
    """Linters of descriptions, such as Redocly's, count it as an error."""
    assert [path for path in document["paths"] if path.endswith("/") and path != "/"] == []


def asked_in_every_way(client: FlaskClient) -> Iterator[TestResponse]:
    """Send requests whose answers have many headers."""
    image = sample_images.jpeg()
    yield client.post("/predict", data=image)
    yield client.post("/predict", data=image)
    yield client.post("/predict", data=image, headers={"Prefer": "respond-async"})
    yield client.post("/predict", data=b"x", headers={"Content-Encoding": "br"})
    yield client.post("/predict?top_k=0", data=image)
    yield client.post("/predictions/default", data=image)
    yield client.post("/invocations", data=image)
    yield client.post("/", data={})
    outputs = [{"name": "score", "parameters": {"binary_data": True}}]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(image).decode()]}
    yield client.post("/v2/models/default/infer", json={"inputs": [tensor], "outputs": outputs})
    yield client.get("/display/missing.jpg")
    yield client.get("/openapi.json")
    yield client.get("/docs")
    yield client.get("/labels")


@pytest.mark.usefixtures("worker")
def test_the_headers_that_answers_have_are_described(client: FlaskClient, application: Flask) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is known")
    document = client.get("/openapi.json").get_json()
    seen = set()
    for answer in asked_in_every_way(client):
        rule = application.url_map.bind("").match(answer.request.path, answer.request.method, return_rule=True)[0]
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        described = document["paths"][path][answer.request.method.lower()]["responses"][str(answer.status_code)]
        sent = {name for name in RESPONSE_HEADERS if name in answer.headers}
        assert sent <= set(described["headers"]), (path, answer.status_code)
        seen |= sent
    assert {"X-Cache", "Location", "Accept-Encoding", "ETag", "X-Error-Code", "Server-Timing"} <= seen
    assert "Inference-Header-Content-Length" in seen
    assert document["components"]["headers"].keys() <= RESPONSE_HEADERS.keys()


def test_torchserve_s_answer_has_a_type(document: dict[str, Any]) -> None:
    answer = document["paths"]["/predictions/{model}"]["post"]["responses"]["200"]["content"]["application/json"]
    assert answer["schema"]["additionalProperties"]["type"] == "number"


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_it_is_built_once_and_sent_once(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    first = client.get(path)
    monkeypatch.setattr(openapi_document, "document", None)
    again = client.get(path)
    assert (again.data, again.headers["ETag"]) == (first.data, first.headers["ETag"])
    kept = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (kept.status_code, kept.data, kept.headers["ETag"]) == (304, b"", first.headers["ETag"])
    [caching] = first.headers.getlist("Cache-Control")
    assert kept.headers.getlist("Cache-Control") == [caching]
    assert caching.endswith("no-cache")
    assert client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200
    assert client.head(path).headers["ETag"] == first.headers["ETag"]


def test_the_page_names_the_address_that_was_asked(client: FlaskClient) -> None:
    here, there = client.get("/docs"), client.get("/docs", headers={"Host": "sightline.example:8000"})
    assert "http://sightline.example:8000/predict" in there.text
    assert "sightline.example" not in here.text
    assert here.headers["ETag"] != there.headers["ETag"]
    for page in (here, there):
        assert openapi_document._ADDRESS not in page.text
