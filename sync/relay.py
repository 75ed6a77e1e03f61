"""Shows the presence of a room's devices to each other, many states in one message."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet

from protocol.errors import MemoError
from sync import announcement
from sync import presence as awareness
from sync.interfaces import Observer, Wire
from sync.presence import Presence, State
from sync.subscription import Subscription

INTERVAL = 0.05  # seconds that changes are gathered for, at least,
INTERVAL_PER_RECEIVER = 0.001  # and for each who is to be told: all of them cost a write
MAX_INTERVAL = 0.75
TURN = 100  # receivers that are written to before others have their turn
RENEW_SECONDS = 15.0  # between two announcements of what has not changed
FORGET_SECONDS = 45.0  # without one, after which another node is taken for dead


class Node:
    """Another node, for all who are connected to it."""

    __slots__ = ("heard_at",)

    def __init__(self) -> None:
        self.heard_at = 0.0


class Relay:
    """The presence of the `subscriptions` of one room, which goes by `channel` on this node.

    What changes is gathered and encoded once for each wire format. A congested connection is
    passed by, and shown everyone when it has drained.
    """

    def __init__(
        self, channel: int, subscriptions: AbstractSet[Subscription], observer: Observer
    ) -> None:
        self._channel = channel
        self._subscriptions = subscriptions
        self._observer = observer
        self._name = ""
        self._announce: Callable[[bytes], None] | None = None
        self._presence: Presence[Subscription | Node] = Presence()
        self._nodes: dict[str, Node] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.TimerHandle | None = None

    def apply(self, subscription: Subscription, payload: bytes) -> None:
        """Take a connection's awareness update, and show it to the others soon.

        Raises:
            MemoError: `malformed_awareness`.
        """
        if self._presence.apply(subscription, payload):
            self._schedule()

    def bytes_of(self, subscription: Subscription) -> int:
        """The bytes of the states that a connection shows."""
        return self._presence.bytes_of(subscription)

    def clients_of(self, subscription: Subscription) -> list[int]:
        """The Yjs client ids that a connection shows."""
        return self._presence.clients_of(subscription)

    def joined(self, subscription: Subscription) -> None:
        """Show everyone to one who joins, behind the answer to the opening: that goes out before
        anything else runs."""
        if len(self._presence):
            asyncio.get_running_loop().call_soon(self.show, subscription)

    def left(self, subscription: Subscription) -> None:
        """Take back what one who is gone had shown."""
        if self._presence.leave(subscription):
            self._schedule()

    def show(self, subscription: Subscription) -> None:
        """Tell one connection of everyone who is here."""
        states = self._presence.all()
        subscriber = subscription.subscriber
        if states is not None and subscription.open and not subscriber.congested:
            subscriber.send(subscriber.wire.awareness(self._channel, states))

    # Other nodes

    def join_nodes(self, name: str, announce: Callable[[bytes], None]) -> None:
        """There may be other nodes: `announce` tells them, to whom this one is `name`."""
        self._name = name
        self._announce = announce
        announce(announcement.encode(announcement.Arrival()))

    def arrived(self) -> None:
        """Another node has opened the document: tell it who is here."""
        self._tell(self._presence.local())

    def heard(self, message: announcement.Presence) -> None:
        """Another node tells who is there."""
        node = self._nodes.setdefault(message.node, Node())
        node.heard_at = asyncio.get_running_loop().time()
        try:
            changed = self._presence.apply_from_node(node, message.states)
        except MemoError:
            self._observer.heard("malformed")
            return
        if changed:
            self._schedule()
        self._renew_later()

    def _tell(self, states: Iterable[tuple[int, State]]) -> None:
        if self._announce is not None:
            for piece in awareness.pieces(states):
                self._announce(announcement.encode(announcement.Presence(self._name, piece)))
                self._renew_later()

    def _renew_later(self) -> None:
        if self._renewal is None:
            loop = asyncio.get_running_loop()
            self._renewal = loop.call_later(RENEW_SECONDS, self._renew)

    def _renew(self) -> None:
        """Tell the other nodes that what has not changed is still so; forget those that do not."""
        self._renewal = None
        self._tell(self._presence.local())
        now = asyncio.get_running_loop().time()
        for name, node in tuple(self._nodes.items()):
            if now - node.heard_at > FORGET_SECONDS:
                del self._nodes[name]
                if self._presence.leave(node):
                    self._schedule()
        if self._nodes:
            self._renew_later()

    def stop(self) -> None:
        """The room is let go."""
        for timer in (self._timer, self._renewal):
            if timer is not None:
                timer.cancel()

    # Showing

    def _schedule(self) -> None:
        if self._timer is None:
            receivers = len(self._subscriptions)
            interval = min(max(INTERVAL, INTERVAL_PER_RECEIVER * receivers), MAX_INTERVAL)
            self._timer = asyncio.get_running_loop().call_later(interval, self._send)

    def _send(self) -> None:
        self._timer = None
        changes = self._presence.take_changes()
        self._tell(changes.local.items())
        payload = awareness.encode(changes.states.items())
        owner = next(iter(changes.owners)) if len(changes.owners) == 1 else None
        receivers = [each for each in self._subscriptions if each is not owner]
        self._send_to(iter(receivers), payload, {})

    def _send_to(
        self, receivers: Iterator[Subscription], payload: bytes, messages: dict[Wire, bytes]
    ) -> None:
        """Send for one turn. Edits of others are not to wait for a thousand cursors."""
        relayed = 0
        for subscription in receivers:
            subscriber = subscription.subscriber
            if subscriber.congested or not subscription.open:
                continue
            message = messages.get(subscriber.wire)
            if message is None:
                message = subscriber.wire.awareness(self._channel, payload)
                messages[subscriber.wire] = message
            subscriber.send(message)
            relayed += 1
            if relayed == TURN:
                loop = asyncio.get_running_loop()
                loop.call_soon(self._send_to, receivers, payload, messages)
                break
        self._observer.presence(relayed)
