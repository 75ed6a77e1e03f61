"""What is measured: an explicit list, each entry one row of the report."""

from typing import Literal, NamedTuple

# `/ws` and `/yjs` are this server's; the others are what its peers speak.
WireName = Literal["/ws", "/yjs", "y-websocket", "hocuspocus"]


class Target(NamedTuple):
    """Shares of what the same costs Hocuspocus: what must not be exceeded, and what is aimed at."""

    must: float
    aim: float


class Broadcast(NamedTuple):
    """One writer and `readers` of one document, as fast as `in_flight` allows: an update is in
    flight until every reader has it. The `warm_up` updates before are not measured."""

    readers: int
    in_flight: int
    updates: int
    warm_up: int
    target: Target

    @property
    def name(self) -> str:
        readers = f"{self.readers} reader" + ("s" if self.readers > 1 else "")
        return f"{readers}, {self.in_flight} in flight"

    def scaled(self, share: float) -> "Broadcast":
        """The same load, for a `share` of its length."""
        return self._replace(
            updates=max(20, int(self.updates * share)), warm_up=max(10, int(self.warm_up * share))
        )


class Crowd(NamedTuple):
    """One writer and `readers` of one document, `rate` updates a second for `seconds`, whether the
    server keeps up or not. The `warm_up` seconds before are not measured."""

    readers: int
    rate: int
    seconds: float
    warm_up: float
    target: Target

    @property
    def name(self) -> str:
        return f"{self.readers:,} readers, {self.rate} updates/s"

    def scaled(self, share: float) -> "Crowd":
        """The same load, for a `share` of its length, and fewer readers."""
        return self._replace(
            readers=max(20, int(self.readers * min(1.0, share * 5))),
            seconds=max(0.5, self.seconds * share),
            warm_up=max(0.2, self.warm_up * share),
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


# Put on this server and on its peers.
Contest = Broadcast | Crowd

CONTESTS: tuple[Contest, ...] = (
    Broadcast(readers=99, in_flight=1, updates=1200, warm_up=300, target=Target(0.75, 0.55)),
    Broadcast(readers=99, in_flight=10, updates=2000, warm_up=500, target=Target(0.20, 0.12)),
    Broadcast(readers=1, in_flight=10, updates=10_000, warm_up=3000, target=Target(1.3, 0.6)),
    Crowd(readers=1500, rate=5, seconds=12.0, warm_up=3.0, target=Target(1.0, 0.5)),
)

# Put on this server alone.
STREAMS: tuple[Stream, ...] = (
    Stream(documents=200, devices=20, rate=2000, seconds=8.0, warm_up=2.0),
    Stream(documents=50, devices=20, rate=100, seconds=8.0, warm_up=2.0),
)
