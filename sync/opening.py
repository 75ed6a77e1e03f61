"""What a device gets when it opens a document."""

from collections.abc import Callable, Hashable, Sequence

from protocol.log import Snapshot
from sync.subscription import Subscription


class Content:
    """Apply `snapshot`, then `updates`, and who had everything up to `after` stands at `offset`.

    Those who ask at once share it, and what they make of it to be sent.
    """

    __slots__ = ("_encodings", "offset", "snapshot", "updates")

    def __init__(
        self, after: int, snapshot: Snapshot | None, rows: Sequence[tuple[int, bytes]]
    ) -> None:
        self.snapshot = snapshot
        self.updates = [payload for _, payload in rows]
        self.offset = rows[-1][0] if rows else snapshot.offset if snapshot else after
        self._encodings: dict[Hashable, bytes] = {}

    @property
    def size(self) -> int:
        """Bytes of all that is to be applied."""
        return sum(map(len, self.updates)) + (len(self.snapshot.payload) if self.snapshot else 0)

    @property
    def payloads(self) -> list[bytes]:
        """All that is to be applied, in order."""
        return [self.snapshot.payload, *self.updates] if self.snapshot else list(self.updates)

    def encoded(self, form: Hashable, encode: Callable[[], bytes]) -> bytes:
        """The content in the form that a kind of connection sends, made once."""
        made = self._encodings.get(form)
        if made is None:
            made = self._encodings[form] = encode()
        return made


class Opening:
    """A room joined, and what brings the device to where the subscription goes on from."""

    __slots__ = ("content", "subscription")

    def __init__(self, subscription: Subscription, content: Content) -> None:
        self.subscription = subscription
        self.content = content
