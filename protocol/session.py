"""One connection as its client sees it, from hello to goodbye. Bytes in and bytes out, no I/O.

A caller feeds `receive` with every message from the socket and writes what `data_to_send`
gives. Phases go one way, and a call that does not fit the phase raises `RuntimeError`:

    NEW --hello()--> GREETING --welcome--> OPEN --goodbye--> LEAVING --close()--> CLOSED
"""

import random
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import msgspec

from protocol import frames
from protocol.errors import ErrorCode, MemoError
from protocol.operation import Operation

MAX_REQUESTS = 256
_FRAME_OVERHEAD = 512  # what an operation's name, an id and array heads add to a body
_CODES = {code.value: code for code in ErrorCode}


class SessionPhase(Enum):
    """How far the connection has come."""

    NEW = "new"
    GREETING = "greeting"
    OPEN = "open"
    LEAVING = "leaving"
    CLOSED = "closed"


class Answered(msgspec.Struct, frozen=True):
    """Request `id` is done: `result` is a struct of the operation's response type, or why not."""

    id: int
    result: Any


class Refused(msgspec.Struct, frozen=True):
    """The server did not take the update `client_seq` of `channel`."""

    channel: int
    client_seq: int | None
    error: MemoError


SessionEvent = (
    Answered
    | Refused
    | frames.Welcome
    | frames.Part
    | frames.Push
    | frames.Ack
    | frames.AwarenessRelay
    | frames.Event
    | frames.Error
    | frames.Goodbye
)


class Session:
    """The state of one connection. `welcome` is None until the server has greeted."""

    def __init__(self) -> None:
        self.phase = SessionPhase.NEW
        self.welcome: frames.WelcomeBody | None = None
        self._out: list[frames.Frame] = []
        self._requests: dict[int, Operation[Any, Any]] = {}
        self._last_request = 0

    @property
    def max_message_bytes(self) -> int:
        return self.welcome.max_message_bytes if self.welcome else frames.MAX_MESSAGE_BYTES

    @property
    def max_update_bytes(self) -> int:
        """The largest update that fits into a message."""
        return self.max_message_bytes - _FRAME_OVERHEAD

    def hello(self, token: str, device_id: str | None = None, client: str | None = None) -> None:
        """Say who is calling. It has to be the first call."""
        self._expect(SessionPhase.NEW)
        self.phase = SessionPhase.GREETING
        self._out.append(frames.Hello(frames.HelloBody(token, device_id, client)))

    def request(self, operation: Operation[Any, Any], body: msgspec.Struct) -> int:
        """Call `operation`; its id comes back in an `Answered`.

        Raises:
            MemoError: `busy` when MAX_REQUESTS wait already; `too_large`.
        """
        self._expect(SessionPhase.OPEN, SessionPhase.LEAVING)
        if len(self._requests) >= MAX_REQUESTS:
            raise MemoError(
                ErrorCode.BUSY, f"{MAX_REQUESTS} calls wait for an answer; await some of them"
            )
        encoded = msgspec.msgpack.encode(body)
        if len(encoded) > self.max_message_bytes - _FRAME_OVERHEAD:
            raise MemoError(
                ErrorCode.TOO_LARGE,
                f"the body of {operation.name} is {len(encoded)} bytes; "
                f"a message holds {self.max_message_bytes}",
            )
        self._last_request += 1
        self._requests[self._last_request] = operation
        self._out.append(frames.Request(self._last_request, operation.name, msgspec.Raw(encoded)))
        return self._last_request

    def cancel(self, request_id: int) -> None:
        """Give up a request: its answer, should it still come, is left out."""
        if self._requests.pop(request_id, None) is not None:
            self._out.append(frames.Cancel(request_id))

    def send(self, frame: frames.Update | frames.Awareness) -> None:
        """Queue a frame of an open channel. The channels bound how many there are."""
        self._expect(SessionPhase.OPEN, SessionPhase.LEAVING)
        self._out.append(frame)

    def receive(self, message: bytes) -> list[SessionEvent]:
        """What a message from the server means, in its order.

        Raises:
            MemoError: `invalid_message`, when it is not of the protocol or out of turn.
        """
        events: list[SessionEvent] = []
        for frame in frames.decode_server(message):
            if self.phase is SessionPhase.GREETING:
                self._greeted(frame)
            elif type(frame) is frames.Welcome:
                raise MemoError(ErrorCode.INVALID_MESSAGE, "the server sent a second welcome")
            event = self._event(frame)
            if event is not None:
                events.append(event)
        return events

    def data_to_send(self) -> list[bytes]:
        """All that was queued since the last call: one message, or more if one is too small."""
        if not self._out:
            return []
        queued, self._out = self._out, []
        return _messages(queued, self.max_message_bytes)

    def close(self) -> list[Answered]:
        """The connection is gone: the requests that will never be answered, with the reason."""
        self.phase = SessionPhase.CLOSED
        self._out.clear()
        lost = [
            Answered(
                request_id,
                MemoError(
                    ErrorCode.UNAVAILABLE,
                    f"the connection was lost before {operation.name} was answered; "
                    "it may have been carried out",
                ),
            )
            for request_id, operation in self._requests.items()
        ]
        self._requests.clear()
        return lost

    def _expect(self, *phases: SessionPhase) -> None:
        if self.phase not in phases:
            raise RuntimeError(f"the session is {self.phase.value}")

    def _greeted(self, frame: frames.ServerFrame) -> None:
        if isinstance(frame, frames.Welcome):
            self.phase = SessionPhase.OPEN
            self.welcome = frame.body
        elif not isinstance(frame, (frames.Error, frames.Goodbye)):
            raise MemoError(
                ErrorCode.INVALID_MESSAGE,
                f"the server sent a {type(frame).__name__.lower()} before its welcome",
            )

    def _event(self, frame: frames.ServerFrame) -> SessionEvent | None:
        match frame:
            case frames.Reply(request_id, body):
                if operation := self._requests.pop(request_id, None):
                    return Answered(request_id, _read(operation, body))
                return None
            case frames.Error(int(request_id), body):
                if self._requests.pop(request_id, None):
                    return Answered(request_id, refusal(body))
                return None
            case frames.Error(None, frames.ErrorBody(channel=int(channel)) as body):
                return Refused(channel, body.client_seq, refusal(body))
            case frames.Goodbye():
                self.phase = SessionPhase.LEAVING
        return frame


class Backoff:
    """Seconds to wait before each next attempt: doubling, and spread so that a thousand clients
    do not return at once."""

    def __init__(
        self,
        shortest: float = 0.3,
        longest: float = 30.0,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._shortest = shortest
        self._longest = longest
        self._spread = spread
        self._attempts = 0

    def next(self) -> float:
        """A delay between the shortest and a ceiling that doubles up to the longest."""
        # Past 2**32 no ceiling is left to reach, and the power would only grow.
        self._attempts = min(self._attempts + 1, 32)
        ceiling = min(self._longest, self._shortest * 2**self._attempts)
        return self._spread(self._shortest, ceiling)

    def reset(self) -> None:
        self._attempts = 0


def refusal(body: frames.ErrorBody) -> MemoError:
    """The error that `body` names; a code of a newer server reads as `internal`."""
    code = _CODES.get(body.code)
    message = body.message if code else f"{body.code}: {body.message}"
    return MemoError(
        code or ErrorCode.INTERNAL, message, retry_after=body.retry_after, details=body.details
    )


def _read(operation: Operation[Any, Any], body: Any) -> Any:
    try:
        return msgspec.convert(body, operation.response)
    except (msgspec.ValidationError, RecursionError) as error:
        return MemoError(
            ErrorCode.INVALID_MESSAGE, f"the answer to {operation.name} does not fit: {error}"
        )


def _messages(queued: Sequence[frames.Frame], limit: int) -> list[bytes]:
    message = frames.encode(*queued)
    if len(message) <= limit or len(queued) == 1:
        return [message]
    middle = len(queued) // 2
    return _messages(queued[:middle], limit) + _messages(queued[middle:], limit)
