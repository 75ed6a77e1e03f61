"""A worker's process, as its supervisor sees it."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from server.processes.process import NotReady, Process
from server.processes.worker import READY


async def test_one_whose_metrics_cannot_be_found_is_not_ready_and_does_not_stay(
    tmp_path: Path,
) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        link = await asyncio.open_connection(sock=ours)
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import signal; signal.pause()"
        )
        process = Process(0, running, link, tmp_path / "gone" / "0.starting")
        theirs.sendall(READY + b"\n")
        with pytest.raises(NotReady, match="its metrics"):
            await process.ready()
    assert process.has_ended
