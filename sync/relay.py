"""Shows the presence of a room's devices to each other, many states in one message."""

import asyncio
from collections.abc import Set as AbstractSet

from sync.interfaces import Observer, Wire
from sync.presence import INTERVAL, Presence
from sync.subscription import Subscription


class Relay:
    """The presence of the `subscriptions` of one room, which goes by `channel` on this node.

    What changes is gathered for `INTERVAL` seconds and encoded once for each wire format. A
    congested connection is passed by, and shown everyone when it has drained.
    """

    def __init__(
        self, channel: int, subscriptions: AbstractSet[Subscription], observer: Observer
    ) -> None:
        self._channel = channel
        self._subscriptions = subscriptions
        self._observer = observer
        self._presence: Presence[Subscription] = Presence()
        self._timer: asyncio.TimerHandle | None = None

    def apply(self, subscription: Subscription, payload: bytes) -> None:
        """Take a connection's awareness update, and show it to the others soon.

        Raises:
            MemoError: `malformed_awareness`.
        """
        if self._presence.apply(subscription, payload):
            self._schedule()

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

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._send)

    def _send(self) -> None:
        self._timer = None
        payload, owners = self._presence.take_changes()
        messages: dict[Wire, bytes] = {}
        relayed = 0
        for subscription in self._subscriptions:
            subscriber = subscription.subscriber
            if subscriber.congested or owners == {subscription}:
                continue
            message = messages.get(subscriber.wire)
            if message is None:
                message = subscriber.wire.awareness(self._channel, payload)
                messages[subscriber.wire] = message
            subscriber.send(message)
            relayed += 1
        self._observer.presence(relayed)
