"""What a cache might hold: records of accounts and memories, read as the server reads them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import msgspec
from pycrdt import Doc, Text

from bench.errors import BenchmarkFailed
from protocol.accounts import User
from protocol.log import Author, Entry, Outcome, Projection, Snapshot
from protocol.log import Standing as LogStanding
from protocol.memories import ListMemories, MemoryPage
from storage.accounts import Accounts, Standing
from storage.memories import MemoryRows
from storage.updates import UpdateLog

ACCOUNTS = 100
MEMORIES = 40  # of each
EDITS = 10  # of a memory, behind its first
BODY = "What I want to remember of this day. " * 14


class Record(NamedTuple):
    """A record that is read by an id: from the database, or decoded from what a cache had."""

    name: str
    ids: Sequence[UUID]
    read: Callable[[UUID], Awaitable[Any]]
    decode: Callable[[bytes], Any]


async def records(pool: asyncpg.Pool) -> list[Record]:
    """Makes accounts with memories; returns what there is to read of them."""
    accounts, rows = Accounts(pool), MemoryRows(pool)
    log = UpdateLog(pool, rows)
    people, sessions, memories = [], [], []
    for number in range(ACCOUNTS):
        person = await accounts.create(
            email=f"person{number}@example.com", password_hash=None, first_name="Ada"
        )
        refresh = number.to_bytes(32)
        await accounts.sign_in(person.id, refresh, address="192.0.2.1", user_agent="bench")
        session = await accounts.session_of(refresh)
        assert session is not None
        people.append(person.id)
        sessions.append(session)
        memories += [await _memory(rows, log, person.id) for _ in range(MEMORIES)]

    async def opened(memory_id: UUID) -> object:
        return await log.standing(memory_id), await log.content(memory_id, 0)

    opening = tuple[LogStanding, tuple[Snapshot | None, list[tuple[int, bytes]]]]
    return [
        Record("session's standing", sessions, accounts.standing, _decoder(Standing)),
        Record("user by id", people, accounts.user, _decoder(User)),
        Record(
            "memories.list, 20 of 40",
            people,
            lambda person: rows.list(person, ListMemories()),
            _decoder(MemoryPage),
        ),
        Record("documents.open, small", memories, opened, _decoder(opening)),
    ]


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    decode: Callable[[bytes], Any] = msgspec.msgpack.Decoder(kind).decode
    return decode


async def _memory(rows: MemoryRows, log: UpdateLog, owner: UUID) -> UUID:
    """A memory with a body of half a kilobyte, edited a few times."""
    made: list[bytes] = []
    document: Doc[Text] = Doc()
    text = document.get("content", type=Text)
    watching = document.observe(lambda event: made.append(event.update))
    text += BODY
    for number in range(EDITS):
        text += str(number)
    document.unobserve(watching)
    memory_id, author = uuid4(), Author(owner)
    projection = Projection("A day", None, {"text": BODY}, ["day"], {}, [])
    await rows.create(
        Entry(memory_id, author, made[0], ((document.client_id, owner),), projection),
        category_id=None,
        is_favorite=False,
        is_archived=False,
    )
    outcomes = await log.commit([Entry(memory_id, author, update) for update in made[1:]])
    if any(each.outcome is not Outcome.COMMITTED for each in outcomes):
        raise BenchmarkFailed("an edit was refused")
    return memory_id
