"""Signing keys at rest: sealed when there is a key for that, and never lost on the way."""

from datetime import timedelta

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from server.config import ConfigError
from server.identity.vault import Vault
from server.keyring import Keyring
from server.tokens import generate_key
from storage.keys import SigningKeys

OLD, NEW = b"\1" * 32, b"\2" * 32
MONTH = timedelta(days=31)


def keyring(pool: asyncpg.Pool, *keys: bytes) -> Keyring:
    return Keyring(SigningKeys(pool), Vault(keys))


async def kept(pool: asyncpg.Pool) -> str:
    """All that the table has."""
    rows = await pool.fetch("SELECT private_pem FROM signing_keys")
    return "".join(row[0] for row in rows)


async def test_a_key_in_the_clear_goes_on_signing_and_is_sealed_by_the_next_start(
    pool: asyncpg.Pool,
) -> None:
    made = await keyring(pool).ensure()
    assert "PRIVATE KEY" in await kept(pool)
    assert await keyring(pool, OLD).ensure() == made
    sealed = await kept(pool)
    assert sealed.startswith("sealed:")
    # The next start, and another node's, find it so.
    assert await keyring(pool, OLD).ensure() == made
    assert await kept(pool) == sealed


async def test_one_that_is_made_is_sealed_from_the_first_moment(pool: asyncpg.Pool) -> None:
    ring = keyring(pool, OLD)
    [made] = await ring.ensure()
    assert (await kept(pool)).startswith("sealed:")
    assert await ring.current() == [made]
    assert made.private_pem.startswith("-----BEGIN")


async def test_a_retired_key_is_sealed_as_well(pool: asyncpg.Pool) -> None:
    ring = keyring(pool)
    await ring.ensure()
    assert await ring.rotate(timedelta()) == 1
    await keyring(pool, OLD).ensure()
    assert "PRIVATE KEY" not in await kept(pool)


async def test_a_rotation_seals_all_by_the_key_in_front(pool: asyncpg.Pool) -> None:
    [first] = await keyring(pool, OLD).ensure()
    # A start alone does not: nodes that have but the old one could not read it.
    assert await keyring(pool, NEW, OLD).ensure() == [first]
    assert await keyring(pool, OLD).ensure() == [first]
    assert await keyring(pool, NEW, OLD).rotate(MONTH) == 2
    keys = await keyring(pool, NEW).ensure()
    assert len(keys) == 2
    assert keys[1] == first


async def test_without_the_key_nothing_starts_and_a_rotation_helps(pool: asyncpg.Pool) -> None:
    [lost] = await keyring(pool, OLD).ensure()
    for others in ((), (NEW,)):
        with pytest.raises(ConfigError, match="ENCRYPTION_KEY does not hold"):
            await keyring(pool, *others).ensure()
    assert await keyring(pool, NEW).rotate(timedelta()) == 1
    [key] = await keyring(pool, NEW).ensure()
    assert key != lost


async def test_a_node_goes_on_with_what_it_has_read_until_that_is_retired(
    pool: asyncpg.Pool,
) -> None:
    node = keyring(pool)
    [first] = await node.ensure()
    other = keyring(pool, OLD)
    await other.ensure()
    assert await node.current() == [first]  # it is sealed now, and known
    await other.rotate(MONTH)
    assert await node.current() == [first]
    assert len(await other.current()) == 2
    # One that may have leaked is not believed for that.
    await other.rotate(timedelta())
    with pytest.raises(MemoError) as refused:
        await node.current()
    assert refused.value.code is ErrorCode.UNAVAILABLE


async def test_a_sealed_key_does_not_open_as_another(pool: asyncpg.Pool) -> None:
    ring = keyring(pool, OLD)
    await ring.ensure()
    await pool.execute("UPDATE signing_keys SET id = $1", generate_key().id)
    with pytest.raises(ConfigError):
        await keyring(pool, OLD).ensure()
