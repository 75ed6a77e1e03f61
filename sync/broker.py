"""The broker of a single node: what is published is received at once, in this process."""

from collections.abc import Callable

Receive = Callable[[bytes], None]


class LocalBroker:
    """Carries hints between the parts of one node. Subscribers must not raise."""

    shared = False
    up = True
    dropped = 0

    def __init__(self) -> None:
        self._topics: dict[str, list[Receive]] = {}

    def publish(self, topic: str, message: bytes, but: Receive | None = None) -> None:
        """Hand the message to whoever subscribes to the topic now, except to `but`."""
        for receive in tuple(self._topics.get(topic, ())):
            if receive != but:
                receive(message)

    def subscribe(self, topic: str, receive: Receive) -> Callable[[], None]:
        """Receive what is published from now on. Returns the call that ends it."""
        self._topics.setdefault(topic, []).append(receive)

        def end() -> None:
            receivers = self._topics.get(topic, [])
            if receive in receivers:
                receivers.remove(receive)
            if not receivers:
                self._topics.pop(topic, None)

        return end

    async def joined(self, topic: str) -> None:
        """The subscription is in force: it always is at once."""

    def on_missed(self, call: Callable[[], None]) -> None:
        """Nothing is ever missed."""
