"""A node's claim on its database."""

import asyncio

import asyncpg
import pytest

from storage import claim as module
from storage.claim import Claim, Claimed
from storage.postgres import DatabaseUnavailable


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)


async def test_nodes_that_share_are_any_number(database: str) -> None:
    async with Claim.held(database, shared=True), Claim.held(database, shared=True):
        pass


@pytest.mark.parametrize(("first", "second"), [(False, False), (True, False), (False, True)])
async def test_one_that_does_not_share_is_the_only_one(
    database: str, first: bool, second: bool
) -> None:
    async with Claim.held(database, shared=first):
        with pytest.raises(Claimed, match="REDIS_URL") as refusal:
            async with Claim.held(database, shared=second):
                pass
    assert "\n" not in str(refusal.value)
    async with Claim.held(database, shared=second):
        pass


async def test_one_that_goes_is_waited_for(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 20.0)
    first = Claim.held(database, shared=False)
    await first.__aenter__()
    second = Claim.held(database, shared=False)
    waiting = asyncio.create_task(second.__aenter__())
    await asyncio.sleep(0)
    await first.__aexit__(None, None, None)
    async with asyncio.timeout(20):
        await waiting
    await second.__aexit__(None, None, None)


async def test_a_claim_is_made_again_when_its_connection_was_lost(
    database: str, pool: asyncpg.Pool
) -> None:
    async with Claim.held(database, shared=False):
        before = await _holder(pool)
        await pool.execute("SELECT pg_terminate_backend($1)", before)
        async with asyncio.timeout(20):
            while await _holder(pool) in (None, before):
                pass
        with pytest.raises(Claimed):
            async with Claim.held(database, shared=True):
                pass


async def test_a_database_that_is_away_is_said_to_be() -> None:
    with pytest.raises(DatabaseUnavailable, match="could not be claimed"):
        async with Claim.held("postgresql://127.0.0.1:1/none", shared=True):
            pass


async def _holder(pool: asyncpg.Pool) -> int | None:
    holder: int | None = await pool.fetchval(
        "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database "
        "WHERE locktype = 'advisory' AND granted AND d.datname = current_database()"
    )
    return holder
