"""Devices of two nodes behind the nginx of `deploy/`: what passes, what stays, what is lost."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from pycrdt import (
    Doc,
    Text,
    YSyncMessageType,
    create_sync_message,
    create_update_message,
    handle_sync_message,
)
from websockets.asyncio.client import ClientConnection, connect

from protocol import frames
from protocol.replica import Document
from server.websocket import HEARTBEAT_SECONDS
from tests.conftest import fresh_directory
from tests.e2e.rawsocket import RawSocket
from tests.e2e.test_workers import Device, read
from tests.nginxserver import CONFIGURATION, NginxServer
from tests.redisserver import RedisServer
from tests.serving import ServerProcess, register

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 30.0
INTERRUPTION_SECONDS = 5.0
MEGABYTE = 1 << 20


class Site:
    """Two nodes and the nginx before them."""

    def __init__(self, nginx: NginxServer, nodes: list[ServerProcess]) -> None:
        self.nginx = nginx
        self.nodes = nodes

    def connections(self) -> list[int]:
        """How many sockets each node has."""
        return [_sample(node, "websocket_connections_active") for node in self.nodes]

    async def token(self) -> str:
        """The access token of a new account."""
        return await register(self.nginx.url, f"{uuid4().hex}@example.com")

    async def a_device_on_each(self, token: str, stack: AsyncExitStack) -> list[Device]:
        """One device on each node, in the nodes' order."""
        devices: dict[int, Device] = {}
        while len(devices) < len(self.nodes):
            before = self.connections()
            device = await Device.started(self.nginx.socket_url, token, stack)
            after = self.connections()
            [node] = [number for number in range(len(after)) if after[number] > before[number]]
            devices.setdefault(node, device)
        return [devices[number] for number in sorted(devices)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(redis: RedisServer, shared_database: str) -> AsyncIterator[Site]:
    """What the tests of this module share; they start again what they end."""
    with ExitStack() as stack:
        blobs = stack.enter_context(fresh_directory())
        nodes = [
            ServerProcess(
                stack.enter_context(fresh_directory()),
                shared_database,
                REDIS_URL=redis.url,
                BLOB_URL=blobs.as_uri(),
                TRUSTED_PROXIES="127.0.0.1",
            )
            for _ in range(2)
        ]
        for node in nodes:
            stack.callback(node.kill)
            node.start()
        nginx = NginxServer(stack.enter_context(fresh_directory()), nodes)
        stack.callback(nginx.stop)
        nginx.start()
        yield Site(nginx, nodes)


async def test_devices_and_stock_clients_of_both_nodes_see_each_others_edits(site: Site) -> None:
    token = await site.token()
    async with AsyncExitStack() as stack:
        one, other = await site.a_device_on_each(token, stack)
        here = await one.client.open(one.memory_id)
        there = await other.client.open(one.memory_id)
        here.text += "here "
        await here.saved(PATIENCE)
        async with asyncio.timeout(PATIENCE):
            await _until_text(there, "here ")
            there.text += "there "
            await _until_text(here, "here there ")
            async with connect(f"{_yjs(site, one)}?token={token}") as stock:
                document = await _synced(stock)
                assert str(document["content"]) == "here there "
                await stock.send(create_update_message(_typing(document, "stock")))
                for each in (here, there):
                    await _until_text(each, "here there stock")


async def test_a_message_of_ten_megabytes_passes_both_ways(site: Site) -> None:
    token = await site.token()
    async with (
        RawSocket(site.nginx.socket_url, token) as one,
        RawSocket(site.nginx.socket_url, token) as other,
    ):
        memory_id = uuid4()
        answer = await one.call("memories.create", {"id": str(memory_id)})
        assert isinstance(answer, frames.Reply), answer
        channel = (await one.open(memory_id))["channel"]
        await other.open(memory_id)
        update = _typing(Doc(), "x" * (10 * MEGABYTE))
        await one.send(frames.Update(channel, 1, update))
        assert (await one.take(frames.Ack)).offset == 1
        assert (await other.take(frames.Push)).updates == [update]


async def test_a_silent_socket_is_the_nodes_to_end() -> None:
    [location] = re.findall(r"location ~ \^/\(ws\$\|yjs/\) \{(.*?)\n        \}", _file(), re.DOTALL)
    for name in ("proxy_read_timeout", "proxy_send_timeout"):
        [seconds] = re.findall(rf"^ *{name} (\d+)s;", location, re.MULTILINE)
        # The node pings after one heartbeat of silence, and gives up after another.
        assert int(seconds) > 2 * HEARTBEAT_SECONDS


async def test_nginx_keeps_no_connection_that_a_node_closes_first() -> None:
    [seconds] = re.findall(r"^        keepalive_timeout (\d+)s;", _file(), re.MULTILINE)
    assert int(seconds) < 5  # after which uvicorn closes one that is idle


async def test_a_killed_node_s_devices_go_to_the_other_and_lose_nothing(site: Site) -> None:
    token = await site.token()
    over = asyncio.Event()
    async with AsyncExitStack() as stack:
        devices = await site.a_device_on_each(token, stack)
        welcome = devices[1].client.welcome
        async with asyncio.TaskGroup() as tasks:
            for device in devices:
                tasks.create_task(device.write_until(over))
            await _written(devices, 5)
            site.nodes[0].kill()
            await _written(devices, 5)
            over.set()
        assert devices[1].client.welcome is welcome  # it has noticed nothing
        await asyncio.to_thread(site.nodes[0].start)
        for device in devices:
            assert await read(site.nginx.socket_url, token, device.memory_id) == _words(device)


async def test_a_rolling_restart_of_all_nodes_loses_nothing_and_is_short_for_everyone(
    site: Site,
) -> None:
    token = await site.token()
    over = asyncio.Event()
    async with AsyncExitStack() as stack:
        devices = [await Device.started(site.nginx.socket_url, token, stack) for _ in range(6)]
        async with asyncio.TaskGroup() as tasks:
            for device in devices:
                tasks.create_task(device.write_until(over))
            for node in site.nodes:
                await _written(devices, 5)
                assert await asyncio.to_thread(node.stop) == 0
                await asyncio.to_thread(node.start)
            await _written(devices, 5)
            over.set()
        for device in devices:
            assert await read(site.nginx.socket_url, token, device.memory_id) == _words(device)
    interruptions = [round(device.interruption, 2) for device in devices]
    print("seconds interrupted", interruptions)  # noqa: T201 (to be seen with `pytest -s`)
    assert max(interruptions) < INTERRUPTION_SECONDS


async def test_a_session_has_the_address_that_nginx_saw_whatever_the_client_claims(
    site: Site, shared_database: str
) -> None:
    email = f"{uuid4().hex}@example.com"
    transport = httpx.AsyncHTTPTransport(local_address="127.0.0.7")
    async with httpx.AsyncClient(base_url=site.nginx.url, transport=transport) as http:
        reply = await http.post(
            "/api/auth/register",
            json={
                "email": email,
                "password": "Correct-Horse-1!",
                "firstName": "Ada",
                "lastName": "Byron",
            },
            headers={"X-Forwarded-For": "203.0.113.9"},
        )
    assert reply.status_code == 201, reply.text
    database = await asyncpg.connect(shared_database)
    try:
        address = await database.fetchval(
            "SELECT address FROM sessions JOIN users u ON u.id = user_id WHERE email = $1", email
        )
    finally:
        await database.close()
    assert address == "127.0.0.7"


async def test_a_connection_has_it_too(site: Site) -> None:
    token = await site.token()
    async with RawSocket(
        site.nginx.socket_url,
        token,
        local_addr=("127.0.0.8", 0),
        additional_headers={"X-Forwarded-For": "203.0.113.9"},
    ):
        logs = "".join(node.log.read_text() for node in site.nodes)
        connected = [json.loads(line) for line in logs.splitlines() if '"connected"' in line]
    assert "127.0.0.8" in {entry["address"] for entry in connected}
    assert "203.0.113.9" not in logs


async def test_no_log_of_nginx_has_a_token_in_it(site: Site) -> None:
    token = await site.token()
    async with AsyncExitStack() as stack:
        device = await Device.started(site.nginx.socket_url, token, stack)
        address = f"{_yjs(site, device)}?token={token}"
        async with connect(address) as stock:
            await _synced(stock)
        # A connection that is refused is an error, which nginx would log with the whole request.
        site.nodes[0].kill()
        for _ in range(2):
            async with connect(address) as stock:
                await _synced(stock)
        await asyncio.to_thread(site.nodes[0].start)
    log = site.nginx.access_log.read_text()
    assert str(device.memory_id) in log
    assert f'"node":"127.0.0.1:{site.nodes[0].port}, ' in log  # it was tried, and then the other
    for text in (log, site.nginx.error_log.read_text()):
        assert "token" not in text
        assert token not in text


async def test_what_the_nodes_refuse_does_not_look_like_their_failure(site: Site) -> None:
    upgrade = {
        "Connection": "upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "bWVtb3J5LWFwcC10ZXN0cw==",
    }
    hostile: list[dict[str, Any]] = [
        {"method": "POST", "url": "/ws", "headers": upgrade},
        {"method": "POST", "url": "/ws", "headers": upgrade, "content": b"hello"},
        {"method": "GET", "url": "/ws", "headers": upgrade, "content": b"hello"},
        {"method": "GET", "url": "/ws", "headers": {**upgrade, "Upgrade": "nonsense"}},
        {"method": "GET", "url": "/ws", "headers": {**upgrade, "Sec-WebSocket-Key": "x"}},
        {"method": "GET", "url": "/ws", "headers": {**upgrade, "X": "y" * 3900}},
        {"method": "GET", "url": "/ws", "headers": {**upgrade, "X": "y" * 5000}},
        {
            "method": "GET",
            "url": "/ws",
            "headers": {**upgrade, **{f"X{number}": "y" for number in range(500)}},
        },
        {"method": "GET", "url": f"/yjs/{uuid4()}?token={'y' * 3900}", "headers": upgrade},
        {"method": "POST", "url": "/api/auth/login", "headers": upgrade, "content": b"hello"},
        {"method": "DELETE", "url": "/api/auth/login", "headers": upgrade},
    ]
    async with httpx.AsyncClient(base_url=site.nginx.url, timeout=PATIENCE) as http:
        for request in hostile:
            async with http.stream(**request) as reply:
                assert reply.status_code < 500, (request["method"], request["url"])


async def test_an_upload_is_the_nodes_to_refuse_and_other_bodies_are_not(site: Site) -> None:
    async with httpx.AsyncClient(base_url=site.nginx.url, timeout=PATIENCE) as http:
        upload = await http.post("/api/files", content=bytes(3 * MEGABYTE))
    # A node's answer, whatever it thinks of this one; nginx itself says these two.
    assert upload.json()["error"]["code"] not in ("too_large", "unavailable")
    # The head alone: who goes on sending may find the connection closed before the answer.
    head = "POST /api/auth/login HTTP/1.1\r\nHost: memo\r\nContent-Length: 3000000\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", site.nginx.port)
    writer.write(head.encode())
    async with asyncio.timeout(PATIENCE):
        answer = await reader.readuntil(b"}}")
    writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer


async def test_pages_are_compressed_answers_are_not_and_metrics_stay_inside(site: Site) -> None:
    asked = {"Accept-Encoding": "gzip"}
    async with httpx.AsyncClient(base_url=site.nginx.url, headers=asked) as http:
        assert (await http.get("/docs")).headers["content-encoding"] == "gzip"
        assert "content-encoding" not in (await http.get("/.well-known/jwks.json")).headers
        assert (await http.get("/metrics")).status_code == 404
        assert (await http.get("/ready")).json()["status"] == "ready"


async def test_without_any_node_clients_are_told_in_the_terms_of_the_interface(
    data_directory: Path,
) -> None:
    nobody = [ServerProcess(data_directory), ServerProcess(data_directory)]
    nginx = NginxServer(data_directory, nobody)
    nginx.start()
    try:
        async with httpx.AsyncClient(base_url=nginx.url) as http:
            reply = await http.post("/api/auth/login", json={})
    finally:
        nginx.stop()
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "unavailable"
    assert reply.headers["retry-after"] == "1"


def _file() -> str:
    return CONFIGURATION.read_text()


def _sample(node: ServerProcess, name: str) -> int:
    text = httpx.get(f"{node.url}/metrics", timeout=PATIENCE).text
    [family] = [each for each in text_string_to_metric_families(text) if each.name == name]
    [sample] = family.samples
    return int(sample.value)


def _yjs(site: Site, device: Device) -> str:
    return f"{site.nginx.socket_url.removesuffix('/ws')}/yjs/{device.memory_id}"


def _typing(document: Doc[Text], text: str) -> bytes:
    """The update that adds the text to the document's body."""
    made: list[bytes] = []
    subscription = document.observe(lambda event: made.append(event.update))
    content = document.get("content", type=Text)
    content += text
    document.unobserve(subscription)
    [update] = made
    return update


async def _synced(stock: ClientConnection) -> Doc[Text]:
    """The document, once the server has sent it, as a stock client gets it."""
    document: Doc[Text] = Doc()
    document["content"] = Text()
    await stock.send(create_sync_message(document))
    async with asyncio.timeout(PATIENCE):
        while True:
            message = await stock.recv(decode=False)
            if message[0] == 0:
                handle_sync_message(message[1:], document)
                if message[1] == YSyncMessageType.SYNC_STEP2:
                    return document


async def _until_text(document: Document, text: str) -> None:
    while str(document.text) != text:
        await document.changed(PATIENCE)


async def _written(devices: list[Device], count: int) -> None:
    """Return when each device has had so many more edits acked."""
    for device, goal in [(device, device.acked + count) for device in devices]:
        document = await device.client.open(device.memory_id)
        while device.acked < goal:
            await document.changed(PATIENCE)  # it goes on writing once the edit before is acked


def _words(device: Device) -> str:
    return "".join(f"{number} " for number in range(device.acked))
