"""One connection's place in one room: what it has been sent, and how it catches up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocol.errors import ErrorCode, MemoError
from protocol.log import WRITERS
from protocol.memories import Role
from sync.interfaces import Subscriber
from sync.submission import Delivery

if TYPE_CHECKING:
    from sync.room import Room


class Subscription:
    """`position` is the offset up to which the connection has everything.

    A subscription is live (each broadcast continues its position) or lagging: then broadcasts
    pass it by and it reads the log until it has reached the head. It lags when its socket is
    congested, and between the reading of its opening answer and what came since.
    """

    __slots__ = (
        "_catching_up",
        "_own",
        "_reserved",
        "can_write",
        "lagging",
        "open",
        "position",
        "refusing",
        "role",
        "room",
        "send",
        "subscriber",
        "wire",
    )

    def __init__(self, room: "Room", subscriber: Subscriber, role: Role, position: int) -> None:
        self.room = room
        self.subscriber = subscriber
        self.wire = subscriber.wire
        self.send = subscriber.send
        self.role = role
        self.can_write = role in WRITERS
        self.position = position
        self.open = True
        self.refusing = False
        self.lagging = False
        self._catching_up = False
        self._reserved = False  # whether the client ids it shows are
        self._own: set[int] = set()  # offsets of its own updates, acked while it lagged

    def send_update(self, client_seq: int, payload: bytes) -> None:
        """Take an update of this connection. Its outcome comes as `acked` or `refused`."""
        self.room.submit(self, client_seq, payload)

    def send_awareness(self, payload: bytes) -> None:
        """Relay an awareness update to the others.

        Raises:
            MemoError: `malformed_awareness`.
        """
        self.room.presence.apply(self, payload)
        if self.can_write and not self._reserved:
            self._reserved = self.room.reserve(self)

    @property
    def presence_bytes(self) -> int:
        """What the connection shows of itself here."""
        return self.room.presence.bytes_of(self)

    def grant(self, role: Role) -> None:
        """The account has this role from now on. What it sent before is judged by the commit."""
        if self.open and role != self.role:
            self.role = role
            self.can_write = role in WRITERS
            self.subscriber.role_changed(self.room.document_id, role)

    def close(self) -> None:
        """Leave the room. Updates already taken are committed all the same."""
        if self.open:
            self.open = False
            self.room.unsubscribe(self)

    def settle(self, client_seq: int, offset: int) -> None:
        """An update of this connection is committed, at an offset that others wrote up to."""
        if self.open:
            self.subscriber.acked(self.room.channel, client_seq, offset)

    def settle_known(self, client_seq: int) -> None:
        """An update of this connection changes nothing: it is acked at the head, but no further
        than pushes have come, because devices count what is acked as received."""
        self.settle(client_seq, min(self.position, self.room.head))

    def refuse(self, client_seq: int, error: MemoError) -> None:
        """An update of this connection is refused, and all further ones until it opens again."""
        if self.open:
            self.refusing = True
            self.subscriber.refused(self.room.channel, client_seq, error)

    def offer(self, first: int, deliveries: Sequence[Delivery]) -> int:
        """Take a broadcast that holds updates of this very connection: the others' as pushes,
        its own as acks, in the order of the log. Returns how many were pushed."""
        pushed = 0
        for offset, run in self._runs(first, deliveries):
            submission = run[0].submission
            last = offset + len(run) - 1
            if submission is not None and submission.subscription is self:
                if self.position < offset - 1:
                    self.fall_behind()
                if self.lagging:
                    self._own.add(offset)
                else:
                    self.position = max(self.position, offset)
                self.settle(submission.client_seq, offset)
            elif self.accepts(offset, last):
                payloads = [delivery.payload for delivery in run]
                self.subscriber.send(self.subscriber.wire.push(self.room.channel, offset, payloads))
                pushed += len(run)
        return pushed

    def _runs(self, first: int, deliveries: Sequence[Delivery]) -> list[tuple[int, list[Delivery]]]:
        """The deliveries as runs of others' updates, with each own one by itself."""
        runs: list[tuple[int, list[Delivery]]] = []
        in_run = False
        for offset, delivery in enumerate(deliveries, first):
            own = delivery.submission is not None and delivery.submission.subscription is self
            if in_run and not own:
                runs[-1][1].append(delivery)
            else:
                runs.append((offset, [delivery]))
            in_run = not own
        return runs

    def accepts(self, first: int, last: int) -> bool:
        """Whether the updates from `first` to `last` are the next to be pushed; if so they
        count as pushed. If they cannot be, the subscription falls behind."""
        if self.lagging or last <= self.position:
            return False
        if self.position != first - 1 or self.subscriber.congested:
            self.fall_behind()
            return False
        self.position = last
        return True

    def fall_behind(self) -> None:
        """Let broadcasts pass by, and catch up from the log as soon as the socket drains."""
        if self.lagging:
            return
        self.lagging = True
        if self.subscriber.congested:
            self.room.observer.fell_behind(self.room.document_id, self.subscriber)
        else:
            self.drained()

    def drained(self) -> None:
        """The socket takes more again."""
        if self.lagging and not self._catching_up:
            self._catching_up = True
            self.room.tasks.start(self._catch_up())

    async def _catch_up(self) -> None:
        room = self.room
        try:
            while self.open and not self.subscriber.congested:
                if self.position >= room.head:
                    self.lagging = False
                    self._own.clear()
                    room.presence.show(self)
                    return
                rows = await room.log.read(room.document_id, self.position, up_to=room.head)
                if not rows or rows[0][0] != self.position + 1:
                    self.lose()
                    return
                self._push_rows(rows)
        except MemoError as error:
            self.lose(error)
        finally:
            self._catching_up = False
        # The socket filled up in between: `drained` will continue, unless it just did drain.
        if self.open and self.lagging and not self.subscriber.congested:
            self.drained()

    def _push_rows(self, rows: Sequence[tuple[int, bytes]]) -> None:
        if not self.open:
            return
        wire, channel = self.subscriber.wire, self.room.channel
        run: list[bytes] = []
        for offset, payload in rows:
            if offset in self._own:
                if run:
                    self.subscriber.send(wire.push(channel, offset - len(run), run))
                run = []
            else:
                run.append(payload)
        if run:
            self.subscriber.send(wire.push(channel, rows[-1][0] - len(run) + 1, run))
        self.position = rows[-1][0]
        self.room.observer.delivered(len(rows))

    def lose(self, error: MemoError | None = None) -> None:
        """End the channel and say why. Without an error: what it misses cannot be read from the
        log any more, and it has to open again."""
        if self.open:
            self.subscriber.lost(
                self.room.channel,
                error
                or MemoError(
                    ErrorCode.CHANNEL_CLOSED, "the updates missed are trimmed; open again"
                ),
            )
            self.close()
