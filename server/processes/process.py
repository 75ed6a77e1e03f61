"""A worker's process, as its supervisor sees it."""

import asyncio
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from server.processes.exposition import SUFFIX
from server.processes.worker import READY, Seat

READY_SECONDS = 90.0  # to be ready, with ten that a database is waited for


class NotReady(Exception):
    """The process did not come as far as taking requests; the message is why. `code` is its exit
    code, where it has ended by itself."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


class Process:
    """One process of the worker `number`, from `started` until `ended` has returned."""

    def __init__(
        self,
        number: int,
        process: asyncio.subprocess.Process,
        link: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        place: Path,
    ) -> None:
        self.number = number
        self._process = process
        self._said, self._link = link
        self._place = place
        self._started_at = time.monotonic()
        self._was_asked = False

    @classmethod
    async def started(
        cls, number: int, listener: socket.socket, directory: Path, environ: Mapping[str, str]
    ) -> "Process":
        """A new process that accepts connections from `listener` once it is ready.

        Raises:
            NotReady: it could not even be started.
        """
        place = directory / f"{number}.starting"
        try:
            with ExitStack() as handed_over, ExitStack() as kept:
                ours, theirs = socket.socketpair()
                handed_over.enter_context(theirs)
                own = handed_over.enter_context(_unix_socket(place))
                said, link = await asyncio.open_connection(sock=kept.enter_context(ours))
                kept.callback(link.close)
                seat = Seat(number, listener.fileno(), theirs.fileno(), own.fileno(), directory)
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "server", "worker", *seat.arguments,
                    env=environ,
                    stdin=DEVNULL,
                    pass_fds=seat.descriptors,
                    # Ctrl-C in the terminal is the supervisor's to handle.
                    start_new_session=True,
                )  # fmt: skip
                kept.pop_all()
        except OSError as error:
            raise NotReady(f"its process could not be started: {error}") from error
        return cls(number, process, (said, link), place)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def age(self) -> float:
        """The seconds since its start."""
        return time.monotonic() - self._started_at

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    @property
    def end(self) -> str:
        """How it ended, as a phrase."""
        code = self._process.returncode
        if code is None:
            return "it still runs"
        if code >= 0:
            return f"it ended with exit code {code}"
        return f"it was ended by {signal.Signals(-code).name}"

    async def ready(self) -> None:
        """Return when it takes requests; its metrics are found under its number from then on.

        Raises:
            NotReady: it ended; or took too long, or its metrics cannot be kept, and was ended.
        """
        try:
            async with asyncio.timeout(READY_SECONDS):
                line = (await self._said.readline()).rstrip(b"\n")
        except TimeoutError:
            self.kill()
            await self.ended()
            raise NotReady(f"it was not ready within {READY_SECONDS:g} s") from None
        if line != READY:
            await self.ended()
            reason = line.decode(errors="replace") or f"{self.end}; the log says more"
            raise NotReady(reason, self._process.returncode)
        try:
            self._place.rename(self._place.with_suffix(SUFFIX))
        except OSError as error:
            self.kill()
            await self.ended()
            raise NotReady(f"its metrics could not be made known: {error}") from error

    async def ended(self) -> None:
        """Return when the process is gone."""
        await self._process.wait()
        self._link.close()

    def terminate(self) -> None:
        """Have it say goodbye to its clients, finish what is under way, and end. Asking again
        changes nothing: it would not wait for its clients then."""
        if not self._was_asked:
            self._was_asked = True
            self._send(signal.SIGTERM)

    def hurry(self) -> None:
        """Have it end without waiting for its clients."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)


def _unix_socket(place: Path) -> socket.socket:
    place.unlink(missing_ok=True)  # of one that did not become ready
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(place))
    except OSError:
        bound.close()
        raise
    return bound
