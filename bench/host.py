"""A server under load, whichever it is."""

from typing import NamedTuple, Protocol
from uuid import UUID

from bench.loads import WireName

OUR_WIRES: tuple[WireName, ...] = ("/ws", "/yjs")


class Host(Protocol):
    """A running server: its process, and its port on this machine."""

    @property
    def pid(self) -> int: ...

    @property
    def port(self) -> int: ...

    def sign_up(self) -> str:
        """The access token of a new account; empty where there are none."""

    async def create_memories(self, count: int, token: str) -> list[UUID]:
        """The ids of empty documents that the account may write."""


class Contestant(NamedTuple):
    """A host, and how it is spoken to."""

    name: str
    wire: WireName
    host: Host
