"""The requests of a device that wait for a connection, and their way to the server.

One at a time is sent, in the order they were queued. One that fails for now is tried again later;
what shares an id with it waits behind it, so that a create stays ahead of what builds on it, and
the rest goes by. A request may be sent twice: operations are safe to repeat, and what creates
carries an id of the client's.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4
from weakref import WeakSet

import msgspec

from protocol.accounts import SESSION_RENEW
from protocol.documents import DOCUMENTS_CLOSE, DOCUMENTS_OPEN
from protocol.errors import ErrorCode, MemoError
from protocol.memories import MEMORIES_CREATE
from protocol.operation import Operation
from protocol.operations import OPERATIONS
from protocol.records import Body, timestamp
from protocol.session import Backoff
from protocol.signal import Stream

MAX_QUEUED = 10_000
_OPERATIONS = {operation.name: operation for operation in OPERATIONS}
_OF_CONNECTION = frozenset((DOCUMENTS_OPEN, DOCUMENTS_CLOSE, SESSION_RENEW))
# These are about the session, not about the request: it waits for the next one.
_OF_SESSION = frozenset(
    (
        ErrorCode.ACCOUNT_DISABLED,
        ErrorCode.CANCELLED,
        ErrorCode.CHANNEL_CLOSED,
        ErrorCode.SESSION_ENDED,
        ErrorCode.TOKEN_EXPIRED,
        ErrorCode.UNAUTHORIZED,
    )
)
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

Req = TypeVar("Req", bound=Body)


class QueuedRequest(msgspec.Struct, frozen=True):
    """A request in the line. Its number rises in the order of queueing, `body` is MessagePack as
    on the wire, and `queued_at` is RFC 3339 by this device's clock."""

    number: int
    operation: str
    body: bytes
    queued_at: str

    @property
    def fields(self) -> dict[str, Any]:
        """The body as a map, with the names that are on the wire."""
        fields: dict[str, Any] = msgspec.msgpack.decode(self.body)
        return fields

    @property
    def id(self) -> UUID | None:
        """The id in the body: of what is made, or changed."""
        return UUID(self.fields["id"]) if self.fields.get("id") else None

    @property
    def memory_made(self) -> UUID | None:
        """The memory that this makes, if it makes one."""
        return self.id if self.operation == MEMORIES_CREATE.name else None

    @property
    def subjects(self) -> frozenset[str]:
        """The ids it names, or else its domain. Requests that share none of these may be carried
        out in any order."""
        named = set()
        for value in self.fields.values():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str) and _UUID.fullmatch(each):
                    named.add(each.lower())
        return frozenset(named or {self.operation.partition(".")[0]})

    def read(self, operation: Operation[Req, Any]) -> Req:
        """The body as a request of `operation`.

        Raises:
            MemoError: `invalid_request`, when it is none (any more).
        """
        try:
            return msgspec.msgpack.decode(self.body, type=operation.request)
        except msgspec.ValidationError as error:
            raise MemoError(ErrorCode.INVALID_REQUEST, str(error)) from None


class Outcome(msgspec.Struct, frozen=True):
    """How a queued request ended: with the operation's `response`, or refused for good. It is out
    of the line either way."""

    request: QueuedRequest
    response: Any = None
    error: MemoError | None = None


class RequestStore(Protocol):
    """What the line needs of a store. Its methods raise MemoError (`internal`) when it fails."""

    def enqueue(self, operation: str, body: bytes, queued_at: str) -> QueuedRequest:
        """Put a request at the end of the line. Its number is larger than every earlier one."""

    def queued(self) -> Sequence[QueuedRequest]:
        """The requests in the line, oldest first."""

    def dequeue(self, number: int) -> bool:
        """Take a request out of the line; whether it was there."""


@dataclass
class _Hold:
    """A request that the server could not take: it waits until a time of the loop's clock."""

    backoff: Backoff
    until: float = 0.0
    code: ErrorCode | None = None


class RequestQueue:
    """The line of one client.

    `send` calls the server, `is_online` says whether there is one. `born` gets the memories whose
    create has had its outcome.
    """

    def __init__(
        self,
        store: RequestStore,
        *,
        send: Callable[[Operation[Any, Any], Body], Awaitable[Any]],
        is_online: Callable[[], bool],
        born: Callable[[UUID], None],
        backoff: Callable[[], Backoff] = lambda: Backoff(0.5, 60.0),
    ) -> None:
        self._store = store
        self._send = send
        self._is_online = is_online
        self._born = born
        self._backoff = backoff
        self._news = asyncio.Event()
        self._streams: WeakSet[Stream[Outcome]] = WeakSet()
        self._ended = False
        self._holds: dict[int, _Hold] = {}
        line = store.queued()
        self._size = len(line)
        self._unborn = {made for request in line if (made := request.memory_made)}

    def add(self, operation: Operation[Req, Any], request: Req) -> QueuedRequest:
        """Put a request at the end of the line; with an id, if it makes something.

        Raises:
            MemoError: `invalid_request`, for an operation of one connection; `too_large`, when
                MAX_QUEUED wait; `internal`, when the store fails.
        """
        if operation in _OF_CONNECTION:
            raise MemoError(
                ErrorCode.INVALID_REQUEST, f"{operation.name} is of one connection: call it instead"
            )
        if self._size >= MAX_QUEUED:
            raise MemoError(ErrorCode.TOO_LARGE, f"{MAX_QUEUED} requests wait already")
        if operation.creates and getattr(request, "id", None) is None:
            request = msgspec.structs.replace(request, id=uuid4())
        queued = self._store.enqueue(
            operation.name, msgspec.msgpack.encode(request), timestamp(datetime.now(UTC))
        )
        self._size += 1
        if queued.memory_made is not None:
            self._unborn.add(queued.memory_made)
        self._news.set()
        return queued

    def list(self) -> Sequence[QueuedRequest]:
        """All that waits, oldest first.

        Raises:
            MemoError: `internal`, when the store fails.
        """
        return self._store.queued()

    def discard(self, number: int) -> bool:
        """Take a request out of the line; whether it was there. What is on its way may land.

        Raises:
            MemoError: `internal`, when the store fails.
        """
        for request in self._store.queued():
            if request.number == number:
                self._remove(request)
                self._news.set()
                return True
        return False

    def is_unborn(self, memory_id: UUID) -> bool:
        """Whether the server cannot know a memory yet, because its create waits here."""
        return memory_id in self._unborn

    def outcomes(self) -> Stream[Outcome]:
        """The outcomes from now on."""
        stream: Stream[Outcome] = Stream()
        self._streams.add(stream)
        if self._ended:
            stream.end()
        return stream

    def end(self) -> None:
        """Nothing more will be sent."""
        self._ended = True
        for stream in self._streams:
            stream.end()

    def connected(self) -> None:
        """There is a connection: what failed on the last one may succeed now."""
        self._holds.clear()
        self._news.set()

    async def run(self) -> None:
        """Send what waits, whenever there is a connection. Runs until it is cancelled."""
        store_backoff = self._backoff()
        while True:
            self._news.clear()
            try:
                delay = await self._pass()
                store_backoff.reset()
            except MemoError:
                # The store failed; what it has not let go of is sent again, which is harmless.
                delay = store_backoff.next()
            with suppress(TimeoutError):
                # With nothing to do it waits for as long as nothing is queued.
                async with asyncio.timeout(delay):
                    await self._news.wait()

    async def _pass(self) -> float | None:
        """Send what may be sent, in order. Seconds until more may be; None: until there is news.

        Raises:
            MemoError: `internal`, when the store fails.
        """
        waiting: set[str] = set()
        next_time: float | None = None
        for request in self._store.queued() if self._is_online() else ():
            subjects = request.subjects
            if not waiting & (subjects | {request.operation}):
                if await self._is_done(request):
                    continue
                hold = self._holds.get(request.number)
                if hold is None or not self._is_online():
                    # Offline, or online anew: whatever waits is tried with the next connection.
                    return None
                next_time = hold.until if next_time is None else min(next_time, hold.until)
                if hold.code is not ErrorCode.INTERNAL:
                    # Whom the server fails with one request it may serve with the like of it; who
                    # has called too often, or while it was down, would only hear the same again.
                    waiting.add(request.operation)
            waiting |= subjects
        if next_time is None:
            return None
        return max(next_time - asyncio.get_running_loop().time(), 0)

    async def _is_done(self, request: QueuedRequest) -> bool:
        """Send a request unless its time has not come. Whether it is out of the line."""
        now = asyncio.get_running_loop().time
        hold = self._holds.get(request.number)
        if hold is not None and hold.until > now():
            return False
        try:
            operation = _OPERATIONS.get(request.operation)
            if operation is None:
                raise MemoError(ErrorCode.UNKNOWN_OPERATION)
            outcome = Outcome(request, await self._send(operation, request.read(operation)))
        except MemoError as error:
            if not self._is_online():
                return False
            if error.code.temporary or error.code in _OF_SESSION:
                hold = self._holds.setdefault(request.number, _Hold(self._backoff()))
                hold.until = now() + max(error.retry_after or 0, hold.backoff.next())
                hold.code = error.code
                return False
            outcome = Outcome(request, error=error)
        # Told before it is forgotten: should the process end in between, it is told again.
        for stream in self._streams:
            stream.put(outcome)
        self._remove(request)
        return True

    def _remove(self, request: QueuedRequest) -> None:
        if self._store.dequeue(request.number):
            self._size -= 1
        self._holds.pop(request.number, None)
        made = request.memory_made
        if made is not None and made in self._unborn:
            self._unborn.discard(made)
            self._born(made)
