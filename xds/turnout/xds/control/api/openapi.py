"""The OpenAPI document of the API, made of its table of operations."""

import re
from typing import Any

import msgspec

from turnout.xds.control.api.messages import ErrorAnswer
from turnout.xds.control.api.operations import JSON, OPERATIONS, Operation

_REF = "#/components/schemas/{name}"
_COMMON_ERRORS = (400, 401, 403, 500)


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1, as plain data."""
    kinds = [kind for o in OPERATIONS for kind in (o.answer, o.body) if kind is not None]
    _, components = msgspec.json.schema_components([*kinds, ErrorAnswer], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Turnout control plane", "version": "v1"},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _describe(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.text,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in re.findall(r"{(\w+)}", operation.path)
            ),
            *(
                {"name": q.name, "in": "query", "required": q.required, "description": q.text, "schema": q.schema}
                for q in operation.query
            ),
        ],
        "responses": {
            "200": {"description": "done", "content": _content(operation.answer)},
            **{
                str(status): {"description": "see error.message", "content": _content(ErrorAnswer)}
                for status in sorted({*_COMMON_ERRORS, *operation.errors})
            },
        },
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    return described


def _content(kind: type) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": _REF.format(name=kind.__name__)}}}
