"""Stock Yjs clients at `/yjs/{memoryId}?token=...`: y-websocket's protocol over the same rooms.

A WebSocket message carries one y-protocols message:

    0 sync       0 step 1 (a state vector: answer with what it lacks)
                 1 step 2 (the answer)   2 update
    1 awareness  an awareness update
    2 auth       0 permission denied, with a reason (to the client only)
    3 query      answer with everyone's awareness

The stock client knows no acks: what it sends is committed like any other update, and others see
it only then. A reader's edits are answered with `permission denied`, other refusals with a close
code and the error's code as the reason.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from enum import IntEnum
from secrets import token_hex
from typing import Any, Protocol
from uuid import UUID

import structlog

from protocol.errors import CloseCode, ErrorCode, MemoError
from protocol.log import Author
from protocol.memories import Role
from server.backlog import Backlog
from server.metrics import Metrics
from server.roster import Roster
from server.throttle import Throttle
from server.tokens import Principal
from server.websocket import Visit, WebSocket, binary_message
from sync.document import EMPTY_UPDATE, difference
from sync.hub import Hub
from sync.interfaces import Wire
from sync.lib0 import read_bytes, read_uint, write_bytes, write_uint
from sync.opening import Opening
from sync.subscription import Subscription
from sync.update import decode_vector
from sync.worker import WorkerPool

OPEN_SECONDS = 15.0
MAX_EARLY_BYTES = 1 << 20  # of messages that come before the document is open
MAX_RESYNCS = 3  # times a client is asked for what its updates build on
EXPIRY_GRACE_SECONDS = 30.0
_EMPTY_VECTOR = b"\x00"

logger = structlog.get_logger("yjs")


class Message(IntEnum):
    SYNC = 0
    AWARENESS = 1
    AUTH = 2
    QUERY_AWARENESS = 3


class Sync(IntEnum):
    STEP_1 = 0
    STEP_2 = 1
    UPDATE = 2


class Gatekeeper(Protocol):
    """Says who a token for one document speaks for."""

    async def authenticate_document(self, token: str, memory_id: UUID) -> Principal: ...


class Refusals(Protocol):
    """Bounds tokens that are refused."""

    def hello_failed(self, address: str | None, error: MemoError) -> MemoError:
        """What to answer to one that was refused with `error`."""


class YjsWire:
    """Broadcasts as y-websocket messages, one for each update."""

    def push(self, channel: int, offset: int, updates: Sequence[bytes]) -> bytes:  # noqa: ARG002
        return b"".join(sync_message(Sync.UPDATE, update) for update in updates)

    def awareness(self, channel: int, payload: bytes) -> bytes:  # noqa: ARG002
        return _message(Message.AWARENESS, payload)


WIRE = YjsWire()


class Porch:
    """What every stock connection is handed."""

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        refusals: Refusals,
        hub: Hub,
        readers: WorkerPool,
        *,
        roster: Roster,
        metrics: Metrics,
    ) -> None:
        self.gatekeeper = gatekeeper
        self.refusals = refusals
        self.hub = hub
        self.readers = readers
        self.roster = roster
        self.metrics = metrics


class YjsConnection:
    """One stock client on one document."""

    subprotocol = None

    def __init__(self, socket: WebSocket, visit: Visit, memory_id: UUID, porch: Porch) -> None:
        self.id = token_hex(6)
        self._socket = socket
        self.send = socket.send
        self._visit = visit
        self._memory_id = memory_id
        self._porch = porch
        self._principal: Principal | None = None
        self._author: Author | None = None
        self._subscription: Subscription | None = None
        self._opening: Opening | None = None  # until the first step 1 is answered with it
        self._asked: bytes | None = None  # the state vector whose answer is under way or next
        self._presence_asked = False
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._leave_roster: Callable[[], None] | None = None
        self._sequence = 0
        self._resyncs = 0
        self._backlog = Backlog()
        self._throttle = Throttle()
        self._throttled: asyncio.TimerHandle | None = None  # while it is to send nothing more
        self.congested = False
        self._leaving = False

    # Endpoint

    def opened(self) -> None:
        self._porch.metrics.websocket_connections.inc()
        self._start(self._open())

    def received(self, message: bytes) -> None:
        if not self._socket.is_open:
            return  # it came early, and something before it ended the connection
        if self._subscription is None:
            self._early.append(message)
            self._early_bytes += len(message) + 64
            if self._early_bytes > MAX_EARLY_BYTES:
                self._socket.close(CloseCode.OVERFLOW, "too much before the document is open")
            return
        if pause := self._throttle.take(1, len(message)):
            self._slow_down(pause)
        try:
            self._handle(message, self._subscription)
        except ValueError as error:
            self._socket.close(CloseCode.INVALID_MESSAGE, f"not a y-protocols message: {error}")
        except MemoError as error:
            self._socket.close(CloseCode.INVALID_MESSAGE, error.code.value)

    def flushing(self) -> None:
        """However often it was asked, everyone's presence is shown once."""
        asked, self._presence_asked = self._presence_asked, False
        if asked and self._subscription is not None:
            self._subscription.room.presence.show(self._subscription)

    def drained(self) -> None:
        if self._subscription is not None:
            self._subscription.drained()

    def closed(self) -> None:
        self._porch.metrics.websocket_connections.dec()
        if self._throttled is not None:
            self._throttled.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self._leave_roster is not None:
            self._leave_roster()
        if self._subscription is not None:
            self._subscription.close()

    def going_away(self, reconnect_after: float) -> None:  # noqa: ARG002
        # The stock client waits by a rule of its own before it comes back.
        self._leaving = True
        self._leave_if_done()

    def tick(self, now: float) -> None:
        self._opening = None  # who asks this late is answered from the log
        principal = self._principal
        if principal is not None and now > principal.expires_at + EXPIRY_GRACE_SECONDS:
            self._socket.close(CloseCode.UNAUTHORIZED, ErrorCode.TOKEN_EXPIRED.value)

    # Subscriber

    @property
    def wire(self) -> Wire:
        return WIRE

    @property
    def author(self) -> Author:
        assert self._author is not None
        return self._author

    def acked(self, channel: int, client_seq: int, offset: int) -> None:
        """The stock protocol has no word for it."""

    def refused(self, channel: int, client_seq: int, error: MemoError) -> None:  # noqa: ARG002
        subscription = self._subscription
        if error.code is ErrorCode.CHANNEL_CLOSED or subscription is None:
            return
        if error.code is ErrorCode.FORBIDDEN:
            subscription.refusing = False
            self._deny(error)
        elif error.code is ErrorCode.MISSING_DEPENDENCY and self._resyncs < MAX_RESYNCS:
            # Its answer to our state vector brings everything that we lack.
            self._resyncs += 1
            subscription.refusing = False
            self.send(sync_message(Sync.STEP_1, subscription.room.vector))
        else:
            self._socket.close(CloseCode.REFUSED_UPDATE, error.code.value)

    def released(self, size: int) -> None:
        self._backlog.remove(size)
        self._update_reading()
        self._leave_if_done()

    def lost(self, channel: int, error: MemoError) -> None:  # noqa: ARG002
        code = _CLOSE_CODES.get(error.code, CloseCode.OVERFLOW)
        self._socket.close(code, error.code.value)

    def role_changed(self, document_id: UUID, role: Role) -> None:  # noqa: ARG002
        subscription = self._subscription
        if subscription is not None and subscription.can_write:
            # What it edited as a reader was refused. Its answer brings all of that.
            self.send(sync_message(Sync.STEP_1, subscription.room.vector))

    # Opening

    async def _open(self) -> None:
        token = self._visit.query.get("token", "")
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                self._principal = principal = await self._authenticate(token)
                self._author = Author(principal.account_id)
                self._leave_roster = self._porch.roster.enter(principal, ended=self._session_ended)
                opening = await self._porch.hub.open(self, self._memory_id, None, 0)
        except MemoError as error:
            self._socket.close(_close_code(error), error.code.value)
            return
        except TimeoutError:
            self._socket.close(CloseCode.INTERNAL, ErrorCode.TIMEOUT.value)
            return
        except Exception:
            logger.exception("opening failed", connection=self.id)
            self._socket.close(CloseCode.INTERNAL, ErrorCode.INTERNAL.value)
            return
        self._opening = opening
        self._subscription = subscription = opening.subscription
        self._socket.accept_large_messages()
        logger.info(
            "connected",
            connection=self.id,
            account=str(principal.account_id),
            client="y-websocket",
            address=self._visit.address,
        )
        self.send(sync_message(Sync.STEP_1, subscription.room.vector))
        early, self._early = self._early, []
        for message in early:
            self.received(message)

    async def _authenticate(self, token: str) -> Principal:
        try:
            return await self._porch.gatekeeper.authenticate_document(token, self._memory_id)
        except MemoError as error:
            raise self._porch.refusals.hello_failed(self._visit.address, error) from None

    def _session_ended(self, _: bytes) -> None:
        self._socket.close(CloseCode.SESSION_ENDED, ErrorCode.SESSION_ENDED.value)

    # Messages

    def _handle(self, message: bytes, subscription: Subscription) -> None:
        kind, at = read_uint(message, 0)
        if kind == Message.SYNC:
            step, at = read_uint(message, at)
            payload, _ = read_bytes(message, at)
            if step == Sync.STEP_1:
                decode_vector(payload)
                answering, self._asked = self._asked is not None, payload
                if not answering:
                    self._start(self._answer_all())
            elif step == Sync.STEP_2:
                # The client answers even when it has nothing, and when it may not write.
                if payload != EMPTY_UPDATE and subscription.can_write:
                    self._submit(subscription, payload)
            elif step == Sync.UPDATE:
                self._submit(subscription, payload)
            else:
                raise ValueError(f"there is no sync message {step}")
        elif kind == Message.AWARENESS:
            payload, _ = read_bytes(message, at)
            subscription.send_awareness(payload)
        elif kind == Message.QUERY_AWARENESS:
            self._presence_asked = True
            self._socket.flush_soon()
        elif kind != Message.AUTH:
            raise ValueError(f"there is no message {kind}")

    def _submit(self, subscription: Subscription, payload: bytes) -> None:
        self._backlog.add(len(payload))
        self._update_reading()
        self._sequence += 1
        subscription.send_update(self._sequence, payload)

    def _update_reading(self) -> None:
        self._socket.pause_reading(self._backlog.full or self._throttled is not None)

    def _slow_down(self, seconds: float) -> None:
        """It sends faster than it may: what comes now is handled, the next waits in the socket."""
        if self._throttled is not None:
            self._throttled.cancel()
        self._throttled = asyncio.get_running_loop().call_later(seconds, self._go_on)
        self._update_reading()

    def _go_on(self) -> None:
        self._throttled = None
        self._update_reading()

    async def _answer_all(self) -> None:
        """One answer at a time: of those asked for meanwhile, the last stands for all."""
        while (vector := self._asked) is not None:
            await self._answer(vector)
            if self._asked is vector:
                self._asked = None

    async def _answer(self, vector: bytes) -> None:
        """Send what a client at this state vector lacks."""
        opening, self._opening = self._opening, None
        try:
            if opening is not None:
                content = opening.content
            else:
                content = await self._porch.hub.content(self._memory_id)
            updates = content.payloads
            if vector == _EMPTY_VECTOR or not updates:
                # As stored: no document is loaded, merged or encoded for a new client. Step 2
                # comes last, because the client takes it for the end of the first sync.
                self.send(content.encoded("y-websocket", lambda: _whole(updates)))
            else:
                lacking = await self._porch.readers.run_for(
                    self.author.account_id, difference, updates, vector
                )
                self.send(sync_message(Sync.STEP_2, lacking))
        except MemoError as error:
            self._socket.close(_close_code(error), error.code.value)

    def _deny(self, error: MemoError) -> None:
        body = bytearray([Message.AUTH, 0])
        write_bytes(body, f"{error.code.value}: {error.message}".encode())
        self.send(binary_message(bytes(body)))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _leave_if_done(self) -> None:
        if self._leaving and self._backlog.empty:
            self._socket.close(CloseCode.GOING_AWAY, "shutdown")


def _whole(updates: Sequence[bytes]) -> bytes:
    """A document's content as messages for a client that has nothing of it."""
    *others, last = updates or [EMPTY_UPDATE]
    messages = [sync_message(Sync.UPDATE, update) for update in others]
    return b"".join([*messages, sync_message(Sync.STEP_2, last)])


def sync_message(step: Sync, payload: bytes) -> bytes:
    """A sync message as a complete WebSocket message."""
    body = bytearray([Message.SYNC, step])
    write_bytes(body, payload)
    return binary_message(bytes(body))


def _message(kind: Message, payload: bytes) -> bytes:
    body = bytearray()
    write_uint(body, kind)
    write_bytes(body, payload)
    return binary_message(bytes(body))


def _close_code(error: MemoError) -> CloseCode:
    return _CLOSE_CODES.get(error.code, CloseCode.INTERNAL)


_CLOSE_CODES = {
    ErrorCode.UNAUTHORIZED: CloseCode.UNAUTHORIZED,
    ErrorCode.TOKEN_EXPIRED: CloseCode.UNAUTHORIZED,
    ErrorCode.RATE_LIMITED: CloseCode.RATE_LIMITED,
    ErrorCode.SESSION_ENDED: CloseCode.SESSION_ENDED,
    ErrorCode.ACCOUNT_DISABLED: CloseCode.SESSION_ENDED,
    ErrorCode.FORBIDDEN: CloseCode.FORBIDDEN,
    ErrorCode.NOT_FOUND: CloseCode.NOT_FOUND,
    ErrorCode.GONE: CloseCode.GONE,
}
