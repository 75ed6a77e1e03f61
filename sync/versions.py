"""Versions that the server makes by itself, and how they get fewer with age.

A document that was edited gets a version when editing rests, or after ten minutes of it, and no
more than one in ten minutes; of a large document fewer. It is made in a worker process from what
the log holds, by whichever node sees the edits; the store takes one. After a crash, and now and
then, the documents whose edits no version holds are found in the database.

All versions of a day are kept, then the last of each hour for a week, of each day for a month, of
each week until the retention is over. The newest stays, and so does what has a name.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid4

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from protocol.versions import Draft, Folded, MadeKind, Newest, Stamp
from sync.interfaces import Log, Observer
from sync.revision import fold
from sync.room import Room
from sync.tasks import Tasks
from sync.worker import WorkerPool

REST_SECONDS = 60.0  # without an edit: editing rests
APART_SECONDS = 600.0  # between two versions of one document,
APART_BYTES = 4096  # or a second for so many bytes of it, if that is more
LOOK_SECONDS = 15.0
SWEEP_SECONDS = 3600.0
SWEEP_LIMIT = 500
MAX_TRIES = 3  # at a version whose base was removed while it was made
MAX_MARKS = 20_000  # documents edited on this node whose version is due; a sweep finds the others

DAY = 86400.0
# Older than so many seconds, one version of each period is enough.
AGES: tuple[tuple[float, Callable[[datetime], object]], ...] = (
    (30 * DAY, lambda moment: moment.isocalendar()[:2]),
    (7 * DAY, lambda moment: moment.date()),
    (DAY, lambda moment: (moment.date(), moment.hour)),
)
_FIRST = UUID(int=0)


class VersionStore(Protocol):
    """The stored versions."""

    async def newest(self, document_id: UUID) -> Newest | None: ...

    async def add(self, document_id: UUID, draft: Draft, folded: Folded) -> bool: ...

    async def last_rest(self, document_id: UUID, after: int, pause: float) -> int | None: ...

    async def unversioned(self, rested: float, after: UUID, limit: int) -> Sequence[UUID]: ...

    async def aging(self, retention: float, after: UUID, limit: int) -> Sequence[UUID]: ...

    async def stamps(self, document_id: UUID) -> list[Stamp]: ...

    async def remove(self, document_id: UUID, versions: Sequence[UUID], *, named: bool) -> None: ...

    async def reviewed(self, document_id: UUID, ages: Sequence[float]) -> None: ...


class _Mark:
    """Edits of a document that no version holds: when the first and the last came, and the
    earliest time at which to look again."""

    __slots__ = ("first", "last", "not_before")

    def __init__(self, now: float) -> None:
        self.first = now
        self.last = now
        self.not_before = 0.0


class Versions:
    """`start` it once; `committed` marks a room's document, `let_go` says that nobody is in it.

    `retention_seconds` is how long a version without a name is kept, `clock` tells seconds.
    """

    def __init__(
        self,
        log: Log,
        store: VersionStore,
        workers: WorkerPool,
        *,
        observer: Observer,
        tasks: Tasks,
        retention_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._store = store
        self._workers = workers
        self._observer = observer
        self._tasks = tasks
        self._retention = retention_seconds
        self._clock = clock
        self._marks: dict[UUID, _Mark] = {}
        self._turn = asyncio.Lock()  # one document at a time: nobody waits for a version

    def start(self) -> None:
        self._tasks.start(self._look_again_and_again())
        self._tasks.start(self._sweep_again_and_again())

    def committed(self, room: Room) -> None:
        """The room's document has news. Called for every commit: it only takes note."""
        mark = self._marks.get(room.document_id)
        if mark is not None:
            mark.last = self._clock()
        elif len(self._marks) < MAX_MARKS:
            self._marks[room.document_id] = _Mark(self._clock())

    def let_go(self, room: Room) -> None:
        """Nobody is in the room any more: editing rests."""
        mark = self._marks.get(room.document_id)
        if mark is not None:
            mark.last = mark.first - REST_SECONDS

    async def look(self) -> None:
        """Make the versions that are due."""
        now = self._clock()
        due = [
            document_id
            for document_id, mark in self._marks.items()
            if now >= mark.not_before
            and (now - mark.last >= REST_SECONDS or now - mark.first >= APART_SECONDS)
        ]
        for document_id in due:
            mark = self._marks.pop(document_id)
            try:
                async with self._turn:
                    wait = await self._make_due(document_id)
            except Exception as error:  # noqa: BLE001 (the next sweep finds it again)
                self._observer.failed("version", document_id, error)
                continue
            if wait and document_id not in self._marks and len(self._marks) < MAX_MARKS:
                mark.not_before = now + wait
                self._marks[document_id] = mark

    async def make(
        self,
        document_id: UUID,
        *,
        kind: MadeKind,
        id: UUID | None = None,  # noqa: A002
        name: str | None = None,
        author: Author | None = None,
        apart: float = 0.0,
        up_to: int | None = None,
    ) -> bool:
        """Make a version of the document as of now, or as of the offset `up_to` if the log still
        tells. Returns whether it was stored: an automatic one is not if there is one as new, or one
        made less than `apart` seconds ago.

        Raises:
            MemoError: `too_large`, when too many have names; `busy`, `timeout`, `unavailable`.
        """
        for _ in range(MAX_TRIES):
            newest = await self._store.newest(document_id)
            snapshot, rows = await self._log.content(document_id, 0)
            if up_to is not None:
                if snapshot is not None and snapshot.offset > up_to:
                    return False
                rows = [row for row in rows if row[0] <= up_to]
            updates = [payload for _, payload in rows]
            offset = rows[-1][0] if rows else snapshot.offset if snapshot else 0
            folded = await self._workers.run(
                fold,
                updates if snapshot is None else [snapshot.payload, *updates],
                newest.base if newest else None,
            )
            draft = Draft(
                id=id or uuid4(),
                offset=offset,
                kind=kind,
                name=name,
                created_by=author.account_id if author else None,
                apart=apart,
                review=AGES[-1][0],
            )
            stored = await self._store.add(document_id, draft, folded)
            if stored:
                self._observer.versioned(document_id, kind, len(folded.payload))
            if stored or kind == "auto":
                return stored
            # The base was removed meanwhile: there is another one now, or none.
        raise MemoError(ErrorCode.BUSY, "the memory's versions are being removed", retry_after=1)

    async def _make_due(self, document_id: UUID) -> float:
        """Make an automatic version unless it is too early. Returns how many seconds it is."""
        newest = await self._store.newest(document_id)
        if newest is None or newest.deleted or newest.head <= newest.offset:
            return 0.0
        apart = apart_seconds(newest.size)
        if newest.age is not None and newest.age < apart:
            return apart - newest.age
        # What it was before this editing began, if that was missed: a memory as it was made.
        rest = await self._store.last_rest(document_id, newest.offset, APART_SECONDS)
        if rest is not None and await self.make(document_id, kind="auto", up_to=rest, apart=apart):
            apart = 0.0
        await self.make(document_id, kind="auto", apart=apart)
        return 0.0

    async def thin(self, document_id: UUID) -> None:
        """Remove the document's versions that are too many by now."""
        superfluous = too_many(
            await self._store.stamps(document_id), datetime.now(UTC), self._retention
        )
        if superfluous:
            await self._store.remove(document_id, superfluous, named=False)
        await self._store.reviewed(document_id, [age for age, _ in AGES])

    async def remove(self, document_id: UUID, version_id: UUID) -> None:
        """Remove a version, whatever its name, if it is there."""
        await self._store.remove(document_id, [version_id], named=True)

    async def sweep(self) -> None:
        """Make what versions were missed, and remove those that are too many."""

        async def unversioned(after: UUID) -> Sequence[UUID]:
            return await self._store.unversioned(REST_SECONDS, after, SWEEP_LIMIT)

        async def aging(after: UUID) -> Sequence[UUID]:
            return await self._store.aging(self._retention, after, SWEEP_LIMIT)

        await self._each("version", unversioned, self._make_due)
        await self._each("thinning", aging, self.thin)

    async def _each(
        self,
        what: str,
        find: Callable[[UUID], Awaitable[Sequence[UUID]]],
        work: Callable[[UUID], Awaitable[object]],
    ) -> None:
        """Do the work for each document found, a page of them at a time. One that fails costs the
        others nothing, and the next sweep finds it again."""
        # From anywhere first: nodes that start together should not all be at the same documents.
        for after in (uuid4(), _FIRST):
            found: Sequence[UUID] = [after]
            while found:
                try:
                    found = await find(found[-1])
                except Exception as error:  # noqa: BLE001 (the next sweep asks again)
                    self._observer.failed(what, None, error)
                    return
                for document_id in found:
                    await self._turn_of(what, document_id, work)

    async def _turn_of(
        self, what: str, document_id: UUID, work: Callable[[UUID], Awaitable[object]]
    ) -> None:
        try:
            async with self._turn:
                await work(document_id)
        except Exception as error:  # noqa: BLE001
            self._observer.failed(what, document_id, error)

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def _sweep_again_and_again(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_SECONDS)


def apart_seconds(size: int) -> float:
    """The least time between two automatic versions of a document of so many bytes."""
    return max(APART_SECONDS, size / APART_BYTES)


def too_many(stamps: Sequence[Stamp], now: datetime, retention: float) -> list[UUID]:
    """Of a document's versions, oldest first, those that are to go by `now`. Those that were made
    before a restore, and undo it, take no other's place and lose theirs to none."""
    superfluous = []
    filled: set[object] = set()
    for stamp in reversed(stamps[:-1] if stamps else ()):
        if stamp.named:
            continue
        age = (now - stamp.created_at) / timedelta(seconds=1)
        if age > retention:
            superfluous.append(stamp.id)
            continue
        for least, period_of in AGES:
            if age > least:
                period = least, period_of(stamp.changed_at), stamp.kind == "restore"
                if period in filled:
                    superfluous.append(stamp.id)
                filled.add(period)
                break
    return superfluous
