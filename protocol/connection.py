"""One socket and the session on it: it reads, writes, and says why it ended."""

import asyncio
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from protocol.errors import CloseCode, ErrorCode, MemoError
from protocol.frames import MAX_MESSAGE_BYTES, SUBPROTOCOL
from protocol.session import Session, SessionEvent, SessionPhase

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0
MAX_INCOMING_BYTES = 4 * MAX_MESSAGE_BYTES  # a snapshot may outgrow what a device may send

_CLOSE_CODES = {int(code): code for code in CloseCode}


class Connection:
    """A socket under a session that has said hello.

    `happened` gets everything that the server says. `is_overdue` is asked every `heartbeat`
    seconds; when it says so, the connection is given up.
    """

    def __init__(
        self,
        socket: ClientConnection,
        session: Session,
        happened: Callable[[SessionEvent], None],
        is_overdue: Callable[[], bool],
        heartbeat: float,
    ) -> None:
        self._socket = socket
        self._session = session
        self._happened = happened
        self._is_overdue = is_overdue
        self._heartbeat = heartbeat
        self._outgoing = asyncio.Event()
        self._outgoing.set()

    def wake(self) -> None:
        """The session has something to send: at the end of this tick of the loop it goes out."""
        self._outgoing.set()

    async def converse(self) -> CloseCode | MemoError:
        """Run the connection to its end. Returns the server's close code, or what went wrong."""
        try:
            async with asyncio.TaskGroup() as tasks:
                aides = [
                    tasks.create_task(self._write(), name="memo client writer"),
                    tasks.create_task(self._beat(), name="memo client heartbeat"),
                ]
                try:
                    return await self._read()
                finally:
                    for aide in aides:
                        aide.cancel()
        finally:
            self._socket.transport.abort()

    async def close(self) -> None:
        """Say goodbye; `converse` returns."""
        await self._socket.close()

    async def _read(self) -> CloseCode | MemoError:
        try:
            async with asyncio.timeout(CONNECT_SECONDS) as deadline:
                while self._session.phase is SessionPhase.GREETING:
                    await self._read_message()
                deadline.reschedule(None)
                while True:
                    await self._read_message()
        except ConnectionClosed as closed:
            return _ending(closed)
        except TimeoutError:
            await self._socket.close(CloseCode.HELLO_TIMEOUT, "no welcome")
            return MemoError(ErrorCode.UNAVAILABLE, f"no welcome within {CONNECT_SECONDS:g} s")
        except MemoError as error:
            await self._socket.close(CloseCode.INVALID_MESSAGE, error.code.value)
            return MemoError(ErrorCode.UNAVAILABLE, str(error))

    async def _read_message(self) -> None:
        message = await self._socket.recv()
        if isinstance(message, str):
            raise MemoError(ErrorCode.INVALID_MESSAGE, "the server sent text; messages are binary")
        for event in self._session.receive(message):
            self._happened(event)

    async def _write(self) -> None:
        try:
            while True:
                await self._outgoing.wait()
                self._outgoing.clear()
                for message in self._session.data_to_send():
                    await self._socket.send(message)
        except ConnectionClosed:
            """The reader finds out too, and says why."""

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat)
            if self._is_overdue():
                await self._socket.close(CloseCode.UNRESPONSIVE, "an answer is overdue")


async def dial(url: str) -> ClientConnection:
    """Open a socket that speaks this protocol.

    Raises:
        MemoError: `unavailable`, when it cannot be had within CONNECT_SECONDS.
    """
    try:
        return await connect(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            proxy=None,
            open_timeout=CONNECT_SECONDS,
            close_timeout=CLOSE_SECONDS,
            max_size=MAX_INCOMING_BYTES,
        )
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise MemoError(ErrorCode.UNAVAILABLE, f"{url} cannot be reached: {error}") from None


def _ending(closed: ConnectionClosed) -> CloseCode | MemoError:
    if closed.rcvd is None:
        return MemoError(ErrorCode.UNAVAILABLE, "the connection was lost")
    code = _CLOSE_CODES.get(closed.rcvd.code)
    if code is None:
        return MemoError(
            ErrorCode.UNAVAILABLE, f"the server closed with {closed.rcvd.code} {closed.rcvd.reason}"
        )
    return code
