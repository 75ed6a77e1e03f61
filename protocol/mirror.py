"""Documents as a client follows them: what all have in common, and the bare updates of a log.

They know no socket. The client tells them what arrived, and they hand frames to its `Wire`.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from protocol import frames
from protocol.channel import Channel, Edit, Phase
from protocol.documents import OpenedDocument
from protocol.errors import ErrorCode, MemoError
from protocol.session import Refused
from protocol.signal import Signal


class Wire(Protocol):
    """What an open document needs of its client."""

    @property
    def max_update_bytes(self) -> int:
        """The largest update that the server takes."""

    def send(self, frame: frames.Update | frames.Awareness) -> None:
        """Queue a frame of a live channel."""

    def reopen(self, document: "OpenedChannel", delay: float) -> None:
        """Ask for the document again in `delay` seconds, if it is still wanted then."""

    def leave(self, document: "OpenedChannel") -> None:
        """The document is closed: no more frames for it."""


class OpenedChannel:
    """What every open document has: its place in the log, and whether it can be written.

    The methods from `opened` on are for the client to call.
    """

    def __init__(self, channel: Channel, wire: Wire) -> None:
        self.channel = channel
        self._wire = wire
        self._signal = Signal()
        self._last_awaited: int | None = None

    @property
    def memory_id(self) -> UUID:
        return self.channel.memory_id

    @property
    def position(self) -> tuple[str | None, int]:
        """Epoch and offset up to which everything is here. Before the first answer: (None, 0)."""
        return self.channel.epoch, self.channel.offset

    @property
    def can_write(self) -> bool:
        return self.channel.can_write

    @property
    def error(self) -> MemoError | None:
        """Why edits are not sent any more, or why the document could not be opened."""
        return self.channel.error

    async def synced(self, timeout: float = 10.0) -> None:
        """Wait until the document has been brought to the server's head on this connection.

        Raises:
            MemoError: what kept it from being opened; `timeout`; `channel_closed`.
        """
        await self._signal.until(
            lambda: self.channel.phase is Phase.LIVE or self._unless_over(),
            timeout,
            lambda: f"memory {self.memory_id} was not caught up",
        )

    async def reached(self, offset: int, timeout: float = 10.0) -> None:
        """Wait until everything up to `offset` is here, such as what another device was told is
        saved at it.

        Raises:
            MemoError: what keeps it from coming; `timeout`; `channel_closed`.
        """
        await self._signal.until(
            lambda: self.channel.offset >= offset or self._unless_over(),
            timeout,
            lambda: f"memory {self.memory_id} did not reach offset {offset}",
        )

    def close(self) -> None:
        """Follow the document no longer. Edits that are not acked stay in the offline store."""
        if self.channel.phase is not Phase.CLOSED:
            self._wire.leave(self)
            self.channel.close()
            self._signal.notify()

    def opened(self, answer: OpenedDocument) -> None:
        """The server's answer to `documents.open`."""
        raise NotImplementedError

    def pushed(self, frame: frames.Push) -> None:
        """Updates of others."""
        raise NotImplementedError

    def acked(self, frame: frames.Ack) -> None:
        """An update of ours is committed."""
        raise NotImplementedError

    def relayed(self, payload: bytes) -> None:
        """Presence of others. Nothing here wants it."""

    def unopened(self, error: MemoError) -> None:
        """The server refused to open the document."""
        self._again(self.channel.unopened(error))

    def refused(self, event: Refused) -> None:
        """The server refused an update."""
        self._again(self.channel.refused(event.client_seq, event.error))

    def granted(self, can_write: bool) -> None:
        """The account may write in the document from now on, or not."""
        self._again(self.channel.granted(can_write))

    def failed(self, error: MemoError) -> None:
        """Something on this device keeps the document from going on."""
        self.channel.error = error
        self._signal.notify()

    def detached(self) -> None:
        """The connection is gone."""
        self.channel.detached()

    def tick(self) -> bool:
        """Called at every heartbeat. True: an answer has been owed since the last one."""
        awaited, before = self.channel.awaited, self._last_awaited
        self._last_awaited = awaited
        return awaited is not None and awaited == before

    def flush(self) -> None:
        """Send what may be sent."""
        for frame in self.channel.outgoing(self._wire.max_update_bytes):
            self._wire.send(frame)
        if self.channel.error is not None:
            self._signal.notify()

    def _again(self, delay: float | None) -> None:
        if delay is not None:
            self._wire.reopen(self, delay)
        self._signal.notify()

    def _unless_over(self) -> bool:
        """False while there is something to wait for."""
        if self.channel.phase is Phase.CLOSED:
            raise MemoError(ErrorCode.CHANNEL_CLOSED, f"memory {self.memory_id} was closed here")
        if self.channel.error is not None:
            raise self.channel.error
        return False


class Mirror(OpenedChannel):
    """The updates of a document without a replica: for load generators and relays.

    `on_push(offset, updates)` gets those of others, from the first one's offset on. `answer` is
    the server's last answer to `documents.open`. Nothing is kept over connections.
    """

    def __init__(
        self,
        memory_id: UUID,
        wire: Wire,
        on_push: Callable[[int, list[bytes]], None] | None = None,
    ) -> None:
        super().__init__(Channel(memory_id), wire)
        self.answer: OpenedDocument | None = None
        self.on_push = on_push
        self._acks: dict[int, asyncio.Future[int]] = {}
        self._last_id = 0

    def send(self, update: bytes) -> asyncio.Future[int]:
        """Send an update. The future holds its offset once it is committed; it ends with the
        connection at the latest, and the connection ends when no ack comes.

        Raises:
            MemoError: `busy`, when too many wait already; `channel_closed`, when it is not open.
        """
        if self.channel.phase is Phase.CLOSED:
            self._unless_over()
        self.channel.edited(Edit(range(self._last_id + 1, self._last_id + 2), update))
        self._last_id += 1
        ack: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._acks[self._last_id] = ack
        self.flush()
        if self.channel.error is not None:
            self._end(self.channel.error)
        return ack

    def close(self) -> None:
        super().close()
        self._end(MemoError(ErrorCode.CHANNEL_CLOSED, f"memory {self.memory_id} was closed here"))

    def opened(self, answer: OpenedDocument) -> None:
        self.channel.opened(answer)
        self.answer = answer
        self.flush()
        self._signal.notify()

    def pushed(self, frame: frames.Push) -> None:
        updates = self.channel.pushed(frame)
        if updates and self.on_push is not None:
            self.on_push(frame.offset + len(frame.updates) - len(updates), updates)
        self._signal.notify()
        if self.channel.phase is Phase.STALE:
            self._wire.reopen(self, 0.0)

    def acked(self, frame: frames.Ack) -> None:
        edit = self.channel.acked(frame)
        if edit is not None:
            ack = self._acks.pop(edit.ids.start)
            if not ack.done():
                ack.set_result(frame.offset)
        if not self.channel.idle:
            self.flush()
        self._signal.notify()

    def unopened(self, error: MemoError) -> None:
        super().unopened(error)
        if self.channel.error is not None:
            self._end(self.channel.error)

    def refused(self, event: Refused) -> None:
        super().refused(event)
        if self.channel.error is not None:
            self._end(self.channel.error)

    def detached(self) -> None:
        super().detached()
        self._end(
            MemoError(
                ErrorCode.UNAVAILABLE, "the connection was lost before the ack; it may be committed"
            )
        )

    def _end(self, error: MemoError) -> None:
        self.channel.forget()
        acks, self._acks = self._acks, {}
        for ack in acks.values():
            if not ack.done():
                ack.set_exception(error)
