"""The description of the api for programs (/openapi.json, OpenAPI 3.1) and for people (/docs).

Made of the routes that there are, of what is told beside their views, and of the declarations that check requests and
build answers: there is no second, hand-kept description.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, current_app, render_template

import settings
from auth import access
from images.sniffing import KINDS
from openapi.json_schema import reference, schemas_of
from openapi.operation import ALWAYS, HTML, JSON, WITH_A_BODY, Answer, Body, Operation, describe, operations_of
from openapi.schemas import ProblemDocument
from problems import MEDIA_TYPE

VERSION = "1"
# Methods that every route answers by itself, and the page's own files: nobody has to be told of them.
UNDESCRIBED_METHODS = frozenset({"HEAD", "OPTIONS"})
UNDESCRIBED_ENDPOINTS = frozenset({"static"})
SAFE_METHODS = frozenset({"GET"})
ABOUT = """Names what is in a picture. Send it to /predict, as the field "file" of a form or as the body itself.

Every failure but a request without a picture is a ProblemDocument with a stable code; where waiting helps, Retry-After
says for how long."""
PICTURE = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF or BMP"}

router = Blueprint("openapi", __name__)


@router.route("/openapi.json")
@access.open_to_all
@describe("GET", Operation("This description", {200: Answer("OpenAPI 3.1", media_types=[JSON])}))
def openapi() -> dict[str, Any]:
    """Give the description for programs."""
    return document(current_app)


@router.route("/docs")
@access.open_to_all
@describe("GET", Operation("This description, for people", {200: Answer("a page", media_types=[HTML])}))
def docs() -> str:
    """Show the description."""
    return render_template("docs.html", api=document(current_app), reason=_reason)


def document(app: Flask) -> dict[str, Any]:
    """Describe every route of an application; raises LookupError for one of which nothing is told."""
    paths: dict[str, dict[str, Any]] = {}
    shapes: set[type] = {ProblemDocument}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
        if rule.endpoint in UNDESCRIBED_ENDPOINTS:
            continue
        view = app.view_functions[rule.endpoint]
        for method in sorted(set(rule.methods or ()) - UNDESCRIBED_METHODS):
            operation = operations_of(view).get(method)
            if operation is None:
                raise LookupError(f"nothing is told of {method} {rule.rule}: see describing.py")
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            described = _described(operation, method, path, needs_key=_needs_key(view))
            described["operationId"] = f"{rule.endpoint.replace('.', '_')}_{method.lower()}"
            paths.setdefault(path, {})[method.lower()] = described
            shapes |= _shapes_of(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sightline", "version": VERSION, "description": ABOUT, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schemas_of(sorted(shapes, key=lambda shape: shape.__name__)), **_security_schemes()},
    }


def _described(operation: Operation, method: str, path: str, *, needs_key: bool) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    described: dict[str, Any] = {
        "summary": operation.summary,
        "parameters": [*in_path, *(parameter.described() for parameter in operation.parameters)],
        "responses": {str(status): _answer(answer) for status, answer in operation.answers.items()},
    }
    if operation.body is not None:
        described["requestBody"] = _body(operation.body)
    for status in sorted({*ALWAYS, *operation.problems, *_of_method(method), *([401] if needs_key else ())}):
        described["responses"].setdefault(str(status), _problem(operation, status))
    if needs_key:
        described["security"] = [{name: []} for name in ("bearer", "header", "browser")]
    return described


def _of_method(method: str) -> tuple[int, ...]:
    return () if method in SAFE_METHODS else (*WITH_A_BODY, 429)


def _needs_key(view: Any) -> bool:
    return bool(settings.API_KEYS_FILE) and not getattr(view, "is_open_to_all", False)


def _answer(answer: Answer) -> dict[str, Any]:
    content: dict[str, Any] = {media_type: {} for media_type in answer.media_types}
    if answer.shape is not None:
        schemas = [reference(shape) for shape in (answer.shape, *answer.other_shapes)]
        content[JSON] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
    return {"description": answer.meaning, **({"content": content} if content else {})}


def _problem(operation: Operation, status: int) -> dict[str, Any]:
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": reference(ProblemDocument)}}
    if operation.problems_as_page:
        content[HTML] = {}
    if status in operation.other_problems:
        content[JSON] = {"schema": reference(operation.other_problems[status])}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _body(body: Body) -> dict[str, Any]:
    fields: dict[str, Any] = {name: {"type": "string", "description": meaning} for name, meaning in body.fields.items()}
    for name, choices in body.choices.items():
        fields[name]["enum"] = list(choices)
    if body.picture_field:
        fields[body.picture_field] = PICTURE
    form = {"schema": {"type": "object", "properties": fields, "required": list(body.required)}}
    kind = "multipart/form-data" if body.picture_field else "application/x-www-form-urlencoded"
    content: dict[str, Any] = {kind: form} if fields else {}
    if body.is_picture:
        content |= {kind.media_type: {"schema": PICTURE} for kind in KINDS}
        content["application/octet-stream"] = {"schema": PICTURE}
    if body.documents:
        content[JSON] = {"schema": {"anyOf": [reference(shape) for shape in body.documents]}}
    return {"content": content, "required": bool(body.required)}


def _shapes_of(operation: Operation) -> set[type]:
    told = {answer.shape for answer in operation.answers.values() if answer.shape is not None}
    told |= {shape for answer in operation.answers.values() for shape in answer.other_shapes}
    taken = set(operation.body.documents) if operation.body is not None else set()
    return told | taken | set(operation.other_problems.values())


def _security_schemes() -> Mapping[str, Any]:
    if not settings.API_KEYS_FILE:
        return {}
    return {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "browser": {"type": "http", "scheme": "basic", "description": "any name, and the key as the password"},
        }
    }


def _reason(status: str) -> str:
    """Give a status in words."""
    return HTTPStatus(int(status)).phrase
