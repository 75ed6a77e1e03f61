"""A live replica of a memory's document, kept the same as the server's."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any
from uuid import UUID

from pycrdt import Doc, Text, TransactionEvent, merge_updates

from protocol import frames
from protocol.channel import Channel, Edit, Phase
from protocol.documents import OpenedDocument
from protocol.errors import ErrorCode, MemoError
from protocol.mirror import OpenedChannel, Wire
from protocol.offline import Kept, OfflineStore
from protocol.presence import Presence
from protocol.thread import Thread

COMPACT_UPDATES = 256


class Document(OpenedChannel):
    """A live replica of a memory's document.

    Edit `doc` from the event loop's thread. The edits of one tick of the loop become one update,
    are recorded in the offline store if there is one, and are sent when there is a connection.
    """

    def __init__(self, memory_id: UUID, wire: Wire, store: OfflineStore | None = None) -> None:
        kept = store.load(memory_id) if store else Kept()
        edits = [Edit(range(number, number + 1), update) for number, update in kept.pending]
        channel = Channel(
            memory_id, epoch=kept.epoch, offset=kept.offset, edits=edits, merge=merge_updates
        )
        super().__init__(channel, wire)
        # Never an id of an earlier run, whose last clocks may not be here. Yjs knows 32 bits,
        # pycrdt would take 53.
        self.doc: Doc[Any] = Doc(client_id=secrets.randbits(32))
        self._store = store
        self._kept_updates = len(kept.updates)
        self._loop = asyncio.get_running_loop()
        self._local: list[bytes] = []
        self._remote: list[bytes] = []
        self._applying = False
        self._changes = 0
        self._callbacks: list[Callable[[bytes, bool], None]] = []
        self._presence: Presence | None = None
        with self.doc.transaction():
            for update in kept.updates:
                self.doc.apply_update(update)
        self.text: Text = self.doc.get("content", type=Text)
        self.messages = Thread(self.doc)
        self._observer = self.doc.observe(self._observed)

    @property
    def pending(self) -> int:
        """How many updates of this device are not acked."""
        return self.channel.unacked + bool(self._local)

    @property
    def presence(self) -> dict[int, dict[str, Any]]:
        """What everyone who has the document open shows, by Yjs client id."""
        return self._presence.states if self._presence else {}

    def set_presence(self, state: dict[str, Any] | None) -> None:
        """Show others `state`; None takes it back."""
        self._announce(self._known_presence().show(state))

    def on_update(self, callback: Callable[[bytes, bool], None]) -> Callable[[], None]:
        """Call `callback(update, local)` after each change. Returns what ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def saved(self, timeout: float = 10.0) -> None:
        """Wait until every edit of this device is committed.

        Raises:
            MemoError: why an edit is not sent; `timeout`; `channel_closed`.
        """
        await self._signal.until(
            lambda: not self.pending or self._unless_over(),
            timeout,
            lambda: f"{self.pending} updates of memory {self.memory_id} were not acked",
        )

    async def changed(self, timeout: float = 10.0) -> None:
        """Wait for the next change, from here or from others.

        Raises:
            MemoError: what went wrong in place of it; `timeout`; `channel_closed`.
        """
        changes, error = self._changes, self.error

        def has_changed() -> bool:
            if self._changes != changes:
                return True
            # With an edit refused, those of others still come: only news ends the wait.
            follows = self.channel.phase in (Phase.OPENING, Phase.LIVE, Phase.DETACHED)
            return False if follows and self.error is error else self._unless_over()

        await self._signal.until(
            has_changed,
            timeout,
            lambda: f"memory {self.memory_id} did not change",
        )

    def close(self) -> None:
        if self.channel.phase is not Phase.CLOSED:
            self._gather()
            self.doc.unobserve(self._observer)
        super().close()

    def opened(self, answer: OpenedDocument) -> None:
        # What was edited until now is part of the whole state, should that be due.
        self._gather()
        if self.channel.opened(answer):
            # Recorded before the position moves to another log, which afterwards nothing but
            # this edit tells to lack what it holds.
            state = self.doc.get_update()
            self.channel.supersede(state, self._record(state))
        snapshot = [] if answer.snapshot is None else [answer.snapshot]
        self._integrate([*snapshot, *answer.updates])
        self.flush()
        if self._presence is not None and self._presence.shown:
            self._announce(self._presence.renew())
        self._signal.notify()

    def pushed(self, frame: frames.Push) -> None:
        updates = self.channel.pushed(frame)
        if updates:
            self._integrate(updates)
        self._signal.notify()
        if self.channel.phase is Phase.STALE:
            self._wire.reopen(self, 0.0)

    def acked(self, frame: frames.Ack) -> None:
        edit = self.channel.acked(frame)
        epoch, offset = self.position
        if self._store and epoch is not None:
            self._store.settle(self.memory_id, edit.ids if edit else range(0), epoch, offset)
        if not self.channel.idle:
            self.flush()
        self._signal.notify()

    def relayed(self, payload: bytes) -> None:
        answer = self._known_presence().receive(payload)
        if answer is not None:
            self._announce(answer)
        self._signal.notify()

    def failed(self, error: MemoError) -> None:
        # A store that missed one write must not be told a position that stands behind it.
        self._store = None
        super().failed(error)

    def detached(self) -> None:
        super().detached()
        if self._presence is not None:
            self._presence.forget_others()

    def tick(self) -> bool:
        if self._presence is not None:
            if self._presence.shown:
                self._announce(self._presence.renew())
            self._presence.expire()
        return super().tick()

    def _observed(self, event: TransactionEvent) -> None:
        if self._applying:
            self._remote.append(event.update)
            return
        self._local.append(event.update)
        if len(self._local) == 1:
            self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        """Make one edit of what was changed here since the last time."""
        if not self._local or self.channel.phase is Phase.CLOSED:
            return
        update = self._local[0] if len(self._local) == 1 else merge_updates(*self._local)
        self._local.clear()
        self.channel.edited(Edit(self._record(update), update))
        self.flush()
        self._tell(update, local=True)

    def _record(self, update: bytes) -> range:
        """Keep an update as not acked; its ids, which are none without a store."""
        if self._store:
            try:
                number = self._store.record(self.memory_id, update)
                return range(number, number + 1)
            except MemoError as error:
                self.failed(error)
        return range(0)

    def _integrate(self, updates: list[bytes]) -> None:
        """Apply what the server sent, and keep it."""
        self._applying = True
        try:
            with self.doc.transaction():
                for update in updates:
                    self.doc.apply_update(update)
        except ValueError as error:
            raise MemoError(
                ErrorCode.MALFORMED_UPDATE, f"the server sent an update that is not sound: {error}"
            ) from None
        except ExceptionGroup as group:
            # pycrdt gathers what the observers of the application raised. The edit stands.
            self._loop.call_exception_handler(
                {"message": "an observer of a document failed", "exception": group}
            )
        finally:
            self._applying = False
        self._keep(updates)
        remote, self._remote = self._remote, []
        for update in remote:
            self._tell(update, local=False)

    def _keep(self, updates: list[bytes]) -> None:
        epoch, offset = self.position
        if self._store is None or epoch is None:
            return
        self._store.receive(self.memory_id, updates, epoch, offset)
        self._kept_updates += len(updates)
        if self._kept_updates > COMPACT_UPDATES:
            self._store.compact(self.memory_id, self.doc.get_update(), epoch, offset)
            self._kept_updates = 0

    def _tell(self, update: bytes, *, local: bool) -> None:
        self._changes += 1
        self._signal.notify()
        for callback in self._callbacks:
            self._loop.call_soon(callback, update, local)

    def _known_presence(self) -> Presence:
        if self._presence is None:
            self._presence = Presence(self.doc)
        return self._presence

    def _announce(self, payload: bytes) -> None:
        number = self.channel.number
        if number is not None and self.channel.phase is Phase.LIVE:
            self._wire.send(frames.Awareness(number, payload))
