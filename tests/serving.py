"""A server as its users run it: a process of its own, that can be stopped, killed and started."""

import asyncio
import os
import signal
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import uvicorn

from protocol.limits import Limit
from server.app import App
from server.config import Settings
from server.http import HTTP
from server.serving import listen
from server.websocket import WebSocket
from tests import launching

# A test makes more accounts and calls than people at one address do.
UNLIMITED = {f"RATE_LIMIT_{limit.name}": "off" for limit in Limit}
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class ServerProcess:
    """`memo serve` on a port of its own, against `database` or an embedded one in `directory`.

    Everything it logs is kept in `directory/server.log`, over restarts.
    """

    def __init__(self, directory: Path, database: str | None = None, **environ: str) -> None:
        self.port = free_port()
        self.log = directory / "server.log"
        self._process: launching.Launched | None = None
        self._environ = {
            **os.environ,
            "PORT": str(self.port),
            "DATA_DIR": str(directory),
            "LOG_FORMAT": "json",
            **UNLIMITED,
            **({"DATABASE_URL": database} if database else {}),
            **environ,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and return when it takes requests."""
        with self.log.open("ab") as output:
            self._process = launching.start(
                ["serve"], env=self._environ, output=output, session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)  # there is no event of another process to wait for

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """Ask it to stop, as a process supervisor does, and return its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_SECONDS)
        self._process = None
        return code

    def kill(self) -> None:
        """End it as a power cut would: nothing is flushed, nobody is told."""
        if self._process is not None:
            # The workers it leaves behind end by themselves when their pipe breaks.
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Person:
    """An account of a test, signed in over REST."""

    def __init__(self, server: "ServerProcess", email: str) -> None:
        self.email = email
        self.password = "Correct-Horse-1!"
        reply = httpx.post(
            f"{server.url}/api/auth/register",
            json={
                "email": email,
                "password": self.password,
                "firstName": "Ada",
                "lastName": "Byron",
            },
            timeout=30,
        )
        assert reply.status_code == 201, reply.text
        self.token: str = reply.json()["accessToken"]
        self.refresh_token: str = reply.json()["refreshToken"]
        self.id: str = reply.json()["user"]["id"]


class LocalServer:
    """A server within the test's process: quick to start again, on the same port. `environ` are
    settings beyond those that each has."""

    def __init__(
        self, directory: Path, database: str, *, port: int | None = None, **environ: str
    ) -> None:
        self._settings = Settings.read(
            {"DATA_DIR": str(directory), "DATABASE_URL": database, **UNLIMITED, **environ}
        )
        self._port = port or free_port()
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}/ws"

    async def start(self) -> None:
        """Start, and return when it takes requests."""
        app = await self._stack.enter_async_context(App.running(self._settings))
        config = uvicorn.Config(
            app.asgi,
            http=HTTP,
            ws=WebSocket,
            lifespan="on",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        listener = listen("127.0.0.1", self._port)
        running = asyncio.create_task(server._serve([listener]))
        self._stack.push_async_callback(self._end, server, running)
        while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Stop as a deploy does: goodbye, what was taken is committed, connections close."""
        await self._stack.aclose()

    @staticmethod
    async def _end(server: uvicorn.Server, running: "asyncio.Task[None]") -> None:
        server.should_exit = True
        await asyncio.wait_for(running, STOP_SECONDS)


async def register(url: str, email: str) -> str:
    """The access token of a new account."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        reply = await client.post(
            "/api/auth/register",
            json={
                "email": email,
                "password": "Correct-Horse-1!",
                "firstName": "Ada",
                "lastName": "Byron",
            },
        )
    assert reply.status_code == 201, reply.text
    token: str = reply.json()["accessToken"]
    return token
