"""What every answer carries, which pages may call, and what never reaches the log."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.asyncio.client import connect

from protocol import frames
from server.config import Settings
from server.security import SecurityHeaders, cross_origin
from tests.e2e.rawsocket import RawSocket
from tests.serving import ServerProcess

PAGE = "https://app.example.com"


async def answer(request: Request) -> Response:
    return Response("hello", headers={"X-Frame-Options": "SAMEORIGIN"})


async def fail(request: Request) -> Response:
    raise ValueError


@asynccontextmanager
async def client(**environ: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.read(environ)
    app = Starlette(
        routes=[
            Route("/", answer, methods=["GET", "PATCH"]),
            Route("/fail", fail, methods=["GET"]),
        ],
        middleware=cross_origin(settings),
    )
    transport = httpx.ASGITransport(
        SecurityHeaders(app, settings),
        raise_app_exceptions=False,
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://memo") as client:
        yield client


async def test_an_answer_has_what_it_did_not_bring_itself() -> None:
    async with client() as http:
        headers = (await http.get("/")).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        for path, status in (("/nothing", 404), ("/fail", 500)):
            response = await http.get(path)
            assert response.status_code == status
            assert response.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("url", "strict"), [("https://memo.example.com", True), ("http://memo.example.com", False)]
)
async def test_only_a_server_behind_tls_insists_on_it(url: str, strict: bool) -> None:
    async with client(PUBLIC_URL=url) as http:
        assert ("strict-transport-security" in (await http.get("/")).headers) is strict


async def preflight(
    http: httpx.AsyncClient, origin: str, method: str, *sent: str
) -> httpx.Response:
    return await http.options(
        "/",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": ", ".join(sent),
        },
    )


async def test_pages_of_other_origins_may_not_call_unless_they_are_named() -> None:
    async with client() as http:
        headers = (await http.get("/", headers={"Origin": PAGE})).headers
        assert "access-control-allow-origin" not in headers
    async with client(CORS_ORIGINS=PAGE) as http:
        headers = (await http.get("/", headers={"Origin": PAGE})).headers
        assert headers["access-control-allow-origin"] == PAGE
        assert "access-control-allow-credentials" not in headers
        other = "https://evil.example.com"
        headers = (await http.get("/", headers={"Origin": other})).headers
        assert "access-control-allow-origin" not in headers
        assert (await preflight(http, other, "GET")).status_code == 400


async def test_a_page_may_upload_in_pieces_and_read_how_far_it_came() -> None:
    async with client(CORS_ORIGINS=PAGE) as http:
        for method in ("GET", "HEAD", "POST", "PATCH", "DELETE"):
            sent = ("Authorization", "Tus-Resumable", "Upload-Offset", "Upload-Metadata")
            assert (await preflight(http, PAGE, method, *sent)).status_code == 200
        assert (await preflight(http, PAGE, "PUT")).status_code == 400
        headers = (await http.get("/", headers={"Origin": PAGE})).headers
        exposed = {name.strip() for name in headers["access-control-expose-headers"].split(",")}
        assert exposed >= {"Location", "Upload-Offset", "Tus-Resumable", "Retry-After"}
        assert exposed >= {"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}


async def test_no_secret_reaches_the_log(data_directory: Path, database: str) -> None:
    """A server that says all it can, and clients who send their secrets wherever they can."""
    server = ServerProcess(data_directory, database, LOG_LEVEL="debug")
    server.start()
    try:
        secrets = await _spread_secrets(server)
    finally:
        server.stop()
    said = server.log.read_text()
    assert '"level":"debug"' in said
    assert {name: secret for name, secret in secrets.items() if secret in said} == {}


async def _spread_secrets(server: ServerProcess) -> Mapping[str, str]:
    password, wrong = "Sesame-Open-1!", "Sesame-Wrong-1!"
    person = {
        "email": "ada@example.com", "password": password, "firstName": "Ada", "lastName": "Byron",
    }  # fmt: skip
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        made = (await http.post("/api/auth/register", json=person)).json()
        again = await http.post("/api/auth/register", json=person)
        assert again.status_code == 409
        await http.post("/api/auth/login", json={**person, "password": wrong})
        await http.post("/api/auth/login", content=f'{{"password": "{wrong}"')
        spent = made["refreshToken"]
        fresh = (await http.post("/api/auth/refresh", json={"refreshToken": spent})).json()
        token = fresh["accessToken"]
        for place in (f"/?token={token}", f"/api/nothing?access_token={token}", f"/{token}"):
            await http.get(place, headers={"Authorization": f"Bearer {token}"})
        async with RawSocket(server.socket_url, token) as raw:
            memory_id = str(uuid4())
            await raw.call("memories.create", {"id": memory_id})
            document = await raw.call("documents.token", {"memoryId": memory_id})
            assert isinstance(document, frames.Reply)
            await raw.call("session.renew", {"token": token + "x"})
            await raw.call(token, {})
            await raw.send(frames.Request(99, "account.me", msgspec.Raw(b"\xc1" + token.encode())))
        await raw.socket.wait_closed()
        document_token = document.body["token"]
        for given in (document_token, "made-up-token-of-nobody"):
            url = server.socket_url.replace("/ws", f"/yjs/{memory_id}?token={given}")
            async with connect(url) as socket, asyncio.timeout(10):
                if given == document_token:
                    await socket.recv()
                else:
                    await socket.wait_closed()
        async with RawSocket(server.socket_url, None) as raw:
            await raw.send(frames.Hello(frames.HelloBody("a-token-that-is-none", client="x")))
            await raw.close_code()
        # The second use of a spent token is worth a warning, without the token.
        answer = await http.post("/api/auth/refresh", json={"refreshToken": spent})
        assert answer.status_code == 401
    return {
        "password": password,
        "wrong password": wrong,
        "first access token": made["accessToken"],
        "access token": token,
        "spent refresh token": spent,
        "refresh token": fresh["refreshToken"],
        "document token": document_token,
        "made-up token in a URL": "made-up-token-of-nobody",
        "made-up token in a hello": "a-token-that-is-none",
    }
