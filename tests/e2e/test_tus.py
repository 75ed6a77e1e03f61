"""Uploads that break off and go on: the protocol itself, and the client that apps use for it."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio

from tests.conftest import fresh_database, fresh_directory
from tests.serving import LocalServer, ServerProcess, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKAGE = Path(__file__).parents[2] / "protocol" / "javascript"
PATIENCE = 30.0
MAX_FILE_BYTES = 20_000_000
QUOTA = 30_000_000
PATCH = {"Content-Type": "application/offset+octet-stream"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(shared_database: str) -> AsyncIterator[LocalServer]:
    with fresh_directory() as directory:
        server = LocalServer(
            directory,
            shared_database,
            MAX_FILE_BYTES=str(MAX_FILE_BYTES),
            FILE_QUOTA=str(QUOTA),
        )
        await server.start()
        yield server
        await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def http(server: LocalServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a new account that speaks tus."""
    async with client(server.url, await register(server.url, f"{uuid4().hex}@example.com")) as http:
        yield http


def client(url: str, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"},
        timeout=PATIENCE,
    )


def told(**values: str) -> str:
    """The header Upload-Metadata."""
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in values.items())


async def begin(http: httpx.AsyncClient, length: int, **values: str) -> str:
    """The address of a new upload."""
    reply = await http.post(
        "/api/uploads", headers={"Upload-Length": str(length), "Upload-Metadata": told(**values)}
    )
    assert reply.status_code == 201, reply.text
    return reply.headers["location"]


async def patch(
    http: httpx.AsyncClient, address: str, offset: int, content: Any, **headers: str
) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await http.patch(
        address, content=content, headers=PATCH | {"Upload-Offset": str(offset)} | given
    )


async def offset(http: httpx.AsyncClient, address: str) -> int:
    reply = await http.head(address)
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    return int(reply.headers["upload-offset"])


async def content_of(http: httpx.AsyncClient, address: str) -> bytes:
    reply = await http.get(address.replace("/uploads/", "/files/"))
    assert reply.status_code == 200, reply.text
    return reply.content


async def test_what_is_spoken_is_told(http: httpx.AsyncClient) -> None:
    reply = await http.options("/api/uploads")
    assert reply.status_code == 204
    assert reply.headers["tus-version"] == "1.0.0"
    assert reply.headers["tus-max-size"] == str(MAX_FILE_BYTES)
    extensions = {"creation", "creation-with-upload", "termination", "expiration", "checksum"}
    assert set(reply.headers["tus-extension"].split(",")) == extensions
    assert "sha1" in reply.headers["tus-checksum-algorithm"].split(",")


async def test_pieces_of_any_size_make_the_file(http: httpx.AsyncClient) -> None:
    content = os.urandom(9_500_000)
    address = await begin(http, len(content), filename="a/b.bin", filetype="image/png")
    sent = 0
    # Within a part, over its end, none, a byte, and over two ends.
    for size in (1_000_000, 3_300_000, 0, 1, 10, 5_000_000, 199_989):
        assert await offset(http, address) == sent
        reply = await patch(http, address, sent, content[sent : sent + size])
        assert reply.status_code == 204, reply.text
        sent += size
        assert int(reply.headers["upload-offset"]) == sent
        assert ("upload-expires" in reply.headers) is (sent < len(content))
    assert await offset(http, address) == len(content)
    assert await content_of(http, address) == content
    file_reply = await http.head(address.replace("/uploads/", "/files/"))
    assert file_reply.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert file_reply.headers["content-type"] == "application/octet-stream"
    assert 'filename="b.bin"' in file_reply.headers["content-disposition"]


async def test_bytes_may_come_with_the_creation_and_none_are_needed_for_nothing(
    http: httpx.AsyncClient,
) -> None:
    reply = await http.post(
        "/api/uploads", content=b"hello", headers=PATCH | {"Upload-Length": "11"}
    )
    assert (reply.status_code, reply.headers["upload-offset"]) == (201, "5")
    address = reply.headers["location"]
    await patch(http, address, 5, b" world")
    assert await content_of(http, address) == b"hello world"
    reply = await http.post(
        "/api/uploads", content=b"whole", headers=PATCH | {"Upload-Length": "5"}
    )
    assert await content_of(http, reply.headers["location"]) == b"whole"
    assert await content_of(http, await begin(http, 0)) == b""


async def test_a_repeated_creation_is_the_same_upload(http: httpx.AsyncClient) -> None:
    id_ = str(uuid4())
    address = await begin(http, 10, id=id_)
    assert address == f"/api/uploads/{id_}"
    await patch(http, address, 0, b"12345")
    for content in (None, b"12345"):
        reply = await http.post(
            "/api/uploads",
            content=content,
            headers=PATCH | {"Upload-Length": "10", "Upload-Metadata": told(id=id_)},
        )
        assert (reply.headers["location"], reply.headers["upload-offset"]) == (address, "5")
    reply = await http.post(
        "/api/uploads", headers={"Upload-Length": "11", "Upload-Metadata": told(id=id_)}
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")
    await patch(http, address, 5, b"67890")
    assert await begin(http, 10, id=id_) == address
    assert await offset(http, address) == 10
    assert (await patch(http, address, 5, b"67890")).status_code == 409
    assert (await patch(http, address, 10, b"")).status_code == 204
    assert await content_of(http, address) == b"1234567890"


async def test_an_upload_is_its_account_s_alone(
    server: LocalServer, http: httpx.AsyncClient
) -> None:
    address = await begin(http, 10)
    async with client(
        server.url, await register(server.url, f"{uuid4().hex}@example.com")
    ) as other:
        assert (await other.head(address)).status_code == 404
        assert (await patch(other, address, 0, b"x")).status_code == 404
        assert (await other.delete(address)).status_code == 404
        id_ = address.rpartition("/")[2]
        reply = await other.post(
            "/api/uploads", headers={"Upload-Length": "10", "Upload-Metadata": told(id=id_)}
        )
        assert reply.status_code == 409
    async with httpx.AsyncClient(base_url=server.url) as nobody:
        reply = await nobody.patch(address, headers={"Tus-Resumable": "1.0.0"})
        assert reply.status_code == 401
    assert await offset(http, address) == 0


async def test_what_is_wrong_is_named(http: httpx.AsyncClient) -> None:
    address = await begin(http, 10)
    for reply, status, named in (
        (await http.post("/api/uploads"), 400, "Upload-Length"),
        (await http.post("/api/uploads", headers={"Upload-Length": "-1"}), 400, "Upload-Length"),
        (await http.post("/api/uploads", headers={"Upload-Length": "9" * 30}), 400, "Upload-"),
        (
            await http.post("/api/uploads", headers={"Upload-Defer-Length": "1"}),
            400,
            "Upload-Length",
        ),
        (await http.post("/api/uploads", headers={"Upload-Length": "99999999"}), 413, "20000000"),
        (
            await http.post(
                "/api/uploads", headers={"Upload-Length": "1", "Upload-Metadata": "filename $!"}
            ),
            400,
            "Upload-Metadata",
        ),
        (
            await http.post(
                "/api/uploads", headers={"Upload-Length": "1", "Upload-Metadata": told(id="7")}
            ),
            400,
            "id",
        ),
        (
            await http.post(
                "/api/uploads",
                headers={"Upload-Length": "1", "Upload-Metadata": told(memoryId=str(uuid4()))},
            ),
            404,
            "memoryId",
        ),
        (await http.post("/api/uploads", headers={"Tus-Resumable": "0.2"}), 412, "Tus-Resumable"),
        (await http.patch(address, content=b"x"), 400, "Upload-Offset"),
        (
            await http.patch(address, content=b"x", headers={"Upload-Offset": "0"}),
            415,
            "Content-Type",
        ),
        (await patch(http, address, 5, b"x"), 409, "Upload-Offset"),
        (await patch(http, address, 0, b"x", Upload_Checksum="crc32 AAAA"), 400, "Upload-Checksum"),
        (await patch(http, address, 0, b"x" * 11), 413, "Upload-Length"),
        (await http.head("/api/uploads/nonsense"), 404, ""),
    ):
        assert reply.status_code == status, (reply.status_code, reply.text, named)
        assert named in reply.text
        assert reply.headers["tus-resumable"] == "1.0.0"
    assert await offset(http, address) == 0
    assert (await http.get(address)).status_code == 405


async def test_a_body_with_another_checksum_leaves_no_trace(http: httpx.AsyncClient) -> None:
    content = os.urandom(5_000_000)
    address = await begin(http, len(content))
    await patch(http, address, 0, content[:100])
    rest = content[100:]
    for algorithm in ("sha1", "sha256", "md5"):
        wrong = base64.b64encode(hashlib.new(algorithm, b"other").digest()).decode()
        reply = await patch(http, address, 100, rest, Upload_Checksum=f"{algorithm} {wrong}")
        assert reply.status_code == 460
        assert await offset(http, address) == 100
    right = base64.b64encode(hashlib.sha1(rest).digest()).decode()
    reply = await patch(http, address, 100, rest, Upload_Checksum=f"sha1 {right}")
    assert reply.status_code == 204
    assert await content_of(http, address) == content


async def test_an_upload_that_is_given_up_frees_its_bytes(http: httpx.AsyncClient) -> None:
    address = await begin(http, 20_000_000)
    reply = await http.post("/api/uploads", headers={"Upload-Length": "10000001"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "quota_exceeded")
    assert (await http.delete(address)).status_code == 204
    assert (await http.delete(address)).status_code == 404
    assert (await http.head(address)).status_code == 404
    await begin(http, 10_000_001)


async def test_a_client_without_patch_says_it_in_a_header(http: httpx.AsyncClient) -> None:
    address = await begin(http, 2)
    headers = PATCH | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    reply = await http.post(address, content=b"ok", headers=headers)
    assert reply.status_code == 204
    assert await content_of(http, address) == b"ok"


class Trickle:
    """A body of which the test says when more comes."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def send(self, piece: bytes | None) -> None:
        self._pieces.put_nowait(piece)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece


async def until_received(connection: asyncpg.Connection, address: str, least: int) -> None:
    id_ = address.rpartition("/")[2]
    async with asyncio.timeout(PATIENCE):
        while (  # noqa: ASYNC110 (there is no event of another's row)
            await connection.fetchval("SELECT received FROM uploads WHERE id = $1::text::uuid", id_)
            < least
        ):
            await asyncio.sleep(0.01)


async def test_one_writes_while_another_is_told_to_wait(
    http: httpx.AsyncClient, shared_database: str
) -> None:
    connection = await asyncpg.connect(shared_database)
    address = await begin(http, 10_000_000)
    trickle = Trickle()
    first = asyncio.create_task(patch(http, address, 0, trickle))
    trickle.send(bytes(5_000_000))
    await until_received(connection, address, 4_000_000)
    second = asyncio.create_task(patch(http, address, 4 << 20, b"x"))
    while not second.done():
        trickle.send(b"\x00")  # alive, if slow
        await asyncio.sleep(0.05)
    assert (await second).status_code == 423
    assert "retry-after" in (await second).headers
    trickle.send(None)
    assert (await first).status_code == 204
    await connection.close()


async def test_a_writer_that_hears_nothing_lets_another_one_go_on(
    http: httpx.AsyncClient, shared_database: str
) -> None:
    connection = await asyncpg.connect(shared_database)
    address = await begin(http, 5_000_000)
    trickle = Trickle()
    first = asyncio.create_task(patch(http, address, 0, trickle))
    trickle.send(bytes(4_500_000))
    await until_received(connection, address, 4_000_000)
    # As a phone that has changed networks: what it sent before was kept meanwhile.
    reply = await patch(http, address, await offset(http, address), b"")
    assert reply.status_code in (204, 409)
    trickle.send(None)  # the client reads no answer before
    assert (await first).status_code == 504
    assert await offset(http, address) == 4_500_000
    assert (await patch(http, address, 4_500_000, bytes(500_000))).status_code == 204
    assert await content_of(http, address) == bytes(5_000_000)
    await connection.close()


async def test_what_came_before_the_client_vanished_stays(
    server: LocalServer, http: httpx.AsyncClient, shared_database: str
) -> None:
    connection = await asyncpg.connect(shared_database)
    content = os.urandom(5_000_000)
    address = await begin(http, len(content))
    _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    head = (
        f"PATCH {address} HTTP/1.1\r\nHost: memo\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        f"Authorization: {http.headers['authorization']}\r\nContent-Length: 5000000\r\n"
        f"Content-Type: {PATCH['Content-Type']}\r\n\r\n"
    )
    writer.write(head.encode() + content[:4_600_000])
    await writer.drain()
    writer.close()
    await until_received(connection, address, 4_600_000)
    assert (await patch(http, address, 4_600_000, content[4_600_000:])).status_code == 204
    assert await content_of(http, address) == content
    await connection.close()


async def run(program: str, *arguments: str) -> asyncio.subprocess.Process:
    node = shutil.which("node")
    if node is None or not (PACKAGE / "node_modules" / "tus-js-client").is_dir():
        pytest.fail("tus-js-client is not installed: get Node 20+ and run `make setup`")
    return await asyncio.create_subprocess_exec(
        node, program, *arguments, cwd=PACKAGE, stdout=asyncio.subprocess.PIPE
    )


async def line(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        return json.loads(await process.stdout.readline())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunkSize": 1_000_000, "pauseAt": 3_500_000},
        {"uploadDataDuringCreation": True, "chunkSize": 5_000_000, "overridePatchMethod": True},
    ],
)
async def test_tus_js_client_uploads(http: httpx.AsyncClient, options: dict[str, Any]) -> None:
    token = http.headers["authorization"].removeprefix("Bearer ")
    process = await run(
        "test/upload.mjs", str(http.base_url), token, "9000000", json.dumps(options)
    )
    lines = [await line(process)]
    while "url" not in lines[-1] and "error" not in lines[-1]:
        lines.append(await line(process))
    assert await process.wait() == 0, lines
    assert any("paused" in each for each in lines) is ("pauseAt" in options)
    path = lines[-1]["url"].removeprefix(str(http.base_url).rstrip("/"))
    content = await content_of(http, path)
    assert hashlib.sha256(content).hexdigest() == lines[-1]["sha256"]


async def test_tus_js_client_goes_on_after_the_server_was_killed(
    data_directory: Path, shared_database: str, postgres: str
) -> None:
    async with fresh_database(postgres) as database:
        server = ServerProcess(data_directory, database)
        server.start()
        try:
            token = await register(server.url, f"{uuid4().hex}@example.com")
            process = await run(
                "test/upload.mjs", server.url, token, "12000000", '{"chunkSize": 500000}'
            )
            assert "half" in await line(process)
            server.kill()
            server.start()
            end = await line(process)
            assert await process.wait() == 0, end
            async with client(server.url, token) as http:
                content = await content_of(http, end["url"].removeprefix(server.url))
            assert hashlib.sha256(content).hexdigest() == end["sha256"]
        finally:
            server.kill()
