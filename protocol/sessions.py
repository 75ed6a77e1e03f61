"""An account's sessions: the devices that are signed in."""

from uuid import UUID

from protocol.operation import Operation
from protocol.records import Body, Empty, Timestamp


class DeviceSession(Body, frozen=True):
    """One signed-in device. `device` is a readable name made from `user_agent`, such as
    `Firefox on Windows`; `current` is the session of this very connection. `address` is what it
    signed in from, and `place` where that is, like `Lisbon, Portugal`, on a server that can tell.
    `last_active_at` is exact to five minutes. Without a refresh until
    `expires_at` it is signed out."""

    id: UUID
    current: bool
    device: str
    user_agent: str | None
    address: str | None
    place: str | None
    created_at: Timestamp
    last_active_at: Timestamp
    expires_at: Timestamp


class SessionList(Body, frozen=True):
    sessions: list[DeviceSession]


class EndSessions(Body, frozen=True):
    """Either `id`, or `all`: every session of the account but this one. Ending this one, by its
    `id`, closes the connection behind the reply."""

    id: UUID | None = None
    all: bool = False


SESSIONS_LIST = Operation(
    "sessions.list",
    Empty,
    SessionList,
    None,
    "The account's signed-in devices, the one used last first.",
)
SESSIONS_END = Operation(
    "sessions.end",
    EndSessions,
    Empty,
    None,
    "Sign a device out, or all but this one: their sockets close, their refresh tokens are void.",
)
