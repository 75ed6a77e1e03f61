"""Processes of `memo`, forked from one that has it loaded: they are there without the second that
each would spend on imports, and are processes like any other from then on.

`start` and `run` are to `python -m server` what `Popen` and `run` of the standard library are.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

_ROOT = Path(__file__).parents[1]
_REQUEST_BYTES = 1 << 20
_ANSWER_SECONDS = 60.0  # for a process to be there, imports of the first one included


class Launched:
    """A process that was started, as `subprocess.Popen` has it."""

    def __init__(
        self, pid: int, link: socket.socket, stdout: IO[str] | None, stderr: IO[str] | None
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = stdout
        self.stderr = stderr
        self._link = link

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait(_ANSWER_SECONDS)

    def poll(self) -> int | None:
        """The exit code, once there is one."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float) -> int:
        """The exit code; that of one that was killed is the signal's number below zero.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            if not select.select([self._link], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("memo", timeout)
            self.returncode = int(self._link.recv(100))
            self._link.close()
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """All that it still writes until it ends."""
        with ThreadPoolExecutor(2) as threads:
            reads = [threads.submit(stream.read) for stream in (self.stdout, self.stderr) if stream]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()  # or the reads would not end
                raise
            stdout, stderr = (read.result() for read in reads)
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(
    arguments: Sequence[object] = (),
    *,
    env: Mapping[str, str],
    output: IO[bytes] | None = None,
    stdin: IO[bytes] | None = None,
    session: bool = False,
) -> Launched:
    """Start `memo` with `arguments`, and nothing but `env` as its environment. What it writes goes
    to `output`; without one, to pipes. With `session` it leads a session of its own."""
    pipes = [] if output else [os.pipe(), os.pipe()]
    with Path(os.devnull).open("rb") as nothing:
        link, theirs = socket.socketpair()
        descriptors = [theirs.fileno(), (stdin or nothing).fileno()]
        descriptors += [output.fileno()] * 2 if output else [write for _, write in pipes]
        request = {
            "arguments": list(map(str, arguments)),
            "directory": str(Path.cwd()),
            "environment": dict(env),
            "session": session,
        }
        socket.send_fds(_launcher(), [json.dumps(request).encode() + b"\n"], descriptors)
        theirs.close()
        for _, write in pipes:
            os.close(write)
    link.settimeout(_ANSWER_SECONDS)
    pid = int(link.recv(100))
    return Launched(pid, link, *([os.fdopen(read) for read, _ in pipes] or (None, None)))


def run(
    arguments: Sequence[object], *, text: str = "", env: Mapping[str, str], timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `memo` with `text` as its standard input until it ends, and say what it wrote."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(text.encode())
        stdin.seek(0)
        with start(arguments, env=env, stdin=stdin) as process:
            stdout, stderr = process.communicate(timeout)
    assert process.returncode is not None
    return subprocess.CompletedProcess(
        list(map(str, arguments)), process.returncode, stdout, stderr
    )


@cache
def _launcher() -> socket.socket:
    """The way to the process that forks."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.launching", str(theirs.fileno())],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # the terminal's Ctrl-C is for the tests
        )

    def end() -> None:
        ours.close()
        process.wait(_ANSWER_SECONDS)

    atexit.register(end)
    return ours


def _fork_on_request(control: socket.socket) -> Mapping[str, Any]:
    """Answer requests until there are no more. Returns in the children alone, with what each is
    to be."""
    links: dict[int, socket.socket] = {}
    waked, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([control, waked], [], [])
        if waked in ready:
            waked.recv(1000)
            for pid in list(links):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    with links.pop(pid) as link:
                        link.send(str(os.waitstatus_to_exitcode(status)).encode())
        if control in ready:
            data, descriptors, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 4)
            while data and not data.endswith(b"\n"):
                data += control.recv(_REQUEST_BYTES)
            if not data:
                sys.exit()
            link = socket.socket(fileno=descriptors[0])
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (control, waked, wake, link, *links.values()):
                    each.close()
                for number, descriptor in enumerate(descriptors[1:]):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                request: Mapping[str, Any] = json.loads(data)
                return request
            for descriptor in descriptors[1:]:
                os.close(descriptor)
            links[pid] = link
            link.send(str(pid).encode())


def _become(request: Mapping[str, Any]) -> None:
    if request["session"]:
        os.setsid()
    # As a terminal has it: what runs in the background of a shell is not to be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    sys.argv = ["memo", *request["arguments"]]
    runpy.run_module("server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import server.cli  # noqa: F401 (what is loaded once for all)

    _become(_fork_on_request(socket.socket(fileno=int(sys.argv[1]))))
