"""The roster: who is connected is told what concerns them, also when no message came."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol import frames
from protocol.log import Author, Entry
from server.roster import Roster
from server.tokens import Principal
from storage.accounts import Accounts
from storage.claim import Claim
from storage.feed import Feed
from storage.memories import MemoryRows
from storage.updates import UpdateLog
from sync.broker import LocalBroker
from sync.feed import account_topic
from tests.rows import add_member, add_memory, add_person


class Visitor:
    """A connection, as the roster sees it."""

    def __init__(self, roster: Roster, principal: Principal) -> None:
        self.endings = 0
        self.messages: list[bytes] = []
        self.leave = roster.enter(principal, self._ended, self.messages.append)

    def _ended(self, _: bytes) -> None:
        self.endings += 1


@pytest.fixture
def broker() -> LocalBroker:
    return LocalBroker()


@pytest.fixture
def roster(pool: asyncpg.Pool, broker: LocalBroker) -> Roster:
    return Roster(broker, Accounts(pool), Feed(pool))


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


async def session(pool: asyncpg.Pool, author: Author) -> Principal:
    session_id: UUID = await pool.fetchval(
        "INSERT INTO sessions (user_id, expires_at) VALUES ($1, now() + interval '1 day')"
        " RETURNING id",
        author.account_id,
    )
    return principal(author, session_id)


def principal(author: Author, session_id: UUID) -> Principal:
    return Principal(
        account_id=author.account_id,
        session_id=session_id,
        email="ada@example.com",
        role="user",
        permissions=frozenset(),
        expires_at=time.time() + 900,
    )


async def test_a_session_that_ended_without_a_word_is_found(
    pool: asyncpg.Pool, roster: Roster, ada: Author
) -> None:
    over, lives = await session(pool, ada), await session(pool, ada)
    visitors = [Visitor(roster, over), Visitor(roster, over), Visitor(roster, lives)]
    await roster.check_sessions()
    assert [visitor.endings for visitor in visitors] == [0, 0, 0]
    await Accounts(pool).end_session(over.session_id, "signed out")
    await roster.check_sessions()
    assert [visitor.endings for visitor in visitors] == [1, 1, 0]


async def test_a_session_of_a_disabled_account_or_of_none_is_over(
    pool: asyncpg.Pool, roster: Roster, ada: Author
) -> None:
    disabled = Visitor(roster, await session(pool, ada))
    unknown = Visitor(roster, principal(ada, uuid4()))
    await pool.execute("UPDATE users SET is_active = false WHERE id = $1", ada.account_id)
    await roster.check_sessions()
    assert (disabled.endings, unknown.endings) == (1, 1)


async def test_who_has_left_is_told_nothing(
    pool: asyncpg.Pool, roster: Roster, broker: LocalBroker, ada: Author
) -> None:
    speaker = await session(pool, ada)
    first, second = Visitor(roster, speaker), Visitor(roster, speaker)
    first.leave()
    broker.publish(account_topic(ada.account_id), b"news")
    await Accounts(pool).end_session(speaker.session_id, "signed out")
    await roster.check_sessions()
    assert (first.endings, first.messages) == (0, [])
    assert (second.endings, second.messages) == (1, [b"news"])
    second.leave()
    assert broker._topics == {}


async def test_after_a_miss_the_devices_with_news_are_told_and_no_others(
    pool: asyncpg.Pool, roster: Roster, ada: Author
) -> None:
    bob, eve = await add_person(pool), await add_person(pool)
    log = UpdateLog(pool, MemoryRows(pool))
    memory = await add_memory(pool, ada, editor=bob)
    await add_memory(pool, eve)
    visitors = {who: Visitor(roster, await session(pool, who)) for who in (ada, bob, eve)}
    await roster.check_news(False)
    await log.commit([Entry(memory, ada, b"1")])
    # The look that notices comes late: what changed before the last one counts too.
    await roster.check_news(False)
    await roster.check_news(True)
    for who in (ada, bob):
        [message] = visitors[who].messages
        [event] = frames.decode_server(message)
        assert isinstance(event, frames.Event)
        assert event.name == "feed.changed"
    assert visitors[eve].messages == []
    for _ in range(2):
        await roster.check_news(False)
    await roster.check_news(True)
    assert len(visitors[ada].messages) == 1


async def test_a_new_member_is_told_of_what_is_shared(
    pool: asyncpg.Pool, roster: Roster, ada: Author
) -> None:
    bob = await add_person(pool)
    memory = await add_memory(pool, ada)
    visitor = Visitor(roster, await session(pool, bob))
    await roster.check_news(False)
    await add_member(pool, memory, bob, "viewer")
    await roster.check_news(True)
    assert len(visitor.messages) == 1


async def test_the_roster_looks_for_ended_sessions_and_goes_on_when_it_cannot(
    pool: asyncpg.Pool, broker: LocalBroker, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.roster.SESSIONS_SECONDS", 0.0)
    accounts = Accounts(pool)
    real, outages = accounts.ended, iter((OSError("away"), ValueError("a defect")))

    async def ended(session_ids: object) -> object:
        for outage in outages:
            raise outage
        return await real(session_ids)  # type: ignore[arg-type]

    monkeypatch.setattr(accounts, "ended", ended)
    roster = Roster(broker, accounts, Feed(pool))
    visitor = Visitor(roster, await session(pool, ada))
    running = asyncio.create_task(roster.run())
    await pool.execute("UPDATE sessions SET ended_at = now()")
    async with asyncio.timeout(20):
        while not visitor.endings:  # noqa: ASYNC110 (the test is told by a plain call)
            await asyncio.sleep(0)
    running.cancel()


# What the database tells


@asynccontextmanager
async def listening(roster: Roster, database: str) -> AsyncIterator[None]:
    """The roster runs, and looks for nothing by itself."""
    async with Claim.held(database, shared=True) as claim:
        running = asyncio.create_task(roster.run())
        await claim.follow(roster.hear)
        yield
        running.cancel()


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.roster.SESSIONS_SECONDS", 600.0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (the test is told by plain calls)
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("idle")
async def test_a_notice_ends_the_session_that_it_names_and_no_other(
    pool: asyncpg.Pool, database: str, roster: Roster, ada: Author
) -> None:
    over, lives = await session(pool, ada), await session(pool, ada)
    first, second = Visitor(roster, over), Visitor(roster, lives)
    async with listening(roster, database):
        await pool.execute("UPDATE sessions SET ended_at = now() WHERE id = $1", over.session_id)
        await until(lambda: first.endings)
    assert second.endings == 0


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(
    "statement",
    ["UPDATE users SET is_active = false WHERE id = $1", "DELETE FROM users WHERE id = $1"],
)
async def test_a_notice_ends_all_sessions_of_an_account_that_is_closed(
    pool: asyncpg.Pool, database: str, roster: Roster, ada: Author, statement: str
) -> None:
    bob = await add_person(pool)
    hers = [Visitor(roster, await session(pool, ada)) for _ in range(2)]
    his = Visitor(roster, await session(pool, bob))
    async with listening(roster, database):
        await pool.execute(statement, ada.account_id)
        await until(lambda: all(visitor.endings for visitor in hers))
    assert his.endings == 0


@pytest.mark.usefixtures("idle")
async def test_a_role_is_told_to_its_accounts_connections_and_to_none_that_left(
    pool: asyncpg.Pool, database: str, roster: Roster, ada: Author
) -> None:
    roles: list[str] = []
    bobs: list[str] = []
    speaker = await session(pool, ada)
    leave = roster.enter(speaker, lambda _: None, granted=roles.append)
    roster.enter(await session(pool, await add_person(pool)), lambda _: None, granted=bobs.append)
    async with listening(roster, database):
        await until(lambda: roles and bobs)  # who has just come is told what they may have missed
        await pool.execute("UPDATE users SET role = 'admin' WHERE id = $1", ada.account_id)
        await until(lambda: roles[-1] == "admin")
        leave()
        await pool.execute("UPDATE users SET role = 'user' WHERE id = $1", ada.account_id)
        late: list[str] = []
        roster.enter(speaker, lambda _: None, granted=late.append)
        roster.hear(None)
        await until(lambda: late)
    assert roles[-1] == "admin"
    assert set(late) == {"user"}
    assert set(bobs) == {"user"}


@pytest.mark.usefixtures("idle")
async def test_what_was_missed_while_the_connection_was_lost_is_found(
    pool: asyncpg.Pool, database: str, roster: Roster, ada: Author
) -> None:
    visitor = Visitor(roster, await session(pool, ada))
    async with listening(roster, database):
        async with pool.acquire() as connection, connection.transaction():
            # Whoever listens is gone before the notice is sent.
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'memo node' AND datname = current_database()"
            )
            await connection.execute("UPDATE sessions SET ended_at = now()")
        await until(lambda: visitor.endings)


def test_a_notice_of_another_kind_is_passed_over(roster: Roster) -> None:
    for notice in ("", "session", "session x", "account ", f"colour {uuid4()}"):
        roster.hear(notice)
