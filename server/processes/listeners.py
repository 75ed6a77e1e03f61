"""The sockets that a port's connections come in by."""

import socket
import sys
from types import TracebackType
from typing import Self

BACKLOG = 2048  # connections that wait to be accepted

# Linux spreads connections evenly over the sockets of one port. A single one would be emptied by
# whichever process looks first, and a crowd that comes back at once would all be with one worker.
# Elsewhere all connections go to one of the sockets.
_SPREADS = sys.platform == "linux"


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket with the address, that does not listen yet; `shared` with others of ours.

    Raises:
        OSError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


class Listeners:
    """What the workers of one port accept connections from, each from its own.

    They stay open in the process that starts the workers: who connects while a worker is replaced
    waits for the next one instead of being refused.
    """

    def __init__(self, host: str, port: int, count: int) -> None:
        """Bind `count` sockets; a `port` of 0 is one that the system chooses.

        Raises:
            OSError: the address cannot be used.
        """
        self._host = host
        self._shared = _SPREADS and count > 1
        if self._shared and port:
            # Two servers of one user could share the port without noticing.
            with bind(host, port) as alone:
                alone.listen()
        self._sockets = [bind(host, port, shared=self._shared)]
        self.port: int = self._sockets[0].getsockname()[1]
        try:
            while self._shared and len(self._sockets) < count:
                self._sockets.append(bind(host, self.port, shared=True))
        except OSError:
            self.close()
            raise

    def __getitem__(self, worker: int) -> socket.socket:
        return self._sockets[worker % len(self._sockets)]

    def open(self) -> None:
        """Let connections come in: from now on they wait for a worker."""
        for listener in self._sockets:
            listener.listen(BACKLOG)

    def withdraw(self, worker: int) -> None:
        """Leave the connections of a worker that does not come back to the others: its socket is
        a new one, where none come in until a worker listens on it."""
        if self._shared:
            withdrawn = self._sockets[worker]
            self._sockets[worker] = bind(self._host, self.port, shared=True)
            withdrawn.close()

    def close(self) -> None:
        for listener in self._sockets:
            listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
