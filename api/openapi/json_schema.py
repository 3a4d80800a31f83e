"""From Python's types to JSON Schema, as far as shapes.py uses them."""

import types
import typing
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin

Schema = dict[str, Any]

PLAIN: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
TEMPLATE = "#/components/schemas/{}"


def reference(shape: type) -> Schema:
    """Refer to a TypedDict by its name."""
    return {"$ref": TEMPLATE.format(shape.__name__)}


def schemas_of(shapes: typing.Iterable[type]) -> dict[str, Schema]:
    """Give the schemas of TypedDicts, and of those that they hold, by name."""
    found: dict[str, Schema] = {}
    waiting = list(shapes)
    while waiting:
        shape = waiting.pop()
        if shape.__name__ not in found:
            found[shape.__name__] = _object(shape, waiting)
    return dict(sorted(found.items()))


def _object(shape: type, others: list[type]) -> Schema:
    hints = typing.get_type_hints(shape, include_extras=True)
    return {
        "type": "object",
        "description": shape.__doc__ or "",
        "properties": {name: _schema(hint, others) for name, hint in hints.items()},
        "required": sorted(shape.__required_keys__),  # type: ignore[attr-defined]  # what a TypedDict has
        "additionalProperties": False,
    }


def _schema(hint: Any, others: list[type]) -> Schema:  # noqa: PLR0911  one return for each kind of type
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {NotRequired, Annotated}:
        added: Schema = arguments[1] if origin is Annotated else {}
        return _schema(arguments[0], others) | added
    if origin is Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0], others)}
    if hint is Any:
        return {}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], others)}
    if origin in {Union, types.UnionType}:
        return {"type": [PLAIN[each] for each in arguments]}
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    others.append(hint)
    return reference(hint)
