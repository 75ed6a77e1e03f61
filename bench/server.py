"""The server under test: a process of its own, as `memo serve` runs it, with its own database."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import httpx

from bench.errors import BenchmarkFailed
from protocol.client import Client
from protocol.memories import MEMORIES_CREATE, CreateMemory

START_SECONDS = 120.0
STOP_SECONDS = 30.0
CREATES_AT_ONCE = 16


class Server(NamedTuple):
    """A running server: its process, its port on this machine, and the access tokens of the
    accounts that use it."""

    pid: int
    port: int
    tokens: Sequence[str]

    def sign_up(self) -> str:
        """The access token of a new account.

        Raises:
            BenchmarkFailed: the server refused to make it.
        """
        return _register(self.port)

    async def create_memories(self, count: int, token: str) -> list[UUID]:
        """Empty memories of one account, whose documents are to be written in."""
        ids = [uuid4() for _ in range(count)]
        turns = asyncio.Semaphore(CREATES_AT_ONCE)
        async with Client(f"ws://127.0.0.1:{self.port}/ws", token) as client:

            async def create(memory_id: UUID) -> None:
                async with turns:
                    await client.call(MEMORIES_CREATE, CreateMemory(id=memory_id), timeout=60)

            await asyncio.gather(*map(create, ids))
        return ids


@contextmanager
def running(accounts: int) -> Iterator[Server]:
    """A server with so many accounts on a free port, over an embedded PostgreSQL in a new
    directory; all of it is gone in the end.

    Raises:
        BenchmarkFailed: it did not start, or refused to make the accounts.
    """
    with new_directory() as directory, started(directory) as server:
        yield server._replace(tokens=[server.sign_up() for _ in range(accounts)])


@contextmanager
def new_directory() -> Iterator[Path]:
    """A directory for what a server keeps; it is gone in the end."""
    directory = Path(tempfile.mkdtemp(prefix="memo-bench-"))
    directory.chmod(0o755)  # where the server is run by root, PostgreSQL is another user
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def started(directory: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server on a free port, with what an earlier one left in the directory. `settings` are
    environment variables beyond the benchmark's own.

    Raises:
        BenchmarkFailed: it did not start.
    """
    port = _free_port()
    log = directory / "server.log"
    environ = {
        **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATA_DIR": str(directory),
        "LOG_LEVEL": "warning",
        "LOG_FORMAT": "json",
        # All of its people are at one address.
        "RATE_LIMIT_AUTH": "off",
        "RATE_LIMIT_API": "off",
        "RATE_LIMIT_SOCKET": "off",
        **(settings or {}),
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve"],
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, port, log)
        yield Server(process.pid, port, ())
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchmarkFailed(f"the server did not start: {log.read_text()[-2000:].strip()}")
        time.sleep(0.05)


def _register(port: int) -> str:
    reply = httpx.post(
        f"http://127.0.0.1:{port}/api/auth/register",
        json={
            "email": f"{uuid4().hex}@example.com",
            "password": f"Bench-{uuid4().hex}-1!",
            "firstName": "Bench",
            "lastName": "Mark",
        },
        timeout=60,
    )
    if not reply.is_success:
        raise BenchmarkFailed(f"the account was refused: {reply.text}")
    return str(reply.json()["accessToken"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
