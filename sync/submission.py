"""An update on its way into the log."""

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from protocol.log import Author, Entry, Projection
from sync.state import Placed, State
from sync.update import Update

if TYPE_CHECKING:
    from sync.subscription import Subscription


class Judgement:
    """What a worker found of a large update against a copy of `state`, whose clocks stood at
    `clocks` for the update's clients."""

    __slots__ = ("_clocks", "_state", "placed")

    def __init__(self, state: State, clocks: dict[int, int], placed: Placed) -> None:
        self.placed = placed
        self._state = state
        self._clocks = clocks

    def holds(self, state: State) -> bool:
        """Whether it still says the truth about `state`."""
        return state is self._state and all(
            state.clocks.get(client, 0) == clock for client, clock in self._clocks.items()
        )


class Submission:
    """One update between its arrival and its outcome.

    It comes from a `subscription`, or from the server itself, which then waits on `done` for the
    offset. `entry` is what is to be committed: None once the update is known to bring nothing.
    """

    __slots__ = (
        "author",
        "base",
        "client_seq",
        "deadline",
        "done",
        "entry",
        "judgement",
        "payload",
        "projection",
        "subscription",
        "update",
    )

    def __init__(
        self,
        author: Author,
        payload: bytes,
        update: Update,
        *,
        subscription: "Subscription | None" = None,
        client_seq: int = 0,
        done: "asyncio.Future[int] | None" = None,
        projection: Projection | None = None,
        base: int = 0,
        judgement: Judgement | None = None,
    ) -> None:
        self.author = author
        self.payload = payload
        self.update = update
        self.subscription = subscription
        self.client_seq = client_seq
        self.done = done
        self.projection = projection
        self.base = base
        self.judgement = judgement
        self.entry: Entry | None = None
        self.deadline = 0.0

    @property
    def owner(self) -> UUID | None:
        """Whose the Yjs client ids are that it uses first (None: the server's)."""
        if self.done is None or self.author.commenting:
            return self.author.account_id
        return None

    def make_entry(self, document_id: UUID, claims: tuple[tuple[int, UUID | None], ...]) -> None:
        self.entry = Entry(
            document_id, self.author, self.payload, claims, self.projection, self.base
        )


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A committed update to be shown to a room: one of this node has its `submission`, another
    node's has what was read of it, as `update`."""

    payload: bytes
    submission: Submission | None = None
    update: Update | None = None
