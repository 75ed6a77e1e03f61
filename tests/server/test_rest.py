"""REST over a real socket: uvicorn serving the routes, and clients of every kind."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest
import uvicorn
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from protocol import rest as declared
from protocol.accounts import Refreshed, SignedIn
from protocol.errors import ErrorCode, MemoError
from server.auth import Auth
from server.limits import Limiter, Lockout
from server.passwords import Passwords
from server.rest import error_response, exception_handlers, read_body, route, routes
from server.tokens import Tokens, generate_key
from storage.accounts import Accounts
from storage.counters import LocalCounters

KEY = generate_key()
PASSWORD = "TestPassword123!"
ADA = {
    "email": "ada@example.com",
    "password": PASSWORD,
    "firstName": "Ada",
    "lastName": "Lovelace",
}


@asynccontextmanager
async def serving(served: Sequence[Route]) -> AsyncIterator[str]:
    """The address of a server with these routes."""
    app = Starlette(routes=served, exception_handlers=exception_handlers())
    config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # It listens already, so whoever connects before the server runs just waits for it.
        task = asyncio.create_task(server.serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, 10)


@pytest.fixture
async def url(pool: asyncpg.Pool) -> AsyncIterator[str]:
    async def ended(session_id: UUID) -> None:
        """Nobody is connected here."""

    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    tokens = Tokens([KEY])
    accounts = Accounts(pool)
    auth = Auth(accounts, tokens, passwords, ended)
    lockout = Lockout(Limiter({}, LocalCounters()), accounts.familiar)
    async with serving(routes(auth, tokens, lockout)) as url:
        yield url
    passwords.close()


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        yield client


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of a refusal, after checking what is true of all of them."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) <= {"code", "message", "details"}
    assert error["message"]
    assert "Traceback" not in response.text
    msgspec.json.decode(response.content, type=declared.Refused)
    return error


async def register(client: httpx.AsyncClient) -> SignedIn:
    response = await client.post("/api/auth/register", json=ADA)
    assert response.status_code == 201, response.text
    return msgspec.json.decode(response.content, type=SignedIn)


async def send_raw(url: str, request: bytes) -> bytes:
    """What the server answers to these bytes, up to the end of the connection."""
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer


# What is asked for


async def test_the_plans_journey_from_registering_to_signing_out(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post("/api/auth/register", json=ADA)
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    registered = response.json()
    assert {"user", "accessToken", "refreshToken"} <= set(registered)
    assert registered["user"]["email"] == "ada@example.com"
    assert registered["user"]["firstName"] == "Ada"
    assert not any("password" in name.lower() for name in registered["user"])

    login = {"email": "ADA@example.com", "password": PASSWORD, "rememberMe": True}
    response = await client.post("/api/auth/login", json=login)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    signed_in = msgspec.json.decode(response.content, type=SignedIn)
    assert str(signed_in.user.id) == registered["user"]["id"]

    body = {"refreshToken": signed_in.refresh_token}
    response = await client.post("/api/auth/refresh", json=body)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    refreshed = msgspec.json.decode(response.content, type=Refreshed)

    body = {"refreshToken": refreshed.refresh_token}
    for _ in range(2):
        response = await client.post("/api/auth/logout", json=body)
        assert (response.status_code, response.content) == (204, b"")
    response = await client.post("/api/auth/refresh", json=body)
    assert response.status_code == 401
    assert error_of(response)["code"] == "session_ended"


async def test_signing_out_takes_an_access_token_instead_of_a_body(
    client: httpx.AsyncClient,
) -> None:
    signed_in = await register(client)
    headers = {"Authorization": f"bearer {signed_in.access_token}"}
    for _ in range(2):
        response = await client.post("/api/auth/logout", headers=headers)
        assert response.status_code == 204
    body = {"refreshToken": signed_in.refresh_token}
    assert (await client.post("/api/auth/refresh", json=body)).status_code == 401


@pytest.mark.parametrize("authorization", [None, "", "Basic YTpi", "Bearer", "Bearer made.up.one"])
async def test_signing_out_of_no_session_is_refused(
    client: httpx.AsyncClient, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    response = await client.post("/api/auth/logout", headers=headers, json={})
    assert response.status_code == 401
    assert error_of(response)["code"] == "unauthorized"


async def test_the_public_keys_are_published_and_may_be_cached(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/.well-known/jwks.json")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "public, max-age=60"
    (key,) = msgspec.json.decode(response.content, type=declared.KeySet).keys
    assert key["kid"] == KEY.id
    assert "d" not in key


async def test_where_a_session_came_from_is_kept_within_bounds(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    await client.post("/api/auth/register", json=ADA, headers={"User-Agent": "x" * 5000})
    row = await pool.fetchrow("SELECT address, user_agent FROM sessions")
    assert row is not None
    assert tuple(row) == ("127.0.0.1", "x" * 400)


# What is refused


@pytest.mark.parametrize(
    ("changed", "field", "says"),
    [
        ({"email": None}, "email", "expected `str`, got `null`"),
        ({"email": 7}, "email", "expected `str`, got `int`"),
        ({"email": "ada"}, "email", "is not an e-mail address"),
        ({"email": "x" * 256}, "email", "length <= 255"),
        ({"email": "ada\x00@example.com"}, "email", "is not an e-mail address"),
        ({"password": ""}, "password", "length >= 1"),
        ({"password": "testpassword123!"}, "password", "an upper-case letter"),
        ({"password": "x" * 1025}, "password", "length <= 1024"),
        ({"firstName": ""}, "firstName", "length >= 1"),
        ({"firstName": ["Ada"]}, "firstName", "expected `str`, got `array`"),
        ({"lastName": "x" * 101}, "lastName", "length <= 100"),
        ({"lastName": "\x00"}, "lastName", "control characters"),
        ({"username": "a b"}, "username", "matching regex"),
        ({"username": "ada\n"}, "username", "letters a to z"),
        ({"username": {"$ne": None}}, "username", "expected `str | null`, got `object`"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_field_is_named_with_what_it_should_be(
    client: httpx.AsyncClient, changed: dict[str, object], field: str, says: str
) -> None:
    response = await client.post("/api/auth/register", json={**ADA, **changed})
    assert response.status_code == 400
    error = error_of(response)
    assert error["code"] == "invalid_request"
    assert says in error["details"][field]
    assert field in error["message"]


@pytest.mark.parametrize("missing", ["email", "password", "firstName", "lastName"])
async def test_a_missing_field_is_named(client: httpx.AsyncClient, missing: str) -> None:
    body = {name: value for name, value in ADA.items() if name != missing}
    response = await client.post("/api/auth/register", json=body)
    assert response.status_code == 400
    assert error_of(response)["details"] == {missing: "is missing"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"email": "\xff", "refreshToken": "\xff"}',
        b'{"email": "\\ud800", "refreshToken": "\\ud800"}',
        b'{"email": "\\ud800 and more text", "refreshToken": "\\ud800 and more text"}',
        b'{"email": NaN}',
        b'{"email": "a@example.com", "password": "x"} trailing',
        b'{"x":' + b"[" * 30_000,
        b"<xml/>",
        b"email=a@example.com&password=x",
        "{}".encode("utf-16"),
    ],
    ids=lambda body: ascii(body[:20]),
)
async def test_a_body_that_is_no_object_of_the_right_shape_is_refused(
    client: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    for path in ("register", "login", "refresh", "logout"):
        response = await client.post(f"/api/auth/{path}", content=body, headers=headers)
        assert response.status_code == 400
        error = error_of(response)
        assert error["code"] == "invalid_request"
        assert error["details"]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ],
)
async def test_another_content_type_is_refused_by_name(
    client: httpx.AsyncClient, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await client.post(
        "/api/auth/login", content=json.dumps(ADA).encode(), headers=headers
    )
    assert response.status_code == 400
    assert error_of(response)["details"] == {"Content-Type": "must be application/json"}


@pytest.mark.parametrize("size", [65_537, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused_and_the_server_goes_on(
    client: httpx.AsyncClient, size: int, chunked: bool
) -> None:
    body = b'{"email":"' + b"x" * size + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    response = await client.post(
        "/api/auth/login",
        content=chunks() if chunked else body,
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 413
    assert error_of(response)["code"] == "too_large"
    await register(client)


async def test_unknown_fields_are_passed_over(client: httpx.AsyncClient) -> None:
    body = {**ADA, "role": "admin", "isVerified": True, "isActive": False, "id": "x"}
    response = await client.post("/api/auth/register", json=body)
    assert response.status_code == 201
    user = response.json()["user"]
    assert (user["role"], user["isVerified"], user["isActive"]) == ("user", False, True)


async def test_a_taken_address_is_a_conflict_that_names_it(client: httpx.AsyncClient) -> None:
    await register(client)
    response = await client.post("/api/auth/register", json=ADA)
    assert response.status_code == 409
    error = error_of(response)
    assert error["code"] == "conflict"
    assert "email" in error["details"]


async def test_unknown_address_and_wrong_password_get_the_same_answer(
    client: httpx.AsyncClient,
) -> None:
    await register(client)
    answers = []
    for email in ("ada@example.com", "nobody@example.com"):
        body = {"email": email, "password": "WrongPassword123!"}
        response = await client.post("/api/auth/login", json=body)
        assert response.headers["www-authenticate"] == "Bearer"
        headers = {k: v for k, v in response.headers.items() if k != "date"}
        answers.append((response.status_code, response.content, headers))
    assert answers[0] == answers[1]
    assert answers[0][0] == 401


@pytest.mark.parametrize(
    "path", ["/api", "/api/auth", "/api/nothing", "/api/auth/../secret", "/api/%00", "/api/é"]
)
async def test_a_path_that_is_not_there_is_not_found_in_the_one_error_shape(
    client: httpx.AsyncClient, path: str
) -> None:
    for method in ("GET", "POST"):
        response = await client.request(method, path)
        assert response.status_code == 404
        assert error_of(response)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/auth/login", "POST"),
        ("DELETE", "/api/auth/register", "POST"),
        ("POST", "/.well-known/jwks.json", "GET, HEAD"),
    ],
)
async def test_another_method_is_refused_with_those_that_are_allowed(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    response = await client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow
    assert error_of(response)["code"] == "invalid_request"


@pytest.mark.parametrize(
    "header",
    [b"User-Agent: a\x00b", b"User-Agent: \xff\xfe\x80", b"X-Forwarded-For: ' OR 1=1"],
    ids=ascii,
)
async def test_strange_header_bytes_cost_no_server_error(url: str, header: bytes) -> None:
    body = json.dumps(ADA).encode()
    answer = await send_raw(
        url,
        b"POST /api/auth/register HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\n" + header + b"\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
    )
    assert answer.split()[1] in (b"201", b"400")


# What goes wrong on our side


async def test_an_unexpected_failure_tells_a_request_id_that_finds_it_in_the_log(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    await pool.execute("DROP TABLE refresh_tokens")
    with capture_logs() as logged:
        response = await client.post("/api/auth/register", json=ADA)
    assert response.status_code == 500
    error = error_of(response)
    assert error["code"] == "internal"
    assert "refresh_tokens" not in response.text
    (entry,) = [entry for entry in logged if entry["event"] == "rest.failed"]
    assert entry["request_id"] == error["details"]["requestId"]
    assert entry["path"] == "/api/auth/register"
    assert isinstance(entry["exc_info"], asyncpg.UndefinedTableError)
    assert PASSWORD not in repr(entry)


async def test_a_database_that_is_away_is_unavailable_for_a_while(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    pool.terminate()
    response = await client.post("/api/auth/register", json=ADA)
    assert response.status_code == 503
    assert error_of(response)["code"] == "unavailable"
    assert int(response.headers["retry-after"]) > 0


async def test_a_request_whose_body_does_not_come_is_a_timeout() -> None:
    async def wait_for_body(request: Request) -> Response:
        return Response(await read_body(request))

    async with serving([route(declared.LOGIN, wait_for_body, seconds=0.1)]) as url:
        answer = await send_raw(
            url,
            b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Length: 10\r\n\r\n12345",
        )
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "timeout"


async def test_a_client_that_goes_away_midway_is_no_failure_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    left = asyncio.Event()

    async def wait_for_body(request: Request) -> Response:
        try:
            return Response(await read_body(request))
        finally:
            left.set()

    with capture_logs() as logged:
        async with serving([route(declared.LOGIN, wait_for_body)]) as url:
            port = int(url.rpartition(":")[2])
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
            await writer.drain()
            writer.close()
            await asyncio.wait_for(left.wait(), 20)
    assert [entry for entry in logged if entry["log_level"] == "error"] == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_refusal_says_when_to_come_back_in_whole_seconds() -> None:
    reply = error_response(MemoError(ErrorCode.BUSY, retry_after=0.2))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_its_status_and_shape(code: ErrorCode) -> None:
    reply = error_response(MemoError(code))
    assert reply.status_code == code.status
    body = json.loads(bytes(reply.body))
    assert body == {"error": {"code": code.value, "message": code.meaning}}
    assert ("www-authenticate" in reply.headers) is (code.status == 401)
