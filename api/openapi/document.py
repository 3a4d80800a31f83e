"""The description of the API for programs (/openapi.json, OpenAPI 3.1) and for people (/docs).

It is made from the routes of the application, the operations beside their views, and the declarations that check
requests and build answers: there is no second description to keep up to date.
"""

import re
import types
import typing
from http import HTTPStatus
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin

from flask import Blueprint, Flask, current_app, render_template

import settings
from openapi.operation import HTML, JSON, Answer, Body, Operation, Parameter, operations_of
from problems import MEDIA_TYPE, ProblemDocument

Schema = dict[str, Any]

VERSION = "1"
# Methods that every route answers by itself, and the page's own files.
UNDESCRIBED_METHODS = frozenset({"HEAD", "OPTIONS"})
UNDESCRIBED_ENDPOINTS = frozenset({"static"})
SAFE_METHODS = frozenset({"GET"})
# Statuses of problems that every request, and every request that changes something, can be answered with.
ALWAYS = (400, 408, 414, 417, 431, 500)
OF_UNSAFE_METHODS = (403, 413, 429)
ABOUT = """Classifies images. Send one to /predict, as the field "file" of a form or as the body itself.

Every failure but a request without an image is a ProblemDocument with a stable code; where waiting helps, Retry-After
says for how long."""
IMAGE = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF or BMP"}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "browser": {"type": "http", "scheme": "basic", "description": "any name, and the key as the password"},
}
_JSON_TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}

router = Blueprint("openapi", __name__)


@router.route("/openapi.json")
@Operation("GET", "This description", {200: Answer("OpenAPI 3.1", media_types=[JSON])})
def openapi() -> dict[str, Any]:
    """Answer the description for programs."""
    return document(current_app)


@router.route("/docs")
@Operation("GET", "This description, for people", {200: Answer("a page", media_types=[HTML])})
def docs() -> str:
    """Show the description."""
    return render_template("docs.html", api=document(current_app), reason=lambda status: HTTPStatus(int(status)).phrase)


def document(app: Flask) -> dict[str, Any]:
    """Return the description of every route of an application; raise LookupError for one without an operation."""
    paths: dict[str, dict[str, Any]] = {}
    schemas = Schemas()
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: (rule.rule, rule.endpoint)):
        if rule.endpoint in UNDESCRIBED_ENDPOINTS:
            continue
        view = app.view_functions[rule.endpoint]
        needs_key = bool(settings.API_KEYS_FILE) and not getattr(view, "is_open_to_all", False)
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for method in sorted(set(rule.methods or ()) - UNDESCRIBED_METHODS):
            operation = operations_of(view).get(method)
            if operation is None:
                raise LookupError(f"{method} {rule.rule} is not described: decorate its view with openapi.Operation")
            described = _operation(operation, method, path, schemas, needs_key=needs_key)
            described["operationId"] = f"{rule.endpoint.replace('.', '_')}_{method.lower()}"
            paths.setdefault(path, {})[method.lower()] = described
    security = {"securitySchemes": SECURITY_SCHEMES} if settings.API_KEYS_FILE else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sightline", "version": VERSION, "description": ABOUT, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.by_name.items())), **security},
    }


class Schemas:
    """The JSON schemas of the TypedDicts that a document refers to, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Schema] = {}

    def of(self, hint: Any) -> Schema:  # noqa: PLR0911  one return for each kind of type
        """Return the schema of a type; a TypedDict is referred to."""
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in {NotRequired, Annotated}:
            added: Schema = arguments[1] if origin is Annotated else {}
            return self.of(arguments[0]) | added
        if origin is Literal:
            return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        if origin in {Union, types.UnionType}:
            if all(each in _JSON_TYPES for each in arguments):
                return {"type": [_JSON_TYPES[each] for each in arguments]}
            return {"anyOf": [self.of(each) for each in arguments]}
        if hint is Any:
            return {}
        return {"type": _JSON_TYPES[hint]} if hint in _JSON_TYPES else self._reference(hint)

    def _reference(self, document: type) -> Schema:
        name = document.__name__
        if name not in self.by_name:
            hints = typing.get_type_hints(document, include_extras=True)
            self.by_name[name] = {
                "type": "object",
                "description": document.__doc__ or "",
                "properties": {key: self.of(hint) for key, hint in hints.items()},
                "required": sorted(document.__required_keys__),  # type: ignore[attr-defined]  # of a TypedDict
                "additionalProperties": False,
            }
        return {"$ref": f"#/components/schemas/{name}"}


def _operation(operation: Operation, method: str, path: str, schemas: Schemas, *, needs_key: bool) -> Schema:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    described: Schema = {
        "summary": operation.summary,
        "parameters": [*in_path, *map(_parameter, operation.parameters)],
        "responses": {str(status): _answer(answer, schemas) for status, answer in operation.answers.items()},
    }
    if operation.body is not None:
        described["requestBody"] = _body(operation.body, schemas)
    unsafe = () if method in SAFE_METHODS else OF_UNSAFE_METHODS
    for status in sorted({*ALWAYS, *operation.problems, *unsafe, *([401] if needs_key else ())}):
        described["responses"].setdefault(str(status), _problem(operation, status, schemas))
    if needs_key:
        described["security"] = [{name: []} for name in SECURITY_SCHEMES]
    return described


def _parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.meaning,
        "schema": parameter.schema(),
        "example": parameter.example,
    }


def _answer(answer: Answer, schemas: Schemas) -> Schema:
    content: Schema = {media_type: {} for media_type in answer.media_types}
    if answer.document is not None:
        content[JSON] = {"schema": schemas.of(answer.document)}
    return {"description": answer.meaning, **({"content": content} if content else {})}


def _problem(operation: Operation, status: int, schemas: Schemas) -> Schema:
    content: Schema = {MEDIA_TYPE: {"schema": schemas.of(ProblemDocument)}}
    if operation.problems_as_page:
        content[HTML] = {}
    if status in operation.other_problems:
        content[JSON] = {"schema": schemas.of(operation.other_problems[status])}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _body(body: Body, schemas: Schemas) -> Schema:
    fields: Schema = {name: {"type": "string", "description": meaning} for name, meaning in body.fields.items()}
    for name, choices in body.choices.items():
        fields[name]["enum"] = list(choices)
    if body.image_field:
        fields[body.image_field] = IMAGE
    kind = "multipart/form-data" if body.image_field else "application/x-www-form-urlencoded"
    form = {"schema": {"type": "object", "properties": fields, "required": list(body.required)}}
    content: Schema = {kind: form} if fields else {}
    content |= {media_type: {"schema": IMAGE} for media_type in body.image_types}
    if body.document is not None:
        content[JSON] = {"schema": schemas.of(body.document)}
    return {"content": content, "required": bool(body.required)}
