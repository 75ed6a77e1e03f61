"""Turns: how many operations run at once."""

import asyncio
from uuid import uuid4

import pytest

from server.turns import Turns

ADA, BOB = uuid4(), uuid4()


async def test_an_account_that_has_all_its_turns_holds_up_nobody_else() -> None:
    turns = Turns(4, 2)
    for _ in range(2):
        await turns.acquire(ADA)
    waiting = asyncio.create_task(turns.acquire(ADA))
    async with asyncio.timeout(20):
        await turns.acquire(BOB)
    assert not waiting.done()
    turns.release(ADA)
    async with asyncio.timeout(20):
        await waiting


async def test_no_more_run_than_the_node_bears() -> None:
    turns = Turns(1, 2)
    await turns.acquire(ADA)
    waiting = asyncio.create_task(turns.acquire(BOB))
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.release(ADA)
    async with asyncio.timeout(20):
        await waiting


@pytest.mark.parametrize("limits", [(1, 2), (2, 1)])
async def test_who_gives_up_leaves_nothing_behind(limits: tuple[int, int]) -> None:
    turns = Turns(*limits)
    await turns.acquire(ADA)
    for _ in range(3):
        waiting = asyncio.create_task(turns.acquire(ADA))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    turns.release(ADA)
    assert not len(turns._shares)
    async with asyncio.timeout(20):
        await turns.acquire(BOB)
