"""Places: which uploads a node takes in at a time, and which of them give way to others.

Each holds up to a part in memory, so there are only so many. Nobody keeps them from others by
filling them: an upload that brings next to nothing is ended, and when all places are taken, one
that is slow, or of an account that has more of them, makes room for one that comes.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from server.files.bodies import StalledError

AT_ONCE = 64
LEAVING_AT_ONCE = 64  # that were told to give way and are about to
ACCOUNT_AT_ONCE = 16
PACE_SECONDS = 30.0  # of waiting for bytes, in which there have to be
LEAST_BYTES = 30_000  # as many as these
SLOW_BYTES = 32_000  # a second: slower ones give way when all places are taken,
SETTLED_SECONDS = 5.0  # once they were waited for so long
SMALL_BYTES = 256 << 10  # a request that brings less is one of
SMALL_AT_ONCE = 120  # that an account may send,
SMALL_SECONDS = 60.0  # within this time


class Place:
    """One upload's. Time is counted while the upload waits for bytes, not while they are stored.

    Attributes:
        brought: bytes.
        whole: whether the file is, with these.
        leaves: whether it gives way.
    """

    def __init__(self, account_id: UUID, clock: Callable[[], float]) -> None:
        self.account_id = account_id
        self.brought = 0
        self.whole = False
        self.leaves = False
        self._clock = clock
        self._asked_at: float | None = None
        self._waiting: asyncio.Timeout | None = None
        self._waited = 0.0  # since the pace was last looked at, as are the bytes
        self._bytes = 0
        self._pace = math.inf

    async def chunks(self, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """What the source brings.

        Raises:
            MemoError: `StalledError`, when it is too slow or has to give way; what `source`
                raises.
        """
        while True:
            chunk = await self._next(source)
            if chunk is None:
                return
            self.brought += len(chunk)
            self._bytes += len(chunk)
            if self._waited > PACE_SECONDS:
                if self._bytes < LEAST_BYTES:
                    raise StalledError(
                        ErrorCode.TIMEOUT,
                        f"an upload has to bring {LEAST_BYTES} bytes in {PACE_SECONDS:.0f} seconds",
                        retry_after=1,
                    )
                self._pace = self._bytes / self._waited
                self._bytes, self._waited = 0, 0.0
            yield chunk

    async def _next(self, source: AsyncIterator[bytes]) -> bytes | None:
        if self.leaves:
            raise _gives_way()
        self._asked_at = self._clock()
        try:
            async with asyncio.timeout(None) as self._waiting:
                return await anext(source, None)
        except TimeoutError:
            if self.leaves:
                raise _gives_way() from None
            raise
        finally:
            self._waited += self._clock() - self._asked_at
            self._asked_at = self._waiting = None

    @property
    def pace(self) -> float:
        """Bytes a second; infinitely many before there is something to go by."""
        waited = self._waited
        if self._asked_at is not None:
            waited += self._clock() - self._asked_at
        return self._bytes / waited if waited > SETTLED_SECONDS else self._pace

    def give_way(self) -> None:
        """End the upload: what it brought stays, if it is one that can be gone on with."""
        self.leaves = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())


class Places:
    """Those of a node. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._taken: set[Place] = set()
        self._accounts: Counter[UUID] = Counter()
        self._small: Counter[UUID] = Counter()
        self._small_since = -math.inf

    @contextmanager
    def taken(self, account_id: UUID) -> Iterator[Place]:
        """A place for a request that brings an upload, or some of one.

        Raises:
            MemoError: `busy`.
        """
        self._check_small(account_id)
        if self._accounts[account_id] >= ACCOUNT_AT_ONCE:
            raise _busy()
        self._make_room(account_id)
        place = Place(account_id, self._clock)
        self._taken.add(place)
        self._accounts[account_id] += 1
        try:
            yield place
        finally:
            self._taken.remove(place)
            self._accounts[account_id] -= 1
            if not self._accounts[account_id]:
                del self._accounts[account_id]
            if not place.whole and place.brought < SMALL_BYTES:
                self._small[account_id] += 1

    def _check_small(self, account_id: UUID) -> None:
        now = self._clock()
        if now - self._small_since > SMALL_SECONDS:
            self._small.clear()
            self._small_since = now
        if self._small[account_id] >= SMALL_AT_ONCE:
            raise MemoError(
                ErrorCode.BUSY,
                f"too many requests bring less than {SMALL_BYTES} bytes, and no file to its end;"
                " send larger ones",
                retry_after=self._small_since + SMALL_SECONDS - now,
            )

    def _make_room(self, account_id: UUID) -> None:
        staying = [place for place in self._taken if not place.leaves]
        if len(staying) < AT_ONCE:
            return
        own = self._accounts[account_id]
        giving = [
            place
            for place in staying
            if place.pace < SLOW_BYTES or self._accounts[place.account_id] >= own + 2
        ]
        if not giving or len(self._taken) - len(staying) >= LEAVING_AT_ONCE:
            raise _busy()
        min(
            giving,
            key=lambda place: (
                place.pace >= SLOW_BYTES,
                -self._accounts[place.account_id],
                place.pace,
            ),
        ).give_way()


def _busy() -> MemoError:
    return MemoError(ErrorCode.BUSY, "too many files are being uploaded at once", retry_after=2)


def _gives_way() -> StalledError:
    return StalledError(
        ErrorCode.BUSY, "others wait for the place of this upload; go on in a moment", retry_after=2
    )
