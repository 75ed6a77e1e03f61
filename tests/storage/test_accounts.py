"""Users, sessions and refresh tokens on a real PostgreSQL."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.accounts import User
from protocol.errors import ErrorCode, MemoError
from storage.accounts import DEFAULT_CATEGORIES, Accounts, Rotated

_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


@pytest.fixture
def accounts(pool: asyncpg.Pool) -> Accounts:
    return Accounts(pool)


@pytest.fixture
async def ada(accounts: Accounts) -> User:
    return await accounts.create(
        email="Ada@example.com",
        username="ada",
        password_hash="hash",
        first_name="Ada",
        last_name="Lovelace",
    )


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def start(accounts: Accounts, user: User, token: str = "first") -> UUID:
    signed_in = await accounts.sign_in(user.id, digest(token), address=None, user_agent=None)
    assert signed_in is not None
    return signed_in[0]


@asynccontextmanager
async def in_the_way(
    pool: asyncpg.Pool, statement: str, *arguments: object, waiting: int
) -> AsyncIterator[None]:
    """Holds what `statement` locks, and commits it once `waiting` others wait for it."""

    async def release() -> None:
        async with asyncio.timeout(20):
            while await watcher.fetchval(_WAITING) < waiting:
                pass
        await transaction.commit()

    async with pool.acquire() as holder, pool.acquire() as watcher:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute(statement, *arguments)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(release())
            yield


async def test_a_new_account_is_as_it_was_asked_for(accounts: Accounts, ada: User) -> None:
    assert (ada.email, ada.username, ada.first_name, ada.last_name) == (
        "Ada@example.com",
        "ada",
        "Ada",
        "Lovelace",
    )
    assert (ada.role, ada.is_active, ada.is_verified, ada.last_login_at) == (
        "user",
        True,
        False,
        None,
    )
    assert ada.created_at.endswith("Z")
    assert await accounts.user(ada.id) == ada


async def test_a_new_account_has_the_default_categories_in_order(
    pool: asyncpg.Pool, ada: User
) -> None:
    rows = await pool.fetch(
        "SELECT name, icon, color, is_default FROM memory_categories"
        " WHERE user_id = $1 ORDER BY sort_order",
        ada.id,
    )
    assert [tuple(row) for row in rows] == [(*each, True) for each in DEFAULT_CATEGORIES]
    assert [row["name"] for row in rows] == [
        "Work", "Personal", "Family", "Learning", "Travel", "Health", "Finance", "Creative",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("taken", "field"),
    [
        ({"email": "aDA@EXAMPLE.com"}, "email"),
        ({"email": "other@example.com", "username": "ADA"}, "username"),
    ],
)
async def test_what_is_taken_in_any_case_is_a_conflict_that_names_it_and_leaves_nothing(
    accounts: Accounts, pool: asyncpg.Pool, ada: User, taken: dict[str, Any], field: str
) -> None:
    with pytest.raises(MemoError) as refused:
        await accounts.create(password_hash="hash", **taken)
    assert refused.value.code is ErrorCode.CONFLICT
    assert refused.value.details is not None
    assert list(refused.value.details) == [field]
    assert await pool.fetchval("SELECT count(*) FROM users") == 1
    assert await pool.fetchval("SELECT count(*) FROM memory_categories") == 8


async def test_many_accounts_have_no_username(accounts: Accounts) -> None:
    for name in ("one", "two"):
        await accounts.create(email=f"{name}@example.com", password_hash="hash")
    assert [user.email for user in await accounts.users(10)] == [
        "one@example.com",
        "two@example.com",
    ]
    assert len(await accounts.users(1)) == 1


async def test_credentials_are_found_in_any_case(accounts: Accounts, ada: User) -> None:
    found = await accounts.credentials("ADA@example.COM")
    assert found is not None
    assert (found.user_id, found.password_hash) == (ada.id, "hash")
    assert await accounts.credentials("nobody@example.com") is None


async def test_a_hash_is_replaced_only_where_it_still_stands(accounts: Accounts, ada: User) -> None:
    await accounts.replace_password_hash(ada.id, "hash", "renewed")
    await accounts.replace_password_hash(ada.id, "hash", "too late")
    found = await accounts.credentials(ada.email)
    assert found is not None
    assert found.password_hash == "renewed"


async def test_a_sign_in_keeps_where_it_came_from_and_only_the_tokens_hash(
    accounts: Accounts, pool: asyncpg.Pool, ada: User
) -> None:
    signed_in = await accounts.sign_in(
        ada.id, digest("first"), address="192.0.2.7", user_agent="a browser"
    )
    assert signed_in is not None
    session_id, user = signed_in
    assert user.last_login_at is not None
    row = await pool.fetchrow(
        "SELECT *, expires_at - created_at AS life FROM sessions WHERE id = $1", session_id
    )
    assert row is not None
    assert (row["user_id"], row["address"], row["user_agent"]) == (
        ada.id,
        "192.0.2.7",
        "a browser",
    )
    assert row["life"].days == 7
    assert await pool.fetchval("SELECT hash FROM refresh_tokens") == digest("first")
    assert await accounts.session_of(digest("first")) == session_id


async def test_a_disabled_account_gets_no_session(accounts: Accounts, ada: User) -> None:
    await accounts.set_active(ada.email, False)
    assert await accounts.sign_in(ada.id, digest("t"), address=None, user_agent=None) is None


async def test_a_sign_in_that_meets_the_disabling_of_its_account_gets_no_session(
    accounts: Accounts, pool: asyncpg.Pool, ada: User
) -> None:
    disabling = "UPDATE users SET is_active = false WHERE id = $1"
    async with in_the_way(pool, disabling, ada.id, waiting=1):
        signed_in = await accounts.sign_in(ada.id, digest("t"), address=None, user_agent=None)
    assert signed_in is None
    assert await pool.fetchval("SELECT count(*) FROM sessions") == 0


async def test_a_sign_in_forgets_sessions_long_run_out_and_no_others(
    accounts: Accounts, pool: asyncpg.Pool, ada: User
) -> None:
    old = await start(accounts, ada, "old")
    recent = await start(accounts, ada, "recent")
    await pool.execute(
        "UPDATE sessions SET expires_at = now() - interval '32 days' WHERE id = $1", old
    )
    await pool.execute(
        "UPDATE sessions SET expires_at = now() - interval '30 days' WHERE id = $1", recent
    )
    newest = await start(accounts, ada, "newest")
    ids = {row["id"] for row in await pool.fetch("SELECT id FROM sessions")}
    assert ids == {recent, newest}


async def test_a_rotation_spends_the_token_and_extends_the_session(
    accounts: Accounts, pool: asyncpg.Pool, ada: User
) -> None:
    session_id = await start(accounts, ada)
    await pool.execute(
        "UPDATE sessions SET expires_at = now() + interval '1 hour',"
        " last_active_at = now() - interval '1 day'"
    )
    rotation = await accounts.rotate(digest("first"), digest("second"))
    assert rotation.outcome is Rotated.FRESH
    assert rotation.session_id == session_id
    assert rotation.user is not None
    assert rotation.user.id == ada.id
    assert await pool.fetchval(
        "SELECT expires_at > now() + interval '6 days 23 hours'"
        " AND last_active_at > now() - interval '1 minute' FROM sessions"
    )
    assert (await accounts.rotate(digest("second"), digest("third"))).outcome is Rotated.FRESH


async def test_an_unknown_token_rotates_nothing(accounts: Accounts, ada: User) -> None:
    await start(accounts, ada)
    rotation = await accounts.rotate(digest("made up"), digest("second"))
    assert rotation.outcome is Rotated.UNKNOWN
    assert await accounts.session_of(digest("second")) is None


async def test_a_spent_token_ends_its_whole_session_and_no_other(
    accounts: Accounts, ada: User
) -> None:
    session_id = await start(accounts, ada)
    other = await start(accounts, ada, "another device")
    await accounts.rotate(digest("first"), digest("second"))
    reuse = await accounts.rotate(digest("first"), digest("stolen"))
    assert (reuse.outcome, reuse.session_id) == (Rotated.REUSED, session_id)
    assert await accounts.session_of(digest("stolen")) is None
    assert (await accounts.rotate(digest("second"), digest("third"))).outcome is Rotated.OVER
    standing = await accounts.standing(session_id)
    assert standing is not None
    assert standing.ended
    standing = await accounts.standing(other)
    assert standing is not None
    assert not standing.ended


async def test_of_several_who_refresh_at_once_with_one_token_one_wins_and_the_rest_is_reuse(
    accounts: Accounts, pool: asyncpg.Pool, ada: User
) -> None:
    session_id = await start(accounts, ada)
    lock = "SELECT FROM sessions WHERE id = $1 FOR UPDATE"
    async with in_the_way(pool, lock, session_id, waiting=4):
        rotations = await asyncio.gather(
            *(accounts.rotate(digest("first"), digest(f"next {n}")) for n in range(4))
        )
    outcomes = [rotation.outcome for rotation in rotations]
    assert outcomes.count(Rotated.FRESH) == 1
    # The first to come late ends the session; whoever comes after it finds it over.
    assert outcomes.count(Rotated.REUSED) == 1
    assert outcomes.count(Rotated.OVER) == 2
    assert await pool.fetchval("SELECT count(*) FROM refresh_tokens") == 2
    standing = await accounts.standing(session_id)
    assert standing is not None
    assert standing.ended


async def test_a_session_that_ran_out_is_not_refreshed(
    accounts: Accounts, pool: asyncpg.Pool, ada: User
) -> None:
    await start(accounts, ada)
    await pool.execute("UPDATE sessions SET expires_at = now() - interval '1 second'")
    assert (await accounts.rotate(digest("first"), digest("n"))).outcome is Rotated.OVER


async def test_a_disabled_account_does_not_refresh(
    accounts: Accounts, pool: asyncpg.Pool, ada: User
) -> None:
    await start(accounts, ada)
    await pool.execute("UPDATE users SET is_active = false")
    assert (await accounts.rotate(digest("first"), digest("n"))).outcome is Rotated.DISABLED


async def test_a_refresh_forgets_tokens_that_no_longer_matter(
    accounts: Accounts, pool: asyncpg.Pool, ada: User
) -> None:
    await start(accounts, ada)
    await accounts.rotate(digest("first"), digest("second"))
    await accounts.rotate(digest("second"), digest("third"))
    await pool.execute(
        "UPDATE refresh_tokens SET created_at = now() - interval '8 days' WHERE hash = $1",
        digest("first"),
    )
    await accounts.rotate(digest("third"), digest("fourth"))
    left = {row["hash"] for row in await pool.fetch("SELECT hash FROM refresh_tokens")}
    assert left == {digest("second"), digest("third"), digest("fourth")}


async def test_a_session_ends_once(accounts: Accounts, pool: asyncpg.Pool, ada: User) -> None:
    session_id = await start(accounts, ada)
    assert await accounts.end_session(session_id, "signed out")
    assert not await accounts.end_session(session_id, "again")
    assert not await accounts.end_session(uuid4(), "never was")
    assert await pool.fetchval("SELECT ended_reason FROM sessions") == "signed out"


async def test_standing_tells_what_became_of_session_and_account(
    accounts: Accounts, pool: asyncpg.Pool, ada: User
) -> None:
    session_id = await start(accounts, ada)
    standing = await accounts.standing(session_id)
    assert standing is not None
    assert standing.user_id == ada.id
    assert (standing.ended, standing.expired, standing.is_active) == (False, False, True)

    await pool.execute("UPDATE sessions SET expires_at = now() - interval '1 second'")
    await accounts.set_active(ada.email, False)
    standing = await accounts.standing(session_id)
    assert standing is not None
    assert (standing.ended, standing.expired, standing.is_active) == (True, True, False)

    assert await accounts.standing(uuid4()) is None


@pytest.mark.parametrize(("idle", "noted"), [("1 minute", False), ("6 minutes", True)])
async def test_use_of_a_session_is_noted_now_and_then(
    accounts: Accounts, pool: asyncpg.Pool, ada: User, idle: str, noted: bool
) -> None:
    session_id = await start(accounts, ada)
    await pool.execute(f"UPDATE sessions SET last_active_at = now() - interval '{idle}'")
    await accounts.standing(session_id)
    assert noted is await pool.fetchval(
        "SELECT last_active_at > now() - interval '30 seconds' FROM sessions"
    )


async def test_disabling_an_account_ends_its_sessions_and_enabling_leaves_them_ended(
    accounts: Accounts, ada: User
) -> None:
    bob = await accounts.create(email="bob@example.com", password_hash="hash")
    first, second = await start(accounts, ada, "a"), await start(accounts, ada, "b")
    others = await start(accounts, bob, "c")

    disabled = await accounts.set_active("ADA@EXAMPLE.COM", False)
    assert disabled is not None
    user, ended = disabled
    assert not user.is_active
    assert set(ended) == {first, second}

    enabled = await accounts.set_active(ada.email, True)
    assert enabled is not None
    assert enabled[0].is_active
    for session_id, over in ((first, True), (second, True), (others, False)):
        standing = await accounts.standing(session_id)
        assert standing is not None
        assert standing.ended is over
    assert await accounts.set_active("nobody@example.com", False) is None


async def lifetime(pool: asyncpg.Pool, session_id: UUID) -> timedelta:
    """How long the session lasts from its last use."""
    row = await pool.fetchrow(
        "SELECT expires_at - last_active_at AS lasts FROM sessions WHERE id = $1", session_id
    )
    assert row is not None
    lasts: timedelta = row["lasts"]
    return lasts


@pytest.mark.parametrize("days", [7, 30])
async def test_a_session_keeps_its_lifetime_over_refreshes(
    pool: asyncpg.Pool, accounts: Accounts, ada: User, days: int
) -> None:
    lasting = timedelta(days=days)
    signed_in = await accounts.sign_in(
        ada.id, digest("0"), address=None, user_agent=None, lifetime=lasting
    )
    assert signed_in is not None
    assert await lifetime(pool, signed_in[0]) == lasting
    # Nearly run out, it is refreshed in the last hour.
    await pool.execute("UPDATE sessions SET expires_at = now() + interval '1 hour'")
    rotation = await accounts.rotate(digest("0"), digest("1"))
    assert rotation.outcome is Rotated.FRESH
    assert await lifetime(pool, signed_in[0]) == lasting
    assert (await accounts.rotate(digest("1"), digest("2"))).outcome is Rotated.FRESH
    # The first token is still known for spent when a thief brings it.
    await pool.execute("UPDATE refresh_tokens SET created_at = created_at - interval '6 days'")
    assert (await accounts.rotate(digest("0"), digest("3"))).outcome is Rotated.REUSED


async def test_a_place_is_familiar_where_the_account_has_signed_in(
    accounts: Accounts, ada: User
) -> None:
    await accounts.sign_in(ada.id, digest("a"), address="192.0.2.1", user_agent=None)
    assert await accounts.familiar("ADA@example.com", "192.0.2.1")
    assert not await accounts.familiar(ada.email, "192.0.2.2")
    assert not await accounts.familiar("bob@example.com", "192.0.2.1")
