"""The end of a document's log, as a node shows it: in order, each update once, without a hole.

Runs of committed updates come from this node's committer, from the announcements of other nodes
and from the log. A run that is not the next in line waits for those before it. They may be on
their way: a gap is read from the log when it has stayed open for `GAP_SECONDS`.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from sync import announcement
from sync.announcement import Commit
from sync.interfaces import Log, Observer
from sync.submission import Delivery, Submission
from sync.tasks import Tasks
from sync.update import MalformedUpdate, Update, scan

GAP_SECONDS = 0.02
RETRY_SECONDS = 1.0  # after the log could not be read
MAX_EARLY_BYTES = 1 << 20  # of other nodes' updates that wait; the log has what is dropped

# Committed updates that follow each other: the first one's offset, and all of them.
Run = tuple[int, Sequence[Delivery]]


class Following(Protocol):
    """The room, as its tail sees it."""

    document_id: UUID

    @property
    def committing(self) -> bool:
        """Whether updates of this node are under way that the log may already have."""

    async def scan(self, payload: bytes) -> Update:
        """Read an update of the log."""

    def integrate(self, update: Update) -> None:
        """Count an update of another node as known."""

    def show(self, first: int, deliveries: Sequence[Delivery]) -> None:
        """Show the next of the log to everyone who is here."""

    def passed(self, offset: int, submission: Submission) -> None:
        """An update of this node was shown as if it were another's: answer its sender."""

    def go_on(self) -> None:
        """What waited for a gap may go on."""

    def skip(self) -> None:
        """Rows that were not shown are trimmed: only an opening brings them."""


class Tail:
    """Everything up to `head` has been shown."""

    def __init__(
        self,
        room: Following,
        epoch: str,
        head: int,
        *,
        log: Log,
        observer: Observer,
        tasks: Tasks,
    ) -> None:
        self.head = head
        self.announce: Callable[[bytes], None] | None = None  # to other nodes, if there are any
        self.overdue = False  # a gap waits for a commit to land: no other goes before it is read
        self._room = room
        self._epoch = epoch
        self._log = log
        self._observer = observer
        self._tasks = tasks
        self._early: list[Run] = []  # by offset
        self._early_bytes = 0
        self._known = head  # the log has as much, and perhaps more
        self._reading = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._gap_since: float | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is known of that has not been shown."""
        return not self._early and self._known <= self.head

    def landed(self, first: int, deliveries: Sequence[Delivery]) -> None:
        """This node committed updates. Call `advance` when all of a commit are here."""
        if self.announce is not None:
            payloads = [delivery.payload for delivery in deliveries]
            small = sum(map(len, payloads)) <= announcement.MAX_BYTES
            last = first + len(deliveries) - 1
            self.announce(
                announcement.encode(Commit(self._epoch, first - 1, last, payloads if small else []))
            )
        self._line_up((first, deliveries))

    def announce_head(self) -> None:
        """Tell the other nodes how far the log reaches, after a commit of unknown outcome."""
        if self.announce is not None and self.head:
            commit = Commit(self._epoch, self.head - 1, self.head, [])
            self.announce(announcement.encode(commit))

    def heard(self, commit: Commit) -> None:
        """Another node committed updates."""
        if commit.epoch != self._epoch or commit.offset <= self.head:
            self._observer.heard("duplicate")
            return
        self._observer.heard("next" if commit.previous == self.head else "early")
        self._known = max(self._known, commit.offset)
        size = sum(map(len, commit.updates))
        if self._early_bytes + size <= MAX_EARLY_BYTES:
            deliveries = _read_deliveries(commit)
            if deliveries:
                self._early_bytes += size
                self._line_up((commit.previous + 1, deliveries))
        self.advance()

    def know(self, head: int) -> None:
        """The log is said to reach up to `head`."""
        if head > self.head:
            self._known = max(self._known, head)
            self.advance()

    def advance(self) -> None:
        """Show what is next in line."""
        while self._early and self._early[0][0] <= self.head + 1:
            first, deliveries = self._early.pop(0)
            if deliveries[0].submission is None:
                self._early_bytes -= sum(len(delivery.payload) for delivery in deliveries)
            behind = self.head + 1 - first
            for offset, delivery in enumerate(deliveries[:behind], first):
                if delivery.submission is not None:
                    self._room.passed(offset, delivery.submission)
            if deliveries[behind:]:
                self._show(deliveries[behind:])
        if self.complete:
            waited = self.overdue or self._gap_since is not None
            self.overdue = False
            self._gap_since = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if waited:
                self._room.go_on()
        elif self._timer is None and not self._reading.locked() and not self._room.committing:
            self._gap_since = self._gap_since or time.perf_counter()
            # What is announced without its bytes has to be read anyway.
            self._read_in(GAP_SECONDS if self._early and not self.overdue else 0)

    async def reach(self, offset: int) -> None:
        """Show everything up to `offset`, which the log has.

        Raises:
            MemoError: `unavailable`.
        """
        self._known = max(self._known, offset)
        async with self._reading:
            while self.head < offset:
                await self._read(min(offset, self._early[0][0] - 1 if self._early else offset))
                self.advance()

    def stop(self) -> None:
        """The room ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _line_up(self, run: Run) -> None:
        at = len(self._early)
        while at and self._early[at - 1][0] > run[0]:
            at -= 1
        self._early.insert(at, run)

    def _show(self, deliveries: Sequence[Delivery]) -> None:
        first = self.head + 1
        self.head += len(deliveries)
        self._room.show(first, deliveries)

    def _read_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin_reading)

    def _begin_reading(self) -> None:
        self._timer = None
        if self.complete or self._reading.locked():
            return
        if self._room.committing:
            self.overdue = True
        else:
            self._tasks.start(self._repair())

    async def _repair(self) -> None:
        """Read what is missing. While updates of this node are under way its rows may hold them,
        and not tell whose they are: then it is done once they have landed."""
        since = self._gap_since
        try:
            async with self._reading:
                while not (self.complete or self._room.committing):
                    await self._read(self._early[0][0] - 1 if self._early else self._known)
                    self.advance()
        except Exception as error:  # noqa: BLE001 (whatever it is, acks wait behind the gap)
            self._observer.failed("repair", self._room.document_id, error)
            if self._timer is None and not self.complete:
                self._read_in(RETRY_SECONDS)
            # Commits go on while the log cannot be read.
            self.overdue = False
            self._room.go_on()
            return
        if self.complete and since is not None:
            self._observer.repaired(time.perf_counter() - since)
        self.advance()

    async def _read(self, up_to: int) -> None:
        """Show the next rows of the log, none behind `up_to`."""
        after = self.head
        rows = await self._log.read(self._room.document_id, after, up_to=up_to)
        if rows and rows[0][0] == after + 1:
            deliveries = [
                Delivery(payload, update=await self._room.scan(payload)) for _, payload in rows
            ]
            # Some may have been announced meanwhile.
            deliveries = deliveries[self.head - after :]
            if deliveries:
                self._show(deliveries)
        elif self.head == after and not self._room.committing:  # else once that has landed
            self.head = up_to
            self._room.skip()


def _read_deliveries(commit: Commit) -> list[Delivery]:
    """The updates of an announcement; none if they are not what they are said to be."""
    if len(commit.updates) != commit.offset - commit.previous:
        return []
    try:
        return [Delivery(payload, update=scan(payload)) for payload in commit.updates]
    except MalformedUpdate:
        return []
