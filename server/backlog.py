"""How much one connection has sent that is not answered yet."""

MAX_BYTES = 4 << 20
WEIGHT = 2048  # bytes that an update or a request takes beside its own


class Backlog:
    """Counts updates and requests until they are answered. It is `full` from `MAX_BYTES` on, until
    half of them are answered: meanwhile its connection is not to be read."""

    __slots__ = ("_bytes", "full")

    def __init__(self) -> None:
        self._bytes = 0
        self.full = False

    @property
    def empty(self) -> bool:
        """Whether everything is answered."""
        return self._bytes <= 0

    def add(self, size: int) -> None:
        """Something of `size` bytes has come."""
        self._bytes += size + WEIGHT
        self.full = self.full or self._bytes > MAX_BYTES

    def remove(self, size: int) -> None:
        """Something of `size` bytes is answered."""
        self._bytes -= size + WEIGHT
        self.full = self.full and self._bytes > MAX_BYTES // 2
