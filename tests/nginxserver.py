"""A real nginx with the configuration of `deploy/`, in front of nodes of a test."""

import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.serving import START_SECONDS, STOP_SECONDS, ServerProcess, free_port

CONFIGURATION = Path(__file__).parents[1] / "deploy" / "nginx.conf"
_WRITTEN = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")  # what nginx keeps directories for


class NginxServer:
    """`nginx` on a port of its own. The file of `deploy/` is used as it is but for where things
    are: the port, the nodes, and what is written, which goes to `directory`."""

    def __init__(self, directory: Path, nodes: Sequence[ServerProcess]) -> None:
        self.port = free_port()
        self.access_log = directory / "access.log"
        self.error_log = directory / "error.log"
        self._pid = directory / "nginx.pid"
        self._file = directory / "nginx.conf"
        self._file.write_text(self._configured(directory, nodes))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def _configured(self, directory: Path, nodes: Sequence[ServerProcess]) -> str:
        temporary = "".join(f"    {name}_temp_path {directory / name};\n" for name in _WRITTEN)
        replacements = [
            (r"^http \{\n", f"http {{\n{temporary}"),
            (r"\blisten 80\b", f"listen 127.0.0.1:{self.port}"),
            (r"/dev/stdout\b", str(self.access_log)),
            (r"/dev/stderr\b", str(self.error_log)),
        ]
        replacements += [
            (rf"\bnode{number}:8000\b", f"127.0.0.1:{node.port}")
            for number, node in enumerate(nodes, 1)
        ]
        text = CONFIGURATION.read_text()
        for pattern, replacement in replacements:
            text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            assert count, f"{CONFIGURATION} has nothing like {pattern}"
        return text

    def start(self) -> None:
        """Start, and return when it takes connections."""
        program = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
        assert program is not None, "this test needs nginx: install it"
        self._process = subprocess.Popen(
            [
                program, "-c", str(self._file), "-e", str(self.error_log),
                "-g", f"daemon off; pid {self._pid};",
            ],
            stderr=subprocess.DEVNULL,  # it is in the log
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"nginx did not start:\n{self.error_log.read_text()}")
            time.sleep(0.02)  # there is no event of another process to wait for

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it and its connections, and return when it has."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(STOP_SECONDS)
            self._process = None
