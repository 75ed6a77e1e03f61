"""REST: the routes of `/api/auth`, and how requests are read and refusals are written."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from protocol.accounts import Login, Logout, Refresh, Register
from protocol.errors import ErrorCode, MemoError
from protocol.operation import Permission
from protocol.records import Body
from protocol.rest import ENDPOINTS, KEYS, LOGIN, LOGOUT, REFRESH, REGISTER, Endpoint
from server.auth import Auth, normalize_email
from server.tokens import Principal, Tokens
from storage import outage

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024
REQUEST_SECONDS = 30.0
KEYS_MAX_AGE_SECONDS = 60

Handler = Callable[[Request], Awaitable[Response]]
B = TypeVar("B", bound=Body)

_DECLARED = frozenset(endpoint.name for endpoint in ENDPOINTS)

_FIELD = re.compile(r" - at `\$\.?(?P<path>.+)`$")
_MISSING = re.compile(r"^Object missing required field `(?P<field>.+?)`")


class Lockout(Protocol):
    """Counts wrong guesses at an account: `server.limits.Lockout`."""

    def at(self, account: str, address: str | None) -> AbstractAsyncContextManager[None]: ...


def routes(auth: Auth, tokens: Tokens, lockout: Lockout) -> list[Route]:
    """The routes of accounts and tokens."""
    api = _AuthApi(auth, tokens, lockout)
    return [
        route(REGISTER, api.register),
        route(LOGIN, api.login),
        route(REFRESH, api.refresh),
        route(LOGOUT, api.logout),
        route(KEYS, api.keys),
    ]


def route(endpoint: Endpoint, handler: Handler, seconds: float | None = REQUEST_SECONDS) -> Route:
    """`endpoint` answered by `handler`, or with `timeout` when the request's body and the answer
    take longer than `seconds`. None: the handler has limits of its own."""

    async def bounded(request: Request) -> Response:
        try:
            async with asyncio.timeout(seconds):
                with outage.reported():
                    return await handler(request)
        except TimeoutError:
            raise MemoError(ErrorCode.TIMEOUT, retry_after=1) from None

    return Route(endpoint.path, bounded, methods=[endpoint.method], name=endpoint.name)


def exception_handlers() -> Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    """Handlers for Starlette, so that whatever is raised is answered in the one error shape."""
    return {
        HTTPException: _on_http_exception,
        Exception: _on_exception,
        # What Exception stands for, Starlette raises again when it is answered; not these.
        MemoError: _on_exception,
        ClientDisconnect: _on_exception,
    }


async def read_json(request: Request, shape: type[B]) -> B:
    """The request's JSON body as `shape`.

    Raises:
        MemoError: `invalid_request`, its details naming the header or the field, or `too_large`.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        # Also what keeps a form on someone else's site from posting here.
        raise MemoError(
            ErrorCode.INVALID_REQUEST,
            "Send JSON, with the header Content-Type: application/json.",
            details={"Content-Type": "must be application/json"},
        )
    return _decode(await read_body(request), shape)


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The request's body, of at most `limit` bytes.

    Raises:
        MemoError: `too_large`, as soon as more has arrived.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise MemoError(ErrorCode.TOO_LARGE, details={"body": f"may have {limit} bytes"})
    return bytes(body)


def write_json(body: Body, status: int = 200) -> Response:
    """`body` as a JSON reply that no cache keeps."""
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def bearer(request: Request) -> str | None:
    """The token of the header `Authorization: Bearer ...`, if there is one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def signed_in(
    request: Request, auth: Auth, permission: Permission | None = None
) -> Principal:
    """Whom the request's access token speaks for; it has to grant `permission`.

    Raises:
        MemoError: `unauthorized`, `token_expired`, `session_ended`, `account_disabled`,
            `forbidden`.
    """
    token = bearer(request)
    if token is None:
        raise MemoError(
            ErrorCode.UNAUTHORIZED, "Send an access token in the header Authorization: Bearer ..."
        )
    principal = await auth.authenticate(token)
    if permission is not None and permission not in principal.permissions:
        raise MemoError(ErrorCode.FORBIDDEN, f"this needs the permission {permission.value}")
    return principal


def path_id(request: Request) -> UUID:
    """The `{id}` of the request's path.

    Raises:
        MemoError: `not_found`, when it is no id.
    """
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise MemoError(ErrorCode.NOT_FOUND) from None


def invalid_request(error: Exception) -> MemoError:
    """What msgspec found wrong with a body, as a refusal that names the field's path."""
    text = str(error)
    if missing := _MISSING.match(text):
        at = _FIELD.search(text)
        field = f"{at['path']}.{missing['field']}" if at else missing["field"]
        problem = "is missing"
    elif isinstance(error, msgspec.ValidationError):
        at = _FIELD.search(text)
        field = at["path"] if at else "body"
        problem = _FIELD.sub("", text).replace("Expected", "expected", 1)
    else:
        field, problem = "body", "is not well-formed"
    return MemoError(ErrorCode.INVALID_REQUEST, f"{field}: {problem}", details={field: problem})


def refused_with(scope: Scope) -> ErrorCode | None:
    """The code that a request was refused with, if it was."""
    code: ErrorCode | None = getattr(Request(scope).state, "refused_with", None)
    return code


def error_response(
    error: MemoError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The reply that carries `error`; `status` only where its code has several."""
    body: dict[str, Any] = {"code": error.code.value, "message": error.message}
    if error.details:
        body["details"] = error.details
    reply_headers = {"Cache-Control": "no-store", **(headers or {})}
    if error.retry_after is not None:
        reply_headers["Retry-After"] = str(math.ceil(error.retry_after))
    if error.code.status == 401:
        reply_headers["WWW-Authenticate"] = "Bearer"
    return Response(
        msgspec.json.encode({"error": body}),
        status_code=status or error.code.status,
        media_type="application/json",
        headers=reply_headers,
    )


class _AuthApi:
    def __init__(self, auth: Auth, tokens: Tokens, lockout: Lockout) -> None:
        self._auth = auth
        self._tokens = tokens
        self._lockout = lockout

    async def register(self, request: Request) -> Response:
        body = await read_json(request, Register)
        signed_in = await self._auth.register(
            body, address=_address(request), user_agent=request.headers.get("user-agent")
        )
        return write_json(signed_in, 201)

    async def login(self, request: Request) -> Response:
        body = await read_json(request, Login)
        address = _address(request)
        async with self._lockout.at(normalize_email(body.email) or body.email, address):
            signed_in = await self._auth.login(
                body, address=address, user_agent=request.headers.get("user-agent")
            )
        return write_json(signed_in)

    async def refresh(self, request: Request) -> Response:
        body = await read_json(request, Refresh)
        return write_json(await self._auth.refresh(body.refresh_token))

    async def logout(self, request: Request) -> Response:
        # The body may be left out altogether, and then has no type.
        has_body = "content-type" in request.headers
        body = await read_json(request, Logout) if has_body else Logout()
        if body.refresh_token is None:
            principal = await self._signing_out(request)
        else:
            principal = None
        await self._auth.logout(body.refresh_token, principal)
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def _signing_out(self, request: Request) -> Principal | None:
        """Whose access token came; None when its session is over already."""
        token = bearer(request)
        if token is None:
            raise MemoError(
                ErrorCode.UNAUTHORIZED,
                "Name the session to end: refreshToken in the body, or an access token in the"
                " header Authorization: Bearer ...",
            )
        try:
            return await self._auth.authenticate(token)
        except MemoError as error:
            if error.code is ErrorCode.SESSION_ENDED:
                return None
            raise

    async def keys(self, request: Request) -> Response:  # noqa: ARG002
        await self._tokens.reload()
        return Response(
            msgspec.json.encode(self._tokens.jwks()),
            media_type="application/json",
            headers={"Cache-Control": f"public, max-age={KEYS_MAX_AGE_SECONDS}"},
        )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: unknown paths and methods, mostly."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        refusal = MemoError(ErrorCode.NOT_FOUND, f"There is nothing at {request.url.path}.")
    elif error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        refusal = MemoError(ErrorCode.INVALID_REQUEST, f"{request.url.path} takes {allowed} only.")
        return error_response(refusal, status=405, headers={"Allow": allowed})
    elif error.status_code < 500:
        refusal = MemoError(ErrorCode.INVALID_REQUEST, error.detail)
    else:
        refusal = MemoError(ErrorCode.INTERNAL)
    return error_response(refusal, status=error.status_code, headers=error.headers)


def _methods(request: Request) -> set[str]:
    """What the path of a request takes. Starlette tells of the first route alone that has it."""
    found = [
        route
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    # An endpoint's other spellings, such as a method in a header, are not for everybody.
    declared = [route for route in found if route.name in _DECLARED]
    return {method for route in declared or found for method in route.methods or ()}


async def _on_exception(request: Request, error: Exception) -> Response:
    if isinstance(error, MemoError):
        if error.__cause__ is not None:
            log.warning("rest.failed", path=request.url.path, error=repr(error.__cause__))
        request.state.refused_with = error.code
        return error_response(error)
    if isinstance(error, ClientDisconnect):  # nobody is there to read the reply
        return error_response(MemoError(ErrorCode.CANCELLED))
    request_id = uuid4().hex
    log.error(
        "rest.failed",
        request_id=request_id,
        method=request.method,
        path=request.url.path,
        exc_info=error,
    )
    return error_response(MemoError(ErrorCode.INTERNAL, details={"requestId": request_id}))


def _decode(body: bytes, shape: type[B]) -> B:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_request(error) from None


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None
