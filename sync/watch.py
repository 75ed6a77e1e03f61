"""The watch: finds what no announcement told, by looking at the database.

While announcements flow that is a rare last message that was lost; while they do not it is all
that the nodes learn of each other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from protocol.errors import MemoError
from sync.hub import Hub
from sync.interfaces import Broker, Log, Observer

IDLE_SECONDS = 10.0  # between two looks while announcements flow
DOWN_SECONDS = 1.0  # and while they do not
BATCH = 1000  # documents asked for at once

Check = Callable[[bool], Awaitable[None]]  # told whether messages may have been missed


class Watch:
    """`run` it as one task. `checks` look for whatever else the broker carries."""

    def __init__(
        self,
        hub: Hub,
        log: Log,
        broker: Broker,
        observer: Observer,
        checks: Sequence[Check] = (),
        *,
        idle_seconds: float = IDLE_SECONDS,
        down_seconds: float = DOWN_SECONDS,
    ) -> None:
        self._hub = hub
        self._log = log
        self._broker = broker
        self._observer = observer
        self._checks = checks
        self._idle_seconds = idle_seconds
        self._down_seconds = down_seconds
        self._missed = asyncio.Event()
        broker.on_missed(self._missed.set)

    async def run(self) -> None:
        """Look for ever; on a node that is the only one, never."""
        if not self._broker.shared:
            return
        while True:
            try:
                async with asyncio.timeout(
                    self._idle_seconds if self._broker.up else self._down_seconds
                ):
                    await self._missed.wait()
            except TimeoutError:
                missed = not self._broker.up
            else:
                missed = True
            self._missed.clear()
            await self._look(missed)

    async def _look(self, missed: bool) -> None:
        try:
            await self._look_at_rooms()
            for check in self._checks:
                await check(missed)
        except Exception as error:  # noqa: BLE001 (the next look finds the same)
            if not (isinstance(error, MemoError) and error.code.temporary):
                self._observer.failed("watch", None, error)

    async def _look_at_rooms(self) -> None:
        documents = iter(tuple(self._hub.rooms))
        while batch := list(islice(documents, BATCH)):
            heads = await self._log.heads(batch)
            for document_id in batch:
                self._hub.know(document_id, heads.get(document_id))
