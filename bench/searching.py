"""`python -m bench.searching`: lists and searches of an account with very many memories.

Two accounts of the same size in one database, their memories written in turns, as the server's
settings have PostgreSQL. Asks through the server's own classes and its pool, one after another, and
tells the CPU time beside the latencies, which other work on the machine changes less. Its database
is gone in the end.
"""

import argparse
import asyncio
import sys
import time
from bisect import bisect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from statistics import median
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import msgspec
import uvloop

from bench.parts import local_postgres, postgres_cpu
from bench.server import new_directory
from bench.table import head, milliseconds, percentile, row
from protocol.lexemes import lexemes_of
from protocol.log import Message, Projection
from protocol.memories import ListMemories
from protocol.search import SearchQuery
from storage.memories import MemoryRows
from storage.search import SearchRows
from storage.terms import key_of

MEMORIES = 100_000
ROUNDS = 3  # of all questions, of whose figures the medians are told
REPEATS = 20  # of a question in a round
BATCH = 2000
VOCABULARY = 30_000
WRITES = 200
SYLLABLES = [first + second for first in "bcdfghjklmnprstvwz" for second in "aeiouy"]
START = datetime(2020, 1, 1, tzinfo=UTC)

Ask = Callable[[], Awaitable[int]]


class Language:
    """Words as often as Zipf has it: the n-th one n times as rare as the first."""

    def __init__(self, random: Random) -> None:
        self._random = random
        words: dict[str, None] = {}
        while len(words) < VOCABULARY:
            words["".join(random.choices(SYLLABLES, k=random.randint(1, 4)))] = None
        self.words = list(words)
        self._sums = list(accumulate(1 / (rank + 2) for rank in range(VOCABULARY)))

    def text(self, count: int) -> str:
        return " ".join(
            self.words[bisect(self._sums, self._random.random() * self._sums[-1])]
            for _ in range(count)
        )


def main() -> int:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.searching", description=__doc__)
    parser.add_argument("--memories", type=int, default=MEMORIES, help="of each of two accounts")
    count = parser.parse_args().memories
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(_report(count)))
    return 0


async def _report(count: int) -> str:
    with new_directory() as directory:
        async with local_postgres(directory) as pool:
            language = Language(Random(7))
            started = time.perf_counter()
            person, _ = await _fill(pool, language, count)
            print(f"filled in {time.perf_counter() - started:.0f} s", file=sys.stderr)
            rounds = [await ask_all(pool, person, language, count) for _ in range(ROUNDS)]
            sizes = await _sizes(pool)
            writes = await _writes(pool, person, language)
    return f"{table_of(rounds)}\n{sizes}\n\n{writes}"


def table_of(rounds: Sequence[Sequence["Figures"]]) -> str:
    """The medians of the rounds."""
    table = head("question", "found", "p50", "p95", "CPU, PostgreSQL", "CPU, server")
    for same in zip(*rounds, strict=True):
        numbers = zip(*(figures[2:] for figures in same), strict=True)
        cells = (milliseconds(median(each)) for each in numbers)
        table += row(same[0].name, f"{same[0].found:,}", *cells)
    return table


class Figures(NamedTuple):
    """A question's in one round; times are in seconds, those of CPU for each time it was asked."""

    name: str
    found: int
    p50: float
    p95: float
    postgres: float
    server: float


async def ask_all(
    pool: asyncpg.Pool, person: UUID, language: Language, count: int
) -> list[Figures]:
    """One round of all questions."""
    rounds = []
    for name, ask in _questions(pool, person, language, count):
        found = await ask()
        taken = []
        postgres, server = postgres_cpu(), time.process_time()
        for _ in range(REPEATS):
            started = time.perf_counter()
            await ask()
            taken.append(time.perf_counter() - started)
        used = (postgres_cpu() - postgres) / REPEATS, (time.process_time() - server) / REPEATS
        taken.sort()
        rounds.append(Figures(name, found, percentile(taken, 0.5), percentile(taken, 0.95), *used))
        print(f"{name}: {found:,} in {milliseconds(rounds[-1].p50)}", file=sys.stderr)
    return rounds


def _questions(
    pool: asyncpg.Pool, person: UUID, language: Language, count: int
) -> Iterator[tuple[str, Ask]]:
    rows = MemoryRows(pool)
    search = SearchRows(pool, rows)
    words = language.words

    def listing(**query: Any) -> Ask:
        async def ask() -> int:
            return (await rows.list(person, ListMemories(**query))).pagination.total

        return ask

    def searching(**query: Any) -> Ask:
        async def ask() -> int:
            return (await search.query(person, SearchQuery(**query))).total

        return ask

    last = count // 20
    common, rare = words[0], words[VOCABULARY // 2]
    day = timedelta(days=1)
    year = (START + 365 * day, START + 730 * day)
    yield "list, newest change first", listing()
    yield "list, page 10", listing(page=10)
    yield "list, page in the middle", listing(page=last // 2)
    yield "list, last page", listing(page=last)
    yield "list, by title", listing(sort_by="title", sort_order="asc")
    yield "list, by title downwards", listing(sort_by="title")
    yield "list, last page by title", listing(sort_by="title", sort_order="asc", page=last)
    yield "list, first created first", listing(sort_by="created_at", sort_order="asc")
    yield "list, favourites", listing(is_favorite=True)
    yield "list, not archived, uncategorized", listing(is_archived=False, uncategorized=True)
    yield (
        "list, created in one year",
        listing(created_after=year[0].isoformat(), created_before=year[1].isoformat()),
    )
    yield "list, the trash", listing(trashed=True, sort_by="deleted_at")
    yield "list, a common tag", listing(tags=["tag0"])
    yield "list, a rare tag", listing(tags=["tag199"])
    yield "list, with a common word", listing(search=common)
    yield "list, with a rare word", listing(search=rare)
    yield (
        "list, with a common word, favourites by title",
        listing(search=common, is_favorite=True, sort_by="title"),
    )
    yield "search, rare word", searching(query=rare)
    yield "search, word of 1 in 100", searching(query=words[300])
    yield "search, most common word", searching(query=common)
    yield "search, two common words", searching(query=f"{words[0]} {words[1]}")
    yield "search, common word without another", searching(query=f"{common} -{words[1]}")
    yield "search, 1 letter", searching(query="c")
    yield "search, 2 letters", searching(query="ca")
    yield "search, 3 letters", searching(query="car")
    yield "search, phrase of common words", searching(query=f'"{words[0]} {words[1]}"')
    yield "search, phrase of rarer words", searching(query=f'"{words[100]} {words[200]}"')
    yield "search, most common word and a tag", searching(query=common, tags=["tag0"])
    yield "search, in messages only", searching(query=common, types=["message"])
    yield "search, nothing found", searching(query="nowhere")
    yield "search, page 40 of the most common word", searching(query=common, offset=780)


async def _fill(pool: asyncpg.Pool, language: Language, count: int) -> list[UUID]:
    people = [uuid4(), uuid4()]
    await pool.executemany(
        "INSERT INTO users (id, email) VALUES ($1, $2)",
        [(person, f"{person}@example.com") for person in people],
    )
    random = Random(11)
    for first in range(0, count, BATCH):
        batch = [
            (person, uuid4(), number, _memory(random, language))
            for number in range(first, min(first + BATCH, count))
            for person in people
        ]
        async with pool.acquire() as connection, connection.transaction():
            await _copy(connection, batch, count)
        print(f"\r{first + BATCH:,} memories of each", end="", file=sys.stderr)
    print(file=sys.stderr)
    async with pool.acquire() as connection:
        await connection.execute("VACUUM (ANALYZE)", timeout=600)
    return people


def _memory(random: Random, language: Language) -> Projection:
    tags = sorted({f"tag{int(200 * random.random() ** 3)}" for _ in range(random.randint(0, 4))})
    messages = []
    if random.random() < 0.1:
        messages = [_message(language.text(12)) for _ in range(random.randint(1, 8))]
    projection = Projection(
        title=language.text(random.randint(2, 6)).capitalize(),
        description=language.text(10) if random.random() < 0.3 else None,
        content={"text": language.text(random.randint(20, 160))},
        tags=tags,
        metadata={},
        messages=messages,
    )
    return msgspec.structs.replace(projection, words=lexemes_of(projection))


def _message(content: str) -> Message:
    return Message(
        id=uuid4(),
        content=content,
        message_type="text",
        user_id=None,
        parent_message_id=None,
        metadata=None,
        attachments=None,
        is_ai_generated=False,
        status="sent",
        created_at=None,
    )


async def _copy(
    connection: asyncpg.pool.PoolConnectionProxy,
    batch: Sequence[tuple[UUID, UUID, int, Projection]],
    count: int,
) -> None:
    def moment(number: int) -> datetime:
        return START + timedelta(seconds=number * 63_000_000 / count)

    await connection.copy_records_to_table(
        "memories",
        columns=["id", "user_id", "title", "description", "content", "tags", "created_at",
                 "updated_at"],
        records=[
            (memory_id, person, each.title, each.description, each.content, each.tags,
             moment(number), moment(number))
            for person, memory_id, number, each in batch
        ],
    )  # fmt: skip
    await connection.copy_records_to_table(
        "documents",
        columns=["id", "owner_id", "deleted_at"],
        records=[
            (memory_id, person, moment(number) if number % 500 == 0 else None)
            for person, memory_id, number, _ in batch
        ],
    )
    await connection.copy_records_to_table(
        "memberships",
        columns=["memory_id", "user_id", "role", "is_favorite", "is_archived"],
        records=[
            (memory_id, person, "owner", number % 50 == 0, number % 7 == 0)
            for person, memory_id, number, _ in batch
        ],
    )
    await connection.copy_records_to_table(
        "messages",
        columns=["id", "memory_id", "content"],
        records=[
            (message.id, memory_id, message.content)
            for _, memory_id, _, each in batch
            for message in each.messages
        ],
    )
    await connection.executemany(
        """
        INSERT INTO search_texts
        SELECT l.*, 0, md5($3)::uuid, $3::tsvector FROM listings l
        WHERE memory_id = $1 AND user_id = $2
        """,
        [
            (memory_id, person, (each.words or "").replace("'~", f"'{key_of(person)}"))
            for person, memory_id, _, each in batch
        ],
    )


async def _sizes(pool: asyncpg.Pool) -> str:
    names = ("memories", "listings", "search_texts")
    parts = []
    for name in names:
        [[table, indexes]] = await pool.fetch(
            "SELECT pg_table_size($1::text::regclass), pg_indexes_size($1::text::regclass)", name
        )
        parts.append(f"{name} {table / 2**20:.0f} + {indexes / 2**20:.0f}")
    return f"MiB of both accounts, table + indexes: {', '.join(parts)}"


async def _writes(pool: asyncpg.Pool, person: UUID, language: Language) -> str:
    """What saving a projection takes whose text has changed, and one whose has not."""
    rows = MemoryRows(pool)
    ids = [
        each[0]
        for each in await pool.fetch(
            "SELECT id FROM memories WHERE user_id = $1 ORDER BY random() LIMIT $2", person, WRITES
        )
    ]
    random = Random(3)
    taken: dict[str, list[float]] = {"changed": [], "unchanged": []}
    for memory_id in ids:
        projection = _memory(random, language)
        for offset, kind in ((1, "changed"), (2, "unchanged")):
            started = time.perf_counter()
            await rows.save(memory_id, projection, offset)
            taken[kind].append(time.perf_counter() - started)
    return ", ".join(
        f"saving a projection with {kind} text: p50 {milliseconds(percentile(sorted(each), 0.5))}"
        for kind, each in taken.items()
    )


if __name__ == "__main__":
    sys.exit(main())
