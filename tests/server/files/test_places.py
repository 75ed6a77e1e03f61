"""Who may upload when many do: those who bring something, and nobody all places."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest

from protocol.errors import ErrorCode, MemoError
from server.files.places import (
    ACCOUNT_AT_ONCE,
    AT_ONCE,
    LEAST_BYTES,
    PACE_SECONDS,
    SMALL_AT_ONCE,
    SMALL_BYTES,
    SMALL_SECONDS,
    Place,
    Places,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def places(clock: Clock) -> Places:
    return Places(clock)


class Room:
    """Uploads that have their places until the end."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._stack = ExitStack()

    def __enter__(self) -> "Room":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self, account_id: UUID, count: int = 1) -> list[Place]:
        return [self._stack.enter_context(self._places.taken(account_id)) for _ in range(count)]


async def paced(clock: Clock, seconds: float, *pieces: int) -> AsyncIterator[bytes]:
    """So many bytes each, each after so long."""
    for piece in pieces:
        clock.now += seconds
        yield bytes(piece)


async def never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def read(place: Place, source: AsyncIterator[bytes]) -> int:
    return sum([len(chunk) async for chunk in place.chunks(source)])


async def test_what_drips_is_ended_and_what_is_slow_is_not(places: Places, clock: Clock) -> None:
    with Room(places) as room:
        [drip, slow] = room.take(uuid4(), 2)
        with pytest.raises(MemoError) as stalled:
            await read(drip, paced(clock, 8, *[1] * 100))
        assert stalled.value.code is ErrorCode.TIMEOUT
        assert drip.brought <= PACE_SECONDS / 8 + 1
        second = LEAST_BYTES // 30
        assert await read(slow, paced(clock, 1, *[second] * 200)) == 200 * second


async def test_how_long_bytes_take_to_be_stored_is_not_the_uploads_fault(
    places: Places, clock: Clock
) -> None:
    with Room(places) as room:
        [place] = room.take(uuid4())
        async for _ in place.chunks(paced(clock, 1, *[10] * 20)):
            clock.now += 60


async def test_accounts_that_fill_all_places_make_room_for_one_that_comes(places: Places) -> None:
    with Room(places) as room:
        taken = [place for _ in range(4) for place in room.take(uuid4(), ACCOUNT_AT_ONCE)]
        assert len(taken) == AT_ONCE
        waiting = [asyncio.create_task(read(place, never())) for place in taken]
        await asyncio.sleep(0)
        newcomer = uuid4()
        room.take(newcomer, 3)
        async with asyncio.timeout(10):
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
        ended = [task for task in waiting if task.done()]
        assert len(ended) == 3
        for task in ended:
            error = task.exception()
            assert isinstance(error, MemoError)
            assert error.code is ErrorCode.BUSY
        # No account that has as many gives way to another one.
        assert not any(place.leaves for place in room.take(newcomer, 1))
        for task in waiting:
            task.cancel()


async def test_of_as_many_accounts_as_places_the_slowest_gives_way(
    places: Places, clock: Clock
) -> None:
    with Room(places) as room:
        everybody = [place for _ in range(AT_ONCE) for place in room.take(uuid4())]
        with pytest.raises(MemoError) as busy:  # nobody has been looked at for long enough
            room.take(uuid4())
        assert busy.value.code is ErrorCode.BUSY
        for number, place in enumerate(everybody):
            await read(place, paced(clock, 10, 10_000 * (number + 1)))
        room.take(uuid4())
        assert [place.leaves for place in everybody] == [True] + [False] * (AT_ONCE - 1)
        with pytest.raises(MemoError) as gives_way:
            await read(everybody[0], paced(clock, 1, 100))
        assert gives_way.value.code is ErrorCode.BUSY


async def test_an_account_has_so_many_at_once(places: Places) -> None:
    with Room(places) as room:
        account = uuid4()
        room.take(account, ACCOUNT_AT_ONCE)
        with pytest.raises(MemoError) as busy:
            room.take(account)
        assert busy.value.code is ErrorCode.BUSY
        room.take(uuid4())


async def test_small_requests_are_so_many_a_minute(places: Places, clock: Clock) -> None:
    account = uuid4()
    for _ in range(SMALL_AT_ONCE):
        with Room(places) as room:
            [place] = room.take(account)
            await read(place, paced(clock, 0, SMALL_BYTES))
        with Room(places) as room:
            [place] = room.take(account)
            place.whole = True  # a small file is one
    for _ in range(SMALL_AT_ONCE):
        with Room(places) as room:
            room.take(account)
    with pytest.raises(MemoError) as busy, Room(places) as room:
        room.take(account)
    assert busy.value.code is ErrorCode.BUSY
    assert busy.value.retry_after == SMALL_SECONDS
    with Room(places) as room:
        room.take(uuid4())
    clock.now += SMALL_SECONDS + 1
    with Room(places) as room:
        room.take(account)
