"""A peer that runs: started on a free port of this machine, stopped in the end."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID, uuid4

from bench.errors import BenchmarkFailed
from bench.loads import WireName
from bench.peers.installation import (
    HERE,
    MODULES,
    NODE,
    PYTHON,
    install_node_peers,
    install_python_peer,
)

START_SECONDS = 60.0
STOP_SECONDS = 60.0
_INHERITED = ("PATH", "HOME", "LANG")  # what else is set is not for them, and may mislead them


class Peer(NamedTuple):
    """A `Host` that knows no accounts, and makes a document when it is first opened."""

    pid: int
    port: int

    def sign_up(self) -> str:
        """No token is asked for."""
        return ""

    async def create_memories(self, count: int, token: str) -> list[UUID]:  # noqa: ARG002
        """Names of documents that nobody has opened."""
        return [uuid4() for _ in range(count)]


class Program(NamedTuple):
    """What a peer is run by. `install` raises `NotInstalled`."""

    name: str
    wire: WireName
    install: Callable[[], None]
    command: Sequence[str]
    environ: Mapping[str, str] = {}


_HOCUSPOCUS = (str(NODE), str(HERE / "hocuspocus.mjs"))

# The one that the others' costs are measured by, and the one that the bounds were set by: from 4 on
# it merges what one turn of its event loop brings into one message.
HOCUSPOCUS = Program("Hocuspocus", "hocuspocus", install_node_peers, _HOCUSPOCUS)
HOCUSPOCUS_3 = Program(
    "Hocuspocus 3.4", "hocuspocus", install_node_peers, _HOCUSPOCUS, {"PACKAGE": "hocuspocus-3"}
)
PROGRAMS: tuple[Program, ...] = (
    HOCUSPOCUS,
    HOCUSPOCUS_3,
    Program(
        "y-websocket",
        "y-websocket",
        install_node_peers,
        (str(NODE), str(MODULES / "@y" / "websocket-server" / "src" / "server.js")),
    ),
    Program(
        "pycrdt-websocket",
        "y-websocket",
        install_python_peer,
        (str(PYTHON), str(HERE / "pycrdt_websocket.py")),
    ),
)


@contextmanager
def serving(program: Program, environ: Mapping[str, str] | None = None) -> Iterator[Peer]:
    """The installed program on a free port, until the block ends.

    Raises:
        BenchmarkFailed: it did not start.
    """
    port = _free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            program.command,
            cwd=HERE,
            env={
                **{name: os.environ[name] for name in _INHERITED if name in os.environ},
                "NODE_ENV": "production",
                "HOST": "127.0.0.1",
                "PORT": str(port),
                **program.environ,
                **(environ or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if not _answers(process, port):
                log.seek(0)
                said = log.read()[-2000:].decode(errors="replace").strip()
                raise BenchmarkFailed(f"{program.name} did not start: {said}")
            yield Peer(process.pid, port)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
