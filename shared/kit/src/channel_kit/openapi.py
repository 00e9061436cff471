"""What FastAPI cannot know for the OpenAPI document: strict bodies, guards, problems.

Bodies read by `http.json_body` become `requestBody` with components; the scopes of `auth.scope` become
`security`; every operation documents problem+json as its default answer, in place of FastAPI's own 422,
which we never send. `http.create_app` installs it; the document is built once and kept.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel

from channel_kit import problems

_COMPONENT = "#/components/schemas/"
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `code` is stable; further members depend on it.",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "correlation_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["in", "pointer", "reason"],
                "properties": {name: {"type": "string"} for name in ("in", "pointer", "reason")},
            },
        },
    },
}


def install(app: FastAPI) -> None:
    """Make `app.openapi()` describe what the kit really does."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _build(app: FastAPI) -> dict[str, Any]:
    built = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = built.setdefault("components", {})
    schemas: dict[str, Any] = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _PROBLEM
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, APIRoute) or not context.include_in_schema:
            continue
        for method in context.methods or ():
            operation = built["paths"].get(context.path_format, {}).get(method.lower())
            if operation is not None:
                _complete(operation, context.dependant, schemas)
    return built


def _complete(operation: dict[str, Any], dependant: Dependant, schemas: dict[str, Any]) -> None:
    answers = operation.setdefault("responses", {})
    if "HTTPValidationError" in str(answers.get("422", "")):
        del answers["422"]
    answers["default"] = {
        "description": "A problem",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": _COMPONENT + "Problem"}}},
    }
    scopes: list[str] = []
    for call in _calls(dependant):
        scopes += getattr(call, "scopes", ())
        if model := getattr(call, "body_model", None):
            content = {"application/json": {"schema": _component(model, schemas)}}
            operation["requestBody"] = {"required": True, "content": content}
        if kinds := getattr(call, "body_content", None):
            operation["requestBody"] = {"required": True, "content": kinds}
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in getattr(call, "required_headers", ()):
                parameter["required"] = True
    operation["security"] = [{"bearer": sorted(set(scopes))}] if scopes else []


def _calls(dependant: Dependant) -> Iterator[Any]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def _component(model: type[BaseModel], schemas: dict[str, Any]) -> dict[str, str]:
    """Add a body's schema and those it refers to; the reference to it."""
    schema = model.model_json_schema(ref_template=_COMPONENT + "{model}")
    parts: dict[str, Any] = schema.pop("$defs", {})
    parts.setdefault(model.__name__, schema)
    # A model that goes both ways may differ by direction; the received form then has its own name.
    renamed = {name: f"{name}Input" for name, part in parts.items() if schemas.get(name, part) != part}
    for name, part in parts.items():
        schemas[renamed.get(name, name)] = _renamed(part, renamed)
    return {"$ref": _COMPONENT + renamed.get(model.__name__, model.__name__)}


def _renamed(part: Any, renamed: dict[str, str]) -> Any:
    if isinstance(part, dict):
        reference = str(part.get("$ref", "")).removeprefix(_COMPONENT)
        if reference in renamed:
            return part | {"$ref": _COMPONENT + renamed[reference]}
        return {key: _renamed(value, renamed) for key, value in part.items()}
    if isinstance(part, list):
        return [_renamed(each, renamed) for each in part]
    return part
