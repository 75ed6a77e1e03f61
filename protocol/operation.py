"""What an operation of the socket is, and the rights that it may need."""

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from protocol.limits import Limit
from protocol.records import Body

Req = TypeVar("Req", bound=Body)
Res = TypeVar("Res", bound=Body)


class Permission(Enum):
    """A right that an access token grants, as the plan names them."""

    READ_MEMORIES = "read:memories"
    WRITE_MEMORIES = "write:memories"
    DELETE_MEMORIES = "delete:memories"
    MANAGE_USERS = "manage:users"
    ACCESS_AI = "access:ai"
    SYNC_WHATSAPP = "sync:whatsapp"


@dataclass(frozen=True, slots=True)
class Operation(Generic[Req, Res]):
    """One request and its one reply. `permission` None: any signed-in account may call it.
    `limit` is what a call counts against besides SOCKET, which all of them do. One that `creates`
    takes an `id` that the client may make: repeated, it finds what it has made before."""

    name: str
    request: type[Req]
    response: type[Res]
    permission: Permission | None
    summary: str
    limit: Limit = Limit.SOCKET
    creates: bool = False
