"""The node's one committer: group commit without timers.

While one transaction is under way, what arrives gathers; the next takes all of it, of all
rooms. So the busier the node, the more updates share a commit, and an idle one commits at once.

What could hold the others up goes alone, beside the common transaction: a room with much to
write, or one whose rows are written along. A document locked elsewhere answers `locked` and
tries again a little later; an update that the database refuses refuses only itself.
"""

import asyncio
import time
from collections.abc import Sequence

from protocol.errors import MemoError
from protocol.log import Committed, Entry, Outcome
from sync.interfaces import Log, Observer
from sync.room import Room
from sync.submission import Submission
from sync.tasks import Tasks

MAX_UPDATES = 2000  # of one transaction
ALONE_BYTES = 128 * 1024  # a room with more than this commits by itself
MAX_ALONE = 4  # such commits at once
_FIRST_RETRY, _LAST_RETRY = 0.002, 0.1  # seconds between tries at a locked document


class Committer:
    """`wake` it with a room whose queue has something; `run` it as one task."""

    def __init__(self, log: Log, observer: Observer, tasks: Tasks) -> None:
        self._log = log
        self._observer = observer
        self._tasks = tasks
        self._ready: dict[Room, None] = {}
        self._retries: dict[Room, float] = {}
        self._wakened = asyncio.Event()
        self._alone = asyncio.Semaphore(MAX_ALONE)
        self._under_way = 0
        self._settled = asyncio.Event()

    def wake(self, room: Room) -> None:
        """The room's queue has something to commit."""
        self._ready[room] = None
        self._wakened.set()

    async def run(self) -> None:
        """Commit for ever."""
        while True:
            await self._wakened.wait()
            self._wakened.clear()
            while self._ready:
                together = self._gather()
                if together:
                    await self._commit(together)
            self._settled.set()

    async def flush(self) -> None:
        """Wait until everything taken so far is committed or refused."""
        while self._ready or self._under_way or self._retries:
            self._settled.clear()
            await self._settled.wait()

    def _gather(self) -> list[tuple[Room, Sequence[Submission]]]:
        """The queues of the rooms that are ready; those that go alone are sent on their way."""
        together: list[tuple[Room, Sequence[Submission]]] = []
        count = 0
        while self._ready and count < MAX_UPDATES:
            room = next(iter(self._ready))
            del self._ready[room]
            taken = room.take()
            if not taken:
                self._retries.pop(room, None)
                continue
            self._under_way += 1
            if _goes_alone(taken):
                self._tasks.start(self._commit_alone(room, taken))
            else:
                together.append((room, taken))
                count += len(taken)
        return together

    async def _commit_alone(self, room: Room, taken: Sequence[Submission]) -> None:
        async with self._alone:
            await self._commit([(room, taken)])

    async def _commit(self, batch: Sequence[tuple[Room, Sequence[Submission]]]) -> None:
        entries = [
            submission.entry
            for _, taken in batch
            for submission in taken
            if submission.entry is not None
        ]
        started = time.perf_counter()
        try:
            outcomes = await self._log.commit(entries) if entries else []
        except MemoError as error:
            self._observer.failed("commit", None, error)
            for room, _ in batch:
                self._retries.pop(room, None)
                self._end()
                room.recover()
            return
        except Exception as error:  # noqa: BLE001 (the database's word on one of the updates)
            await self._commit_apart(batch, error)
            return
        if entries:
            self._observer.committed(len(entries), time.perf_counter() - started)
        at = 0
        for room, taken in batch:
            count = sum(1 for submission in taken if submission.entry is not None)
            self._settle(room, outcomes[at : at + count])
            at += count

    async def _commit_apart(
        self, batch: Sequence[tuple[Room, Sequence[Submission]]], error: Exception
    ) -> None:
        """The database refused a transaction: find the update that it cannot bear."""
        if len(batch) > 1:
            for room, taken in batch:
                await self._commit([(room, taken)])
            return
        [(room, taken)] = batch
        self._observer.failed("commit", room.document_id, error)
        outcomes: list[Committed] = []
        for submission in taken:
            if submission.entry is not None:
                outcomes.append(
                    await self._commit_one(submission.entry)
                    if all(outcome.offset is not None for outcome in outcomes)
                    else Committed(Outcome.AGAIN)
                )
        self._settle(room, outcomes)

    async def _commit_one(self, entry: Entry) -> Committed:
        try:
            [outcome] = await self._log.commit([entry])
        except MemoError:
            return Committed(Outcome.AGAIN)
        except Exception as error:  # noqa: BLE001 (the database's word on this update)
            self._observer.failed("commit", entry.document_id, error)
            return Committed(Outcome.FAILED)
        return outcome

    def _settle(self, room: Room, outcomes: Sequence[Committed]) -> None:
        if outcomes and all(outcome.outcome is Outcome.LOCKED for outcome in outcomes):
            delay = self._retries.get(room, _FIRST_RETRY)
            self._retries[room] = min(delay * 2, _LAST_RETRY)
            room.put_back()
            self._end()
            asyncio.get_running_loop().call_later(delay, self.wake, room)
            return
        self._retries.pop(room, None)
        self._end()
        try:
            room.settle(outcomes)
        except Exception as error:  # noqa: BLE001 (one room's failure must not end the committer)
            self._observer.failed("delivery", room.document_id, error)
            room.recover()

    def _end(self) -> None:
        self._under_way -= 1
        self._settled.set()


def _goes_alone(taken: Sequence[Submission]) -> bool:
    return any(submission.projection is not None for submission in taken) or (
        sum(len(submission.payload) for submission in taken) > ALONE_BYTES
    )
