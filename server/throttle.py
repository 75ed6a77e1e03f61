"""How fast one connection may send: what it sends faster waits in its socket."""

import time

# Far above what a person or a benchmark's device sends; commits are slower than this anyway. What
# it bounds is what costs more to take than to send: presence, requests that are refused.
FRAMES_PER_SECOND = 10_000
FRAMES_AT_ONCE = 50_000
BYTES_PER_SECOND = 16 << 20
BYTES_AT_ONCE = 64 << 20


class Throttle:
    """Allows so many frames and bytes at once, and so many a second from then on.

    The clock is looked at only when the allowance is used up: until then a message costs two
    subtractions, a tenth of a microsecond. So what came back meanwhile comes then, and twice as
    much may pass at once.
    """

    __slots__ = ("_bytes", "_filled_at", "_frames")

    def __init__(self) -> None:
        self._frames: float = FRAMES_AT_ONCE
        self._bytes: float = BYTES_AT_ONCE
        self._filled_at = time.monotonic()

    def take(self, frames: int, size: int) -> float:
        """A message has come. Returns for how many seconds no further one is to be read."""
        self._frames -= frames
        self._bytes -= size
        if self._frames >= 0 and self._bytes >= 0:
            return 0.0
        return self._refill(frames, size)

    def _refill(self, frames: int, size: int) -> float:
        now = time.monotonic()
        passed, self._filled_at = now - self._filled_at, now
        # What was left before this message, and what has come since, but never more than fits.
        left = min(FRAMES_AT_ONCE, self._frames + frames + passed * FRAMES_PER_SECOND)
        left_bytes = min(BYTES_AT_ONCE, self._bytes + size + passed * BYTES_PER_SECOND)
        self._frames, self._bytes = left - frames, left_bytes - size
        return max(0.0, -self._frames / FRAMES_PER_SECOND, -self._bytes / BYTES_PER_SECOND)
