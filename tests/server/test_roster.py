"""The roster: who is connected is told what concerns them, also when no message came."""

import asyncio
import time
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol import frames
from protocol.log import Author, Entry
from server.roster import Roster
from server.tokens import Principal
from storage.accounts import Accounts
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
