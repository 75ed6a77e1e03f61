"""The trash: deleting, restoring and purging memories, and purging what has been there long enough.

The sweep runs on every node. What one node purges another passes by.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from protocol.memories import Memory, OneMemory
from protocol.records import timestamp
from protocol.trash import Fate, PurgedMemory, PurgeMemory, RestoreMemory
from sync.feed import Notices
from sync.hub import Hub
from sync.interfaces import Caller, Observer
from sync.projection import Projector
from sync.tasks import Tasks

SWEEP_SECONDS = 3600.0
SWEEP_LIMIT = 1000  # memories of one sweep,
FORGET_LIMIT = 5000  # and tombstones of one statement


class TrashStore(Protocol):
    """The rows of memories that are in the trash, or are to be."""

    async def delete(self, account_id: UUID, ids: Sequence[UUID]) -> list[Fate]: ...

    async def restore(self, account_id: UUID, ids: Sequence[UUID]) -> list[Fate]: ...

    async def purge(self, account_id: UUID, ids: Sequence[UUID]) -> list[Fate]: ...

    async def expired(self, older_than_seconds: float, limit: int) -> Sequence[UUID]: ...

    async def purge_expired(
        self, memory_id: UUID, older_than_seconds: float
    ) -> Sequence[UUID] | None: ...


class MemoryReader(Protocol):
    """One memory as an account sees it."""

    async def get(self, memory_id: UUID, account_id: UUID) -> Memory: ...


class Tombstones(Protocol):
    """What tells devices that something is gone."""

    async def forget(self, older_than_seconds: float, limit: int) -> int: ...


class Trash:
    """Binds `memories.restore` and `memories.purge`. `start` it once.

    `retention_seconds` is how long memories stay in the trash, `tombstone_seconds` how long a
    device may be away and still learn what is gone.
    """

    def __init__(
        self,
        store: TrashStore,
        memories: MemoryReader,
        hub: Hub,
        projector: Projector,
        notices: Notices,
        *,
        tombstones: Tombstones,
        observer: Observer,
        tasks: Tasks,
        retention_seconds: float,
        tombstone_seconds: float,
    ) -> None:
        self._store = store
        self._memories = memories
        self._tombstones = tombstones
        self._hub = hub
        self._projector = projector
        self._notices = notices
        self._observer = observer
        self._tasks = tasks
        self._retention = retention_seconds
        self._tombstone_seconds = tombstone_seconds

    def start(self) -> None:
        self._tasks.start(self._run())

    async def restore(self, caller: Caller, request: RestoreMemory) -> OneMemory:
        """Raises:
        MemoError: `not_found`, `forbidden`; `gone` when it has been purged.
        """
        account_id = caller.author.account_id
        [fate] = await self.restore_each(account_id, [request.id])
        if fate.error is not None:
            raise fate.error
        return OneMemory(memory=await self._memories.get(request.id, account_id))

    async def purge(self, caller: Caller, request: PurgeMemory) -> PurgedMemory:
        """Raises:
        MemoError: `not_found`, `forbidden`; `conflict` when it is not in the trash.
        """
        [fate] = await self.purge_each(caller.author.account_id, [request.id])
        if fate.error is not None:
            raise fate.error
        assert fate.moment is not None  # it is purged
        return PurgedMemory(id=request.id, purged_at=timestamp(fate.moment))

    async def delete_each(self, account_id: UUID, ids: Sequence[UUID]) -> list[Fate]:
        """Delete memories, and tell whom it concerns."""
        fates = await self._store.delete(account_id, ids)
        for fate in fates:
            if fate.error is None:
                # At a repeat as well: the first word may have been lost.
                self._hub.announce_deleted(fate.id)
        self._tell(fates)
        return fates

    async def restore_each(self, account_id: UUID, ids: Sequence[UUID]) -> list[Fate]:
        """Restore memories, and tell whom it concerns."""
        fates = await self._store.restore(account_id, ids)
        for fate in fates:
            if fate.behind:
                self._projector.mark(fate.id, delay=0)
        self._tell(fates)
        return fates

    async def purge_each(self, account_id: UUID, ids: Sequence[UUID]) -> list[Fate]:
        """Purge memories, and tell whom it concerns."""
        fates = await self._store.purge(account_id, ids)
        self._tell(fates)
        self._observer.purged(sum(1 for fate in fates if fate.followers))
        return fates

    def _tell(self, fates: Sequence[Fate]) -> None:
        changed = [fate for fate in fates if fate.followers]
        if len(changed) == 1:
            self._notices.feed_changed(changed[0].followers, changed[0].id)
        else:
            # Each account once: what has changed, its feed tells.
            self._notices.feed_changed({who for fate in changed for who in fate.followers})

    async def sweep(self) -> None:
        """Purge what has been in the trash long enough, and forget what was gone long ago. One
        memory that cannot be purged costs the others nothing; the next sweep finds it again."""
        for memory_id in await self._store.expired(self._retention, SWEEP_LIMIT):
            try:
                followers = await self._store.purge_expired(memory_id, self._retention)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is this one's alone)
                self._observer.failed("purge", memory_id, error)
                continue
            if followers is not None:
                self._observer.purged(1)
                self._notices.feed_changed(followers, memory_id)
        while await self._tombstones.forget(self._tombstone_seconds, FORGET_LIMIT) >= FORGET_LIMIT:
            pass

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 (the next sweep finds the same)
                self._observer.failed("trash sweep", None, error)
            await asyncio.sleep(SWEEP_SECONDS)
