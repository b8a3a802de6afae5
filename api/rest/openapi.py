"""The OpenAPI document, written from the routes' own descriptions and the documents' own schemas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.answers import Problem

from .calls import Operation
from .problems import MEDIA as PROBLEM_MEDIA

_REF = "#/components/schemas/{model}"
_ERRORS = {
    "401": "no key, or one that is not known",
    "403": "the key's role does not allow this",
    "404": "no such thing in this project",
    "409": "it contradicts what is stored, or the study is not active",
    "412": "the precondition does not hold",
    "413": "the body is too large",
    "422": "the request is not valid; `errors` names each place",
    "429": "too many requests",
    "503": "a part that is needed is away",
}


def document(operations: Sequence[Operation], title: str, version: str, description: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of all routes."""
    schemas, components = _schemas(operations)
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault("/v1" + operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


Schemas = dict[type[BaseModel], dict[str, Any]]


def _schemas(operations: Sequence[Operation]) -> tuple[Schemas, dict[str, Any]]:
    wanted: list[type[BaseModel]] = [Problem]
    for operation in operations:
        wanted += [model for model in (operation.body, *operation.answers.values()) if model is not None]
    # One schema a document serves for what is sent and what is answered: what comes out would be taken in again.
    keys = [(model, "validation") for model in dict.fromkeys(wanted)]
    found, definitions = models_json_schema(keys, ref_template=_REF)  # type: ignore[arg-type]
    return {model: schema for (model, _), schema in found.items()}, definitions.get("$defs", {})  # type: ignore[misc]


def _operation(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation.query)],
        "responses": _responses(operation, schemas),
    }
    if operation.method in ("POST", "PATCH"):
        found["parameters"].append(_header("Idempotency-Key", "The same key and body replay the first answer.", 255))
        found["requestBody"] = _body(operation, schemas)
    if operation.method in ("PATCH", "DELETE") and operation.tag == "studies":
        found["parameters"].append(_header("If-Match", "The etag last seen; 412 if the study has changed since.", 255))
    return found


def _body(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    if operation.body is not None:
        schema = schemas[operation.body]
    content: dict[str, Any] = {"schema": schema}
    if operation.example is not None:
        content["example"] = operation.example
    media = operation.media if operation.method == "PATCH" else "application/json"
    return {"required": operation.example is not None, "content": {media: content}}


def _responses(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, model in operation.answers.items():
        entry: dict[str, Any] = {"description": "done" if status != 202 else "an operation to follow"}
        if model is not None:
            entry["content"] = {"application/json": {"schema": schemas[model]}}
        found[str(status)] = entry
    problem = {PROBLEM_MEDIA: {"schema": {"$ref": _REF.format(model="Problem")}}}
    for code, description in _ERRORS.items():
        found[code] = {"description": description, "content": problem}
    return found


def _path_parameters(path: str) -> list[dict[str, Any]]:
    found = []
    for name in re.findall(r"{(\w+)}", path):
        schema: dict[str, Any] = (
            {"type": "integer", "minimum": 1} if name == "number" else {"type": "string", "minLength": 1}
        )
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    return found


def _query_parameters(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema(ref_template=_REF)
    definitions = schema.get("$defs", {})
    return [
        {"name": name, "in": "query", "required": False, "schema": _inline(part, definitions)}
        for name, part in schema["properties"].items()
    ]


def _inline(part: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_inline(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _inline(definitions[part["$ref"].rsplit("/", 1)[1]], definitions)
    return {name: _inline(item, definitions) for name, item in part.items()}


def _header(name: str, description: str, most: int) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": most, "pattern": r"^[\x21-\x7e]+$"}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}
