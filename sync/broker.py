"""The broker of a single node: what is published is received at once, in this process."""

from collections.abc import Callable


class LocalBroker:
    """Carries hints between the parts of one node. Subscribers must not raise."""

    def __init__(self) -> None:
        self._topics: dict[str, list[Callable[[bytes], None]]] = {}

    def publish(self, topic: str, message: bytes) -> None:
        """Hand the message to whoever subscribes to the topic now."""
        for receive in tuple(self._topics.get(topic, ())):
            receive(message)

    def subscribe(self, topic: str, receive: Callable[[bytes], None]) -> Callable[[], None]:
        """Receive what is published from now on. Returns the call that ends it."""
        self._topics.setdefault(topic, []).append(receive)

        def end() -> None:
            receivers = self._topics.get(topic, [])
            if receive in receivers:
                receivers.remove(receive)
            if not receivers:
                self._topics.pop(topic, None)

        return end
