"""Error codes and close codes: two closed tables that clients may branch on.

A code's row says what it means, the HTTP status that carries it on REST, and whether the same
call may succeed later without a change (`temporary`). A close code's row says whether the
client should reconnect by itself.
"""

from enum import Enum, IntEnum
from typing import Any


class ErrorCode(Enum):
    """Why a request or an update was refused."""

    status: int
    temporary: bool
    meaning: str

    def __new__(cls, value: str, status: int, temporary: bool, meaning: str) -> "ErrorCode":
        member = object.__new__(cls)
        member._value_ = value
        member.status = status
        member.temporary = temporary
        member.meaning = meaning
        return member

    INVALID_MESSAGE = "invalid_message", 400, False, "The bytes are not frames of this protocol."
    INVALID_REQUEST = "invalid_request", 400, False, "A field is missing or wrong; it is named."
    UNKNOWN_OPERATION = "unknown_operation", 404, False, "No operation has this name."
    UNAUTHORIZED = "unauthorized", 401, False, "The token is missing or not valid here."
    INVALID_CREDENTIALS = "invalid_credentials", 401, False, "E-mail or password is wrong."
    TWO_FACTOR_REQUIRED = (
        "two_factor_required",
        401,
        False,
        "The first factor is right; send it again with a code of the second.",
    )
    TOKEN_EXPIRED = "token_expired", 401, False, "The token has expired; refresh it."
    SESSION_ENDED = "session_ended", 401, False, "The session was ended; sign in again."
    ACCOUNT_DISABLED = "account_disabled", 403, False, "The account has been disabled."
    FORBIDDEN = "forbidden", 403, False, "The account lacks the right to do this."
    NOT_FOUND = "not_found", 404, False, "There is no such thing, or none you may see."
    GONE = "gone", 410, False, "It has been deleted."
    CONFLICT = (
        "conflict",
        409,
        False,
        "It is taken (an id, an e-mail address, a username), or its state does not allow this.",
    )
    TOO_LARGE = (
        "too_large",
        413,
        False,
        "The message or value is larger than allowed, or there are as many as there may be.",
    )
    QUOTA_EXCEEDED = "quota_exceeded", 413, False, "The account's files take all it may store."
    RATE_LIMITED = "rate_limited", 429, True, "Too many calls; wait for `retryAfter` seconds."
    BUSY = "busy", 503, True, "Too much is in flight on this connection or server."
    UNAVAILABLE = "unavailable", 503, True, "The database, or a provider, cannot be reached."
    TIMEOUT = "timeout", 504, True, "The work did not finish in time."
    CANCELLED = "cancelled", 499, False, "The client cancelled the request."
    INTERNAL = "internal", 500, True, "The server failed; the request id finds it in the log."
    MALFORMED_UPDATE = "malformed_update", 400, False, "The bytes are not a sound Yjs update."
    MISSING_DEPENDENCY = (
        "missing_dependency",
        409,
        False,
        "The update builds on edits the server lacks; open again and send the whole state.",
    )
    CLIENT_ID_TAKEN = (
        "client_id_taken",
        409,
        False,
        "Another account writes with this Yjs client id; start a new Doc.",
    )
    CHANNEL_CLOSED = "channel_closed", 409, False, "The channel is not open, or refuses updates."
    MALFORMED_AWARENESS = "malformed_awareness", 400, False, "The bytes are not awareness states."


class CloseCode(IntEnum):
    """Why the server closed the socket. 1000 to 1015 are those of RFC 6455."""

    reconnect: bool
    meaning: str

    def __new__(cls, value: int, reconnect: bool, meaning: str) -> "CloseCode":
        member = int.__new__(cls, value)
        member._value_ = value
        member.reconnect = reconnect
        member.meaning = meaning
        return member

    NORMAL = 1000, False, "The client said goodbye."
    GOING_AWAY = 1001, True, "The server is shutting down; it said when to return."
    PROTOCOL_ERROR = 1002, False, "The bytes are not WebSocket frames."
    UNSUPPORTED = 1003, False, "Text messages are not spoken here."
    TOO_LARGE = 1009, False, "A message was larger than `maxMessageBytes`."
    INTERNAL = 1011, True, "The server failed."
    INVALID_MESSAGE = 4400, False, "The message is not of the protocol."
    UNAUTHORIZED = 4401, False, "The token is missing, expired or not valid; get a new one."
    FORBIDDEN = 4403, False, "No right to this document."
    NOT_FOUND = 4404, False, "No such document."
    HELLO_TIMEOUT = 4408, True, "No hello arrived in time."
    GONE = 4410, False, "The document has been deleted."
    SESSION_ENDED = 4411, False, "The session was ended or the account disabled."
    UNRESPONSIVE = 4412, True, "No answer to a heartbeat."
    OVERFLOW = 4413, True, "More was sent than may wait at once."
    REFUSED_UPDATE = 4422, False, "An update was refused; the reason names why."
    RATE_LIMITED = 4429, True, "Too many hellos from this address failed; wait."


class MemoError(Exception):
    """A refusal with its code, as both the socket and REST report it.

    `retry_after` is in seconds. `details` maps a field's name to what is wrong with it.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str | None = None,
        *,
        retry_after: float | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message or code.meaning)
        self.code = code
        self.retry_after = retry_after
        self.details = details

    @property
    def message(self) -> str:
        return str(self)


def id_taken() -> MemoError:
    """The refusal of a client-made id that is another record's."""
    return MemoError(
        ErrorCode.CONFLICT, "this id is taken; make a new one", details={"id": "is taken"}
    )
