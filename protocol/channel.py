"""One document's place in its log, and its edits on their way there. No I/O.

Offsets of a log are gapless. A device is not pushed its own updates, so the answer to
`documents.open`, the pushes and the acks together cover every offset; the position is how far
they do so without a hole. A channel outlives connections:

    DETACHED --opening()--> OPENING --opened()--> LIVE --refused()--> STALE --opening()--> OPENING
    any --detached()--> DETACHED            any --close()--> CLOSED
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from uuid import UUID

import msgspec

from protocol.documents import OpenDocument, OpenedDocument
from protocol.errors import ErrorCode, MemoError
from protocol.frames import Ack, Push, Update
from protocol.session import Backoff

MAX_FLIGHTS = 32
MAX_WAITING = 64
MAX_AHEAD = 4096
MERGE_BYTES = 256 * 1024


class Phase(Enum):
    """Where a channel stands on the present connection."""

    DETACHED = "detached"
    OPENING = "opening"
    LIVE = "live"
    STALE = "stale"  # has to be opened again before the server takes another update
    CLOSED = "closed"


class Edit(msgspec.Struct, frozen=True, gc=False):
    """A local update. `ids` are those the offline store gave to what is merged in it."""

    ids: range
    update: bytes


class Channel:
    """The state of one document's log and of its unacked edits.

    `merge` makes one update of several. Without it there is no replica either: every edit
    travels alone, and the whole state cannot be sent. `error` is why
    edits are no longer sent, if so.
    """

    def __init__(
        self,
        memory_id: UUID,
        *,
        epoch: str | None = None,
        offset: int = 0,
        edits: Iterable[Edit] = (),
        merge: Callable[..., bytes] | None = None,
    ) -> None:
        self.memory_id = memory_id
        self.phase = Phase.DETACHED
        self.number: int | None = None
        self.epoch = epoch
        self.offset = offset
        self.can_write = True
        self.error: MemoError | None = None
        self._merge = merge
        self._ahead: set[int] = set()
        self._asked = OpenDocument(memory_id=memory_id)
        self._waiting = list(edits)
        self._flights: dict[int, Edit] = {}
        self._last_seq = 0
        self._openings = 0
        self._unopened = False
        self._whole_due = False
        self._whole_sent = False
        self._backoff = Backoff()

    @property
    def unacked(self) -> int:
        """How many updates the server has not acked: in flight and waiting."""
        return len(self._flights) + len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._waiting

    @property
    def awaited(self) -> int | None:
        """A number that stays the same for as long as the server owes one and the same answer;
        None while it owes none."""
        if self.phase is Phase.OPENING:
            return -self._openings
        return next(iter(self._flights), None)

    def opening(self) -> OpenDocument:
        """The request that opens the document from this position."""
        self._expect(Phase.DETACHED, Phase.STALE)
        self.phase = Phase.OPENING
        self._openings += 1
        if self._unopened:
            self.error = None
            self._unopened = False
        self._asked = OpenDocument(memory_id=self.memory_id, epoch=self.epoch, offset=self.offset)
        return self._asked

    def opened(self, answer: OpenedDocument) -> bool:
        """The server's answer. True: the whole state has to be sent (see `supersede`), because
        the log is not the one this device has followed, or lacks something that it sent."""
        self._expect(Phase.OPENING)
        other_log = self._asked.epoch is not None and (
            answer.epoch != self._asked.epoch or answer.offset < self._asked.offset
        )
        # Pushes that came while the answer was on its way may have gone past it.
        past = not other_log and self.epoch == answer.epoch
        self.offset = max(self.offset, answer.offset) if past else answer.offset
        self.epoch = answer.epoch
        self.number = answer.channel
        self.can_write = answer.can_write
        self._ahead.clear()
        self._ground()
        self.phase = Phase.LIVE
        if self.can_write and _forbidden(self.error):
            self.error = None
        if self._waiting:
            self._check_right()
        whole = (other_log or self._whole_due) and self.can_write
        self._whole_due = False
        return whole

    def unopened(self, error: MemoError) -> float | None:
        """The server refused to open. Seconds until the next attempt; None: there is none."""
        self._expect(Phase.OPENING)
        self.phase = Phase.STALE
        if error.code.temporary:
            return self._delay(error)
        self.error = error
        self._unopened = True
        return None

    def supersede(self, state: bytes, ids: range = range(0)) -> None:
        """Send `state`, which holds every edit so far, in their place. `ids` are its own in the
        offline store."""
        self._ground()
        kept = [part for part in (*(edit.ids for edit in self._waiting), ids) if part]
        covered = range(kept[0].start, kept[-1].stop) if kept else range(0)
        self._waiting = [Edit(covered, state)]
        self._whole_sent = True

    def edited(self, edit: Edit) -> None:
        """A local edit, to be sent when there is room.

        Raises:
            MemoError: `busy`, when MAX_WAITING wait and nothing can merge them.
        """
        if len(self._waiting) >= MAX_WAITING:
            if self._merge is None:
                raise MemoError(
                    ErrorCode.BUSY, f"{MAX_WAITING} updates wait to be sent; await some of them"
                )
            self._waiting = [self._merged(self._waiting)]
        self._waiting.append(edit)
        if self.phase is Phase.LIVE:
            self._check_right()

    def outgoing(self, limit: int) -> Iterator[Update]:
        """The updates that may be sent now, none larger than `limit` bytes. Too large a one
        sets `error`."""
        while (
            self.phase is Phase.LIVE
            and self.number is not None
            and self.error is None
            and self._waiting
            and len(self._flights) < MAX_FLIGHTS
        ):
            edit = self._take()
            self._last_seq += 1
            self._flights[self._last_seq] = edit
            if len(edit.update) > limit:
                self.error = MemoError(
                    ErrorCode.TOO_LARGE,
                    f"an update is {len(edit.update)} bytes; the server takes {limit}",
                )
                return
            yield Update(self.number, self._last_seq, edit.update)

    def pushed(self, frame: Push) -> list[bytes]:
        """The updates of a push to apply: all but those that the position covers. Beyond a hole
        one may come twice, which a CRDT forgives."""
        end = frame.offset + len(frame.updates) - 1
        known = self.offset + 1 - frame.offset
        if frame.offset <= self.offset + 1:
            if end <= self.offset:
                return []
            self.offset = end
            self._absorb()
        else:
            self._ahead.update(range(frame.offset, end + 1))
            if len(self._ahead) > MAX_AHEAD and self.phase is Phase.LIVE:
                self.phase = Phase.STALE
        return frame.updates[known:] if known > 0 else frame.updates

    def acked(self, frame: Ack) -> Edit | None:
        """The edit that is committed now; None if it is not known (any more)."""
        if frame.offset > self.offset:
            self._ahead.add(frame.offset)
            self._absorb()
        edit = self._flights.pop(frame.client_seq, None)
        if edit is not None:
            self._whole_sent = False
            self._backoff.reset()
        return edit

    def refused(self, client_seq: int | None, error: MemoError) -> float | None:
        """The server refused an update, or without `client_seq` the channel. Seconds until the
        document is to be opened again; None: nothing is to be done, or `error` is set for good.

        One refusal brings others: those of the updates that were sent behind it. They say
        nothing new.
        """
        if self.phase is not Phase.LIVE:
            return None
        if client_seq is None and error.code is ErrorCode.CHANNEL_CLOSED:
            # Not an update but the channel is refused: pushes have ended too.
            return self._go_stale(error)
        if client_seq is None and error.code in (ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND):
            # The document is not for this account any more. Asked for again, it may be.
            self._go_stale(error)
            self.error = error
            self._unopened = True
            return None
        if self.error is not None or (client_seq is not None and client_seq not in self._flights):
            return None
        has_whole = self._merge is not None
        if error.code is ErrorCode.MISSING_DEPENDENCY and has_whole and not self._whole_sent:
            self.phase = Phase.STALE
            self._whole_due = True
            return 0.0
        if error.code.temporary or error.code is ErrorCode.CHANNEL_CLOSED:
            return self._go_stale(error)
        self.error = error
        return None

    def granted(self, can_write: bool) -> float | None:
        """The account's role is another one. Seconds until the document is to be opened again, so
        that edits go out that were refused, or no more; None: nothing is to be done."""
        if self.phase is not Phase.LIVE or can_write is self.can_write:
            return None
        self.phase = Phase.STALE
        self._whole_due = self._whole_sent
        return 0.0

    def detached(self) -> None:
        """The connection is gone. What was in flight waits again."""
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.DETACHED
        self.number = None
        # A whole state that was not acked may be due again, and the edits made since it was taken
        # may depend on it: asking for it anew covers both.
        self._whole_due = self._whole_due or self._whole_sent
        self._whole_sent = False
        self._ahead.clear()
        self._ground()

    def forget(self) -> None:
        """Drop every edit that is not acked."""
        self._waiting.clear()
        self._flights.clear()

    def close(self) -> None:
        self.phase = Phase.CLOSED

    def _expect(self, *phases: Phase) -> None:
        if self.phase not in phases:
            raise RuntimeError(f"the channel is {self.phase.value}")

    def _go_stale(self, error: MemoError) -> float:
        self.phase = Phase.STALE
        self._whole_due = self._whole_sent
        return self._delay(error)

    def _check_right(self) -> None:
        if not self.can_write and self.error is None:
            self.error = MemoError(
                ErrorCode.FORBIDDEN, "the document is read-only for you; edits stay on this device"
            )

    def _delay(self, error: MemoError) -> float:
        return self._backoff.next() if error.retry_after is None else error.retry_after

    def _absorb(self) -> None:
        while self.offset + 1 in self._ahead:
            self.offset += 1
            self._ahead.remove(self.offset)
        if self._ahead and min(self._ahead) <= self.offset:
            self._ahead = {offset for offset in self._ahead if offset > self.offset}

    def _ground(self) -> None:
        self._waiting = [*self._flights.values(), *self._waiting]
        self._flights.clear()

    def _take(self) -> Edit:
        if self._merge is None:
            return self._waiting.pop(0)
        size = count = 0
        for edit in self._waiting:
            size += len(edit.update)
            if count and size > MERGE_BYTES:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return self._merged(taken)

    def _merged(self, edits: list[Edit]) -> Edit:
        if len(edits) == 1 or self._merge is None:
            return edits[0]
        ids = [edit.ids for edit in edits if edit.ids]
        return Edit(
            range(ids[0].start, ids[-1].stop) if ids else range(0),
            self._merge(*(edit.update for edit in edits)),
        )


def _forbidden(error: MemoError | None) -> bool:
    return error is not None and error.code is ErrorCode.FORBIDDEN
