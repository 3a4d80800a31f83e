"""The description of the API for programs (/openapi.json, OpenAPI 3.1) and for people (/docs).

It is made from the routes of the application, the operations declared with their views, and the declarations that check
requests and build answers: there is no second description to keep up to date.
"""

import re
import types
import typing
from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Union, get_args, get_origin

from flask import Blueprint, Flask, Response, current_app, render_template, request
from markupsafe import Markup, escape

import settings
from openapi import snippets
from openapi.operation import HTML, JSON, Answer, Body, Operation, Parameter, operations_of
from openapi.problem_codes import PROBLEM_CODES
from openapi.reading_order import grouped
from openapi.response_headers import OF_EVERY_RESPONSE, OF_PROBLEMS, OF_STATUS, RESPONSE_HEADERS
from problems import MEDIA_TYPE, ProblemDocument

Schema = dict[str, Any]

VERSION = "1"
# Methods that every route answers by itself; the page's own files, and a redirect to a page that is described.
UNDESCRIBED_METHODS = frozenset({"HEAD", "OPTIONS"})
UNDESCRIBED_ENDPOINTS = frozenset({"static", "help.documentation_start"})
SAFE_METHODS = frozenset({"GET"})
# Statuses of problems that every request, and every request that changes something, can be answered with.
ALWAYS = (400, 408, 414, 417, 431, 500)
OF_UNSAFE_METHODS = (403, 413, 429)
ABOUT = """Classify images. Send an image to /predict, as the field "file" of a form or as the request body.

Error responses are a ProblemDocument with a stable code, except for a request without an image. Retry-After is the
number of seconds to wait before a retry."""
# Groups of operations, in reading order.
TAGS = {
    "images": "Classify images, in one request or as asynchronous jobs, and fetch stored images.",
    "feedback": "Report wrong predictions.",
    "review": "Review reports and export reviewed cases. Requires the operator key.",
    "teaching": "Train, compare and promote versions of the model. Requires the operator key.",
    "protocols": "Classify images with clients of KServe, Triton, TensorFlow Serving, SageMaker and TorchServe.",
    "monitoring": "Health checks and metrics.",
    "description": "This description.",
}
_TAGS = {
    "app_router": "images",
    "candidates": "images",
    "door": "review",
    "health": "monitoring",
    "help": "description",
    "jobs": "images",
    "metrics": "monitoring",
    "openapi": "description",
    "operate": "monitoring",
    "previews": "images",
    "protocols": "protocols",
    "review": "review",
    "teach": "teaching",
}
LICENSE = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}
IMAGE = {"type": "string", "format": "binary", "description": f"an image: {settings.FORMATS.replace(',', ', ')}"}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "browser": {"type": "http", "scheme": "basic", "description": "any name, and the key as the password"},
}
_JSON_TYPES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}

# Stands in the page for the address of the service, which is that of each request.
_ADDRESS = "address-of-the-service"
# Paths below which the service is found, of proxies that differ.
MAX_PATHS = 16

router = Blueprint("openapi", __name__)


@router.route("/openapi.json")
@Operation(
    "GET",
    "Get this description",
    {200: Answer("OpenAPI 3.1", media_types=[JSON], headers=["ETag"]), 304: Answer("not changed", headers=["ETag"])},
)
def openapi() -> Response:
    """Answer the description for programs."""
    return _conditional(_published().document, JSON)


@router.route("/docs")
@Operation(
    "GET",
    "Show this description",
    {200: Answer("a page", media_types=[HTML], headers=["ETag"]), 304: Answer("not changed", headers=["ETag"])},
)
def docs() -> Response:
    """Show the description."""
    address = str(escape(request.url_root))
    description = Markup(address.join(_published().description))  # noqa: S704  made of our own template
    # The header around it is the visitor's own.
    return _conditional(render_template("docs.html", description=description), HTML, "private, no-cache")


class _Published(NamedTuple):
    """The description: as JSON, and as the pieces of a page's content, to be joined by the service's address."""

    document: str
    description: list[str]


def _published() -> _Published:
    """Return the description, which is built for the first request below each path."""
    app, path = current_app, request.script_root or "/"
    built: dict[str, _Published] = app.extensions.setdefault("sightline.openapi", {})
    if path not in built:
        if len(built) == MAX_PATHS:
            built.clear()
        api = document(app) | {"servers": [{"url": path}]}
        description = render_template(
            "description.html",
            api=api,
            groups=grouped(api),
            codes=PROBLEM_CODES,
            snippets=snippets,
            address=_ADDRESS,
            reason=lambda status: HTTPStatus(int(status)).phrase,
        )
        built[path] = _Published(app.json.dumps(api), description.split(_ADDRESS))
    return built[path]


def _conditional(text: str, media_type: str, caching: str = "no-cache") -> Response:
    """Return a text that a client may keep, and ask about again by its ETag."""
    response = Response(text, mimetype=media_type, headers={"Cache-Control": caching})
    response.add_etag()
    response.make_conditional(request)
    return response


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
            described["tags"] = [_tag_of(rule.endpoint)]
            described["operationId"] = f"{rule.endpoint.replace('.', '_')}_{method.lower()}"
            paths.setdefault(path, {})[method.lower()] = described
    security = {"securitySchemes": SECURITY_SCHEMES} if settings.API_KEYS_FILE else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sightline", "version": VERSION, "description": ABOUT, "license": LICENSE},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": meaning} for name, meaning in TAGS.items()],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.by_name.items())), "headers": _headers(paths), **security},
    }


def _tag_of(endpoint: str) -> str:
    blueprint, _, view = endpoint.partition(".")
    return view if view in TAGS else _TAGS[blueprint]


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
    described["security"] = [{name: []} for name in SECURITY_SCHEMES] if needs_key else []
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
    headers = _references((*answer.headers, *OF_EVERY_RESPONSE))
    return {"description": answer.meaning, "headers": headers, **({"content": content} if content else {})}


def _problem(operation: Operation, status: int, schemas: Schemas) -> Schema:
    content: Schema = {MEDIA_TYPE: {"schema": schemas.of(ProblemDocument)}}
    if operation.problems_as_page:
        content[HTML] = {}
    if status in operation.other_problems:
        content[JSON] = {"schema": schemas.of(operation.other_problems[status])}
    headers = _references((*OF_PROBLEMS, *OF_STATUS.get(status, ()), *OF_EVERY_RESPONSE))
    return {"description": HTTPStatus(status).phrase, "headers": headers, "content": content}


def _references(names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers(paths: dict[str, dict[str, Any]]) -> Schema:
    """Describe the headers that are referred to."""
    operations = [operation for path in paths.values() for operation in path.values()]
    used = {
        name for operation in operations for answer in operation["responses"].values() for name in answer["headers"]
    }
    found = {name: each for name, each in RESPONSE_HEADERS.items() if name in used}
    return {name: {"description": each.meaning, "schema": each.schema} for name, each in found.items()}


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
