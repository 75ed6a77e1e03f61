"""The signing keys' table."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from storage.keys import SigningKey, SigningKeys

FIRST = SigningKey("first", "pem of the first")
SECOND = SigningKey("second", "pem of the second")
THIRD = SigningKey("third", "pem of the third")


async def test_the_first_start_makes_the_key_and_later_starts_find_it(pool: asyncpg.Pool) -> None:
    keys = SigningKeys(pool)
    assert await keys.ensure(lambda: FIRST) == [FIRST]
    assert await keys.ensure(lambda: SECOND) == [FIRST]
    assert await keys.current() == [FIRST]


async def test_nodes_that_start_at_once_agree_on_one_key(pool: asyncpg.Pool) -> None:
    keys = SigningKeys(pool)
    found = await asyncio.gather(
        *(keys.ensure(lambda: SigningKey(str(uuid4()), "pem")) for _ in range(8))
    )
    assert all(answer == found[0] for answer in found)
    assert await pool.fetchval("SELECT count(*) FROM signing_keys") == 1


async def test_a_rotation_puts_the_new_key_first_and_keeps_the_old_one(
    pool: asyncpg.Pool,
) -> None:
    keys = SigningKeys(pool)
    await keys.ensure(lambda: FIRST)
    await keys.rotate(SECOND, timedelta(days=31))
    assert await keys.current() == [SECOND, FIRST]


async def test_a_rotation_retires_what_was_replaced_long_enough_ago(pool: asyncpg.Pool) -> None:
    keys = SigningKeys(pool)
    await keys.ensure(lambda: FIRST)
    await keys.rotate(SECOND, timedelta(days=31))
    await pool.execute("UPDATE signing_keys SET created_at = created_at - interval '32 days'")
    await keys.rotate(THIRD, timedelta(days=31))
    # The second one signed until now, so its tokens may have their whole life before them.
    assert await keys.current() == [THIRD, SECOND]


async def test_a_rotation_that_keeps_nothing_retires_every_other_key_at_once(
    pool: asyncpg.Pool,
) -> None:
    keys = SigningKeys(pool)
    await keys.ensure(lambda: FIRST)
    await keys.rotate(SECOND, timedelta(days=31))
    await keys.rotate(THIRD, timedelta(0))
    assert await keys.current() == [THIRD]


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_a_key_does_not_show_itself(show: object) -> None:
    assert callable(show)
    assert "pem" not in show(FIRST)
