"""The OpenAPI 3.1 document of the REST endpoints."""

import re
from typing import Any

from protocol.errors import ErrorCode
from protocol.rest import BYTES, ENDPOINTS, FORM, JSON, Answer, Endpoint, Parameter, Refused
from protocol.schema import TITLE, VERSION
from protocol.schema.examples import example
from protocol.schema.shapes import Struct, components

_ABOUT = (
    "REST is for signing in, for the bytes of files, and for whoever watches the server. All else"
    " is an operation of the WebSocket at `/ws`, described in the AsyncAPI document beside this"
    " one."
)

Document = dict[str, Any]

_LIMIT_HEADERS: Document = {
    name: {"description": meaning, "schema": {"type": "integer", "minimum": 0}}
    for name, meaning in (
        ("RateLimit-Limit", "Calls allowed in a window of time."),
        ("RateLimit-Remaining", "Those of them that are left."),
        ("RateLimit-Reset", "Seconds until the counting begins anew."),
    )
}


def openapi() -> Document:
    """The document, in an order that depends on the declarations alone."""
    paths: dict[str, Document] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _endpoint(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{TITLE} REST", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "http://127.0.0.1:8000", "description": "Where `make run` serves."}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _endpoint(endpoint: Endpoint) -> Document:
    document: Document = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [_tag(endpoint)],
    }
    if endpoint.bearer:
        document["security"] = [{}, {"bearer": []}]
    if endpoint.permission:
        document["security"] = [{"bearer": []}]
    if parameters := _parameters(endpoint):
        document["parameters"] = parameters
    if endpoint.request or endpoint.content_type != JSON:
        document["requestBody"] = {
            "required": endpoint.request is not None and not endpoint.bearer,
            "content": {endpoint.content_type: _request(endpoint)},
        }
    usual, *others = endpoint.answers
    responses = {str(usual.status): _answer(usual)}
    if usual.body:
        responses[str(usual.status)]["content"][JSON]["example"] = example(usual.body)
    if endpoint.limit:
        responses[str(usual.status)]["headers"] = _LIMIT_HEADERS
    responses |= {str(other.status): _answer(other) for other in others}
    for status in sorted({code.status for code in endpoint.refusals}):
        codes = [code for code in endpoint.refusals if code.status == status]
        responses[str(status)] = _refusals(codes)
    document["responses"] = responses
    return document


def _tag(endpoint: Endpoint) -> str:
    if endpoint.path.startswith("/api/auth/"):
        return "auth"
    return "files" if endpoint.path.startswith("/api/") else "server"


def _parameters(endpoint: Endpoint) -> list[Document]:
    parameters: list[Document] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
        }
        for name in re.findall(r"{(\w+)}", endpoint.path)
    ]
    parameters += [
        {
            "name": parameter.name,
            "in": parameter.place,
            "description": parameter.meaning,
            "required": parameter.required,
            "schema": _schema(parameter),
        }
        for parameter in endpoint.parameters
    ]
    return parameters


def _schema(parameter: Parameter) -> Document:
    if parameter.values:
        return {"type": parameter.kind, "enum": list(parameter.values)}
    if parameter.kind == "integer":
        return {"type": "integer", "minimum": 0}
    return {"type": parameter.kind}


def _request(endpoint: Endpoint) -> Document:
    binary: Document = {"type": "string", "format": "binary"}
    if endpoint.content_type == BYTES or endpoint.request is None:
        return {"schema": binary}
    if endpoint.content_type == FORM:
        file = {"type": "object", "properties": {"file": binary}, "required": ["file"]}
        return {"schema": {"allOf": [_ref(endpoint.request), file]}}
    return {"schema": _ref(endpoint.request), "example": example(endpoint.request)}


def _answer(answer: Answer) -> Document:
    response: Document = {"description": answer.meaning}
    if answer.body:
        response["content"] = {JSON: {"schema": _ref(answer.body)}}
    elif answer.content_type != JSON:
        response["content"] = {answer.content_type: {"schema": {"type": "string"}}}
    return response


def _refusals(codes: list[ErrorCode]) -> Document:
    described = " ".join(f"`{code.value}`: {code.meaning}" for code in codes)
    examples = {
        code.value: {"value": {"error": {"code": code.value, "message": code.meaning}}}
        for code in codes
    }
    response: Document = {
        "description": described,
        "content": {JSON: {"schema": _ref(Refused), "examples": examples}},
    }
    if any(code.temporary for code in codes):
        response["headers"] = {
            "Retry-After": {
                "description": "Seconds to wait, where the server can tell.",
                "schema": {"type": "integer", "minimum": 0},
            }
        }
    return response


def _ref(struct: Struct) -> Document:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}


def _schemas() -> dict[str, Document]:
    roots: list[Struct] = [Refused]
    for endpoint in ENDPOINTS:
        roots += [endpoint.request] if endpoint.request else []
        roots += [answer.body for answer in endpoint.answers if answer.body]
    schemas = components(roots)
    codes = [code.value for code in ErrorCode]
    schemas["Refusal"]["properties"]["code"] = {"type": "string", "enum": codes}
    return schemas
