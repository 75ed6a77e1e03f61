"""Waiting: every wait ends, and what waits too long is bounded."""

import asyncio
import gc
from weakref import ref

import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.frames import Event
from protocol.signal import MAX_EVENTS, EventStream, Signal


async def test_a_wait_ends_when_its_condition_holds() -> None:
    signal = Signal()
    done: list[int] = []
    wait = asyncio.create_task(signal.until(lambda: len(done) == 2, 10, lambda: "nothing"))
    for _ in range(2):
        await asyncio.sleep(0)
        assert not wait.done()
        done.append(1)
        signal.notify()
    await wait


async def test_a_condition_that_holds_already_does_not_wait() -> None:
    await Signal().until(lambda: True, 0.001, lambda: "nothing")


async def test_what_a_condition_raises_ends_the_wait() -> None:
    def condition() -> bool:
        raise MemoError(ErrorCode.GONE)

    with pytest.raises(MemoError) as caught:
        await Signal().until(condition, 10, lambda: "nothing")
    assert caught.value.code is ErrorCode.GONE


async def test_a_wait_that_takes_too_long_says_for_what_and_leaves_nothing() -> None:
    signal = Signal()
    with pytest.raises(MemoError, match=r"the moon was not full within 0\.01 s") as caught:
        await signal.until(lambda: False, 0.01, lambda: "the moon was not full")
    assert caught.value.code is ErrorCode.TIMEOUT
    assert signal._waiters == []


async def test_events_come_in_order_and_end_when_the_stream_does() -> None:
    stream = EventStream()
    for number in range(3):
        stream.put(Event("e", number))
    stream.end()
    assert [event.body async for event in stream] == [0, 1, 2]


async def test_a_stream_that_nobody_reads_keeps_the_newest_and_counts_the_rest() -> None:
    stream = EventStream()
    for number in range(MAX_EVENTS + 3):
        stream.put(Event("e", number))
    assert stream.missed == 3
    assert (await anext(stream)).body == 3


async def test_a_reader_wakes_when_an_event_comes() -> None:
    stream = EventStream()
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    stream.put(Event("e", 1))
    assert (await reader).body == 1


def test_a_stream_that_is_let_go_is_collected() -> None:
    stream = EventStream()
    gone = ref(stream)
    del stream
    gc.collect()
    assert gone() is None
