"""What is measured: an explicit list, each entry one row of the report."""

from typing import Literal, NamedTuple

WireName = Literal["/ws", "/yjs"]


class Broadcast(NamedTuple):
    """One writer and `readers` of one document, as fast as `in_flight` allows: an update is in
    flight until every reader has it. The `warm_up` updates before are not measured."""

    wire: WireName
    readers: int
    in_flight: int
    updates: int
    warm_up: int

    @property
    def name(self) -> str:
        readers = f"{self.readers} reader" + ("s" if self.readers > 1 else "")
        return f"{self.wire}, {readers}, {self.in_flight} in flight"

    def scaled(self, share: float) -> "Broadcast":
        """The same load, for a `share` of its length."""
        return self._replace(
            updates=max(20, int(self.updates * share)), warm_up=max(10, int(self.warm_up * share))
        )


class Stream(NamedTuple):
    """`documents` shared out among `devices`, each another account's, which together write `rate`
    updates a second for `seconds`, whether the server keeps up or not. The `warm_up` seconds
    before are not measured."""

    documents: int
    devices: int
    rate: int
    seconds: float
    warm_up: float

    @property
    def name(self) -> str:
        return f"{self.documents} documents, {self.rate:,} updates/s"

    def scaled(self, share: float) -> "Stream":
        """The same load, for a `share` of its length."""
        return self._replace(
            devices=max(2, int(self.devices * share)),
            seconds=max(0.5, self.seconds * share),
            warm_up=max(0.2, self.warm_up * share),
        )


Load = Broadcast | Stream

LOADS: tuple[Load, ...] = (
    Broadcast("/ws", readers=99, in_flight=1, updates=1200, warm_up=200),
    Broadcast("/yjs", readers=99, in_flight=1, updates=1200, warm_up=200),
    Broadcast("/ws", readers=99, in_flight=10, updates=5000, warm_up=500),
    Broadcast("/yjs", readers=99, in_flight=10, updates=5000, warm_up=500),
    Broadcast("/ws", readers=1, in_flight=10, updates=10_000, warm_up=1000),
    Broadcast("/yjs", readers=1, in_flight=10, updates=10_000, warm_up=1000),
    Stream(documents=200, devices=20, rate=2000, seconds=8.0, warm_up=2.0),
    Stream(documents=50, devices=20, rate=100, seconds=8.0, warm_up=2.0),
)
