"""How a server stops."""

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.config import Settings
from server.serving import Server, listen


async def test_who_was_let_in_last_gets_an_answer() -> None:
    async def hello(_: Request) -> Response:
        return Response("hello")

    ready = asyncio.Event()
    listener = listen("127.0.0.1", 0)
    address = listener.getsockname()
    server = Server(Starlette(routes=[Route("/", hello)]), Settings(), ready.set)
    serving = asyncio.create_task(server.serve([listener]))
    async with asyncio.timeout(20):
        await ready.wait()
        reader, writer = await asyncio.open_connection(*address)
        while not server.server_state.connections:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0)
        server.stop()
        while listener.fileno() != -1:  # noqa: ASYNC110 (nor for this)
            await asyncio.sleep(0)
        writer.write(b"GET / HTTP/1.1\r\nHost: memo\r\n\r\n")
        assert (await reader.read()).endswith(b"hello")
        writer.close()
        await serving
