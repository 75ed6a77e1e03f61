"""Access: what open channels may do, kept as the memberships say.

A change is announced to all nodes without saying what it is: each asks for the roles of those who
have the document open here. So announcements that come late or out of order do no harm; one that
is lost is found by the watch, and one whose question fails is asked again.
"""

import asyncio
from collections.abc import Iterable
from itertools import islice
from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from sync.hub import Hub
from sync.interfaces import Broker, Log, Observer

BATCH = 1000  # roles asked for at once
RETRY_SECONDS = 1.0  # after the roles could not be read
_TOPIC = "access"


class Access:
    """`run` it as one task. `changed` tells every node that roles in a memory have changed."""

    def __init__(self, hub: Hub, log: Log, broker: Broker, observer: Observer) -> None:
        self._hub = hub
        self._log = log
        self._broker = broker
        self._observer = observer
        self._due: set[UUID] = set()
        self._wakened = asyncio.Event()
        self._reviewing = asyncio.Lock()  # else an older answer could come behind a newer one
        self._stop_hearing = broker.subscribe(_TOPIC, self._heard)

    def changed(self, memory_id: UUID) -> None:
        """Roles in the memory, or how far it is shared, have changed."""
        self._broker.publish(_TOPIC, memory_id.bytes)

    def stop(self) -> None:
        """Hear of no more changes."""
        self._stop_hearing()

    async def run(self) -> None:
        """Take in what is announced, for ever."""
        while True:
            await self._wakened.wait()
            self._wakened.clear()
            due, self._due = self._due, set()
            try:
                await self._review(due)
            except Exception as error:  # noqa: BLE001 (a right that has ended is not to live on)
                self._observer.failed("access", None, error)
                self._due |= due
                await asyncio.sleep(RETRY_SECONDS)
                self._wakened.set()

    async def check(self, missed: bool) -> None:  # noqa: ARG002
        """Look at every open channel: a change may not have been heard of."""
        await self._review(tuple(self._hub.rooms))

    def _heard(self, message: bytes) -> None:
        memory_id = UUID(bytes=message)
        self._hub.doubt_roles()
        if memory_id in self._hub.rooms:
            self._due.add(memory_id)
            self._wakened.set()

    async def _review(self, memory_ids: Iterable[UUID]) -> None:
        async with self._reviewing:
            rooms = (room for each in memory_ids if (room := self._hub.rooms.get(each)))
            open_here = iter([each for room in rooms for each in room.subscriptions])
            while batch := list(islice(open_here, BATCH)):
                pairs = {(s.room.document_id, s.subscriber.author.account_id): None for s in batch}
                roles = dict(zip(pairs, await self._log.roles(list(pairs)), strict=True))
                for each in batch:
                    role = roles[each.room.document_id, each.subscriber.author.account_id]
                    if role is not None:
                        each.grant(role)
                    else:
                        each.lose(
                            MemoError(ErrorCode.FORBIDDEN, "you may no longer read this memory")
                        )
