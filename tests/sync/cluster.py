"""Nodes with a broker between them that can lose, delay and reorder what is announced."""

from collections.abc import Callable

Receive = Callable[[bytes], None]
Fate = Callable[[str, bytes], int]  # how often a message arrives: 0 is lost, 2 is twice


def arrives(topic: str, message: bytes) -> int:
    return 1


class Network:
    """Joins `Mesh` brokers. While `held`, messages between nodes wait, to be let through in any
    order; `fate` says how often each arrives."""

    def __init__(self, fate: Fate = arrives) -> None:
        self.nodes: list[Mesh] = []
        self.fate = fate
        self.held: list[Callable[[], None]] | None = None

    def join(self) -> "Mesh":
        node = Mesh(self)
        self.nodes.append(node)
        return node

    def deliver(self, sender: "Mesh", topic: str, message: bytes) -> None:
        for node in self.nodes:
            if node is sender or not (node.up and sender.up):
                continue
            for _ in range(self.fate(topic, message)):
                if self.held is None:
                    node.receive(topic, message)
                else:
                    self.held.append(lambda node=node: node.receive(topic, message))  # type: ignore[misc]

    def cut(self) -> None:
        """Nothing passes any more, and every node knows."""
        for node in self.nodes:
            node.up = False

    def mend(self) -> None:
        """Everything passes again, and every node is told to look."""
        for node in self.nodes:
            node.up = True
        for node in self.nodes:
            node.missed()


class Mesh:
    """One node's broker."""

    shared = True
    dropped = 0

    def __init__(self, network: Network) -> None:
        self.up = True
        self._network = network
        self._topics: dict[str, list[Receive]] = {}
        self._missed: list[Callable[[], None]] = []

    def publish(self, topic: str, message: bytes, but: Receive | None = None) -> None:
        for receive in tuple(self._topics.get(topic, ())):
            if receive != but:
                receive(message)
        self._network.deliver(self, topic, message)

    def receive(self, topic: str, message: bytes) -> None:
        for receive in tuple(self._topics.get(topic, ())):
            receive(message)

    def subscribe(self, topic: str, receive: Receive) -> Callable[[], None]:
        self._topics.setdefault(topic, []).append(receive)

        def end() -> None:
            if receive in self._topics.get(topic, []):
                self._topics[topic].remove(receive)

        return end

    async def joined(self, topic: str) -> None:
        """It is."""

    def on_missed(self, call: Callable[[], None]) -> None:
        self._missed.append(call)

    def missed(self) -> None:
        for call in self._missed:
            call()
