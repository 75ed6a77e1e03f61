"""The reference as web pages under `/docs`, made at start from what the server runs on."""

import json
from pathlib import Path

from starlette.responses import Response
from starlette.routing import Route

from protocol.schema.asyncapi import asyncapi
from protocol.schema.openapi import openapi
from server.reference.page import page

_HERE = Path(__file__).parent
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[Route]:
    """`/docs` with its script and style, and both documents for programs."""
    return [
        _route("/docs", page(), "text/html"),
        _route("/docs/reference.css", _asset("reference.css"), "text/css"),
        _route("/docs/reference.js", _asset("reference.js"), "text/javascript"),
        _route("/docs/asyncapi.json", _document(asyncapi()), "application/json"),
        _route("/docs/openapi.json", _document(openapi()), "application/json"),
    ]


def _route(path: str, text: str, media_type: str) -> Route:
    # A response is an ASGI application, and the same for everybody.
    return Route(path, Response(text, media_type=media_type, headers=_HEADERS), methods=["GET"])


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _document(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
