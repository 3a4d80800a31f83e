import json
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

import error_handlers
import problems
import settings
from app import create_app
from auth import access
from openapi import document as openapi_document
from openapi.operation import Operation, operations_of
from openapi.schemas import PredictResponse
from problems import ProblemDocument


@pytest.fixture
def document(client: FlaskClient) -> dict[str, object]:
    answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json is not None
    return dict(answer.json)


def test_every_route_is_described(application: Flask, document: dict[str, dict[str, dict[str, object]]]) -> None:
    described = {(path, method.upper()) for path, operations in document["paths"].items() for method in operations}
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in application.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert described == routes


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


def test_every_failure_of_a_picture_is_told(application: Flask) -> None:
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
    assert "security" not in document["paths"]["/livez"]["get"]
    assert access.OPERATOR


def test_people_read_the_same(client: FlaskClient, document: dict[str, dict[str, dict[str, object]]]) -> None:
    page = client.get("/docs").text
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in page
    assert "None" not in re.sub(r"<code>[^<]*</code>", "", page)
    assert "http://localhost/predict" in page
