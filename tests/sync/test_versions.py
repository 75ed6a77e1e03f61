"""Versions that the server makes by itself: when, once on all nodes, and fewer with age."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Entry
from protocol.versions import Stamp
from storage.history import HistoryRows
from storage.versions import VersionRows
from sync.compaction import Compactor
from sync.revision import view
from sync.room import Room
from sync.versions import APART_SECONDS, DAY, REST_SECONDS, Versions, apart_seconds, too_many
from tests.rows import add_memory, add_person, delete_memory
from tests.sync.doubles import SECONDS, Device, Node, running

RETENTION = 90 * DAY


class Stage:
    """A node that makes versions by a clock of the test's."""

    def __init__(self, node: Node, pool: asyncpg.Pool) -> None:
        self.node = node
        self.pool = pool
        self.now = 1000.0
        self.closed = asyncio.Event()  # a room was let go
        self.broken: set[UUID] = set()  # documents that the test has damaged
        self.rows = VersionRows(pool)
        self.seen = HistoryRows(pool)
        self.versions = Versions(
            node.log,
            self.rows,
            node.workers,
            observer=node.watcher,
            tasks=node.tasks,
            retention_seconds=RETENTION,
            clock=lambda: self.now,
        )

    async def pass_by(self, seconds: float) -> None:
        """Let time pass, for what is stored too, and look."""
        self.now += seconds
        await self.pool.execute(
            """
            UPDATE document_versions SET created_at = created_at - make_interval(secs => $1),
                review_at = review_at - make_interval(secs => $1)
            """,
            seconds,
        )
        await self.versions.look()

    async def offsets(self, memory: UUID) -> list[int]:
        """Of the memory's versions, oldest first."""
        page, _ = await self.seen.page(memory, None, 100)
        return [version.offset for version in reversed(page)]

    async def text(self, memory: UUID, offset: int) -> str:
        page, _ = await self.seen.page(memory, None, 100)
        [version] = [version for version in page if version.offset == offset]
        assert version.id is not None
        content = view(await self.seen.layers(memory, version.id)).content
        assert version.excerpt == content["text"][:140]
        return str(content["text"])

    async def count(self, table: str) -> int:
        count: int = await self.pool.fetchval(f"SELECT count(*) FROM {table}")
        return count


@asynccontextmanager
async def staged(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    stages: list[Stage] = []

    def committed(room: Room) -> None:
        stages[0].versions.committed(room)

    def let_go(room: Room) -> None:
        stages[0].versions.let_go(room)
        stages[0].closed.set()

    async with running(pool, on_commit=[committed], on_close=[let_go]) as node:
        stages.append(Stage(node, pool))
        yield stages[0]
        broken = [
            failure for failure in node.watcher.failures if failure[1] not in stages[0].broken
        ]
        assert not broken


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    async with staged(pool) as stage:
        yield stage


class Writer:
    """A device that has the memory open and waits for each ack."""

    def __init__(self, device: Device) -> None:
        self.device = device

    @classmethod
    async def at(cls, stage: Stage, memory: UUID, author: Author) -> "Writer":
        device = Device(author)
        await device.open(stage.node.hub, memory)
        device.content()
        return cls(device)

    async def type(self, text: str) -> None:
        await self.device.ack(self.device.submit(self.device.type(text)))


async def test_a_version_is_made_once_editing_rests(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = await Writer.at(stage, memory, ada)
    await writer.type("one")
    await stage.pass_by(REST_SECONDS / 2)
    await writer.type(" two")
    await stage.pass_by(REST_SECONDS / 2)
    assert await stage.offsets(memory) == []
    await stage.pass_by(REST_SECONDS / 2)
    assert await stage.offsets(memory) == [2]
    assert await stage.text(memory, 2) == "one two"
    await stage.pass_by(DAY)
    assert await stage.offsets(memory) == [2]  # nothing was edited since


async def test_who_types_all_the_time_gets_a_version_every_ten_minutes(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = await Writer.at(stage, memory, ada)
    for _ in range(80):
        await writer.type("x")
        await stage.pass_by(30)
    assert await stage.offsets(memory) == [20, 40, 60, 80]
    assert await stage.text(memory, 40) == "x" * 40


async def test_there_is_at_most_one_in_ten_minutes_and_it_is_made_up_for(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = await Writer.at(stage, memory, ada)
    await writer.type("a")
    await stage.pass_by(REST_SECONDS)
    await writer.type("b")
    await stage.pass_by(REST_SECONDS)
    await writer.type("c")
    await stage.pass_by(REST_SECONDS)
    assert await stage.offsets(memory) == [1]
    await stage.pass_by(APART_SECONDS - 2 * REST_SECONDS)
    assert await stage.offsets(memory) == [1, 3]


async def test_a_document_that_is_let_go_need_not_rest(
    pool: asyncpg.Pool, ada: Author, memory: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.hub.LINGER_SECONDS", 0.01)
    async with staged(pool) as stage:
        writer = await Writer.at(stage, memory, ada)
        await writer.type("a")
        await stage.pass_by(0)
        assert await stage.offsets(memory) == []
        writer.device.subscription.close()
        await asyncio.wait_for(stage.closed.wait(), SECONDS)
        await stage.pass_by(0)
        assert await stage.offsets(memory) == [1]


async def test_what_a_memory_was_before_it_was_first_edited_is_kept(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = await Writer.at(stage, memory, ada)
    await writer.type("as it was made")
    await stage.pool.execute("UPDATE document_updates SET written_at = now() - interval '1 day'")
    for text in (", and", " more"):
        await writer.type(text)
    await stage.pass_by(REST_SECONDS)
    assert await stage.offsets(memory) == [1, 3]
    assert await stage.text(memory, 1) == "as it was made"
    assert await stage.text(memory, 3) == "as it was made, and more"
    page, _ = await stage.seen.page(memory, None, 10)
    assert page[1].changed_at < page[0].changed_at
    # They are of different hours, so that both are there in a week.
    await stage.pass_by(2 * DAY)
    await stage.versions.sweep()
    assert await stage.offsets(memory) == [1, 3]


async def test_a_memory_that_goes_while_its_version_is_made_is_no_failure(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = await Writer.at(stage, memory, ada)
    await writer.type("x")

    async def purge() -> None:
        await stage.pool.execute("DELETE FROM memories WHERE id = $1", memory)

    stage.node.log.after["content"] = purge
    await stage.pass_by(REST_SECONDS)
    assert await stage.count("document_bases") == 0


def test_a_large_document_gets_fewer() -> None:
    assert apart_seconds(10_000) == APART_SECONDS
    assert apart_seconds(16 << 20) == 4096


async def test_two_nodes_at_once_make_one_version(
    pool: asyncpg.Pool, stage: Stage, ada: Author, memory: UUID
) -> None:
    async with staged(pool) as other:
        writer = await Writer.at(stage, memory, ada)
        again = await Writer.at(other, memory, ada)
        await writer.type("a")
        await again.type("b")
        stage.now += REST_SECONDS
        other.now += REST_SECONDS
        await asyncio.gather(stage.versions.look(), other.versions.look())
        assert await stage.offsets(memory) == [2]
        assert await stage.count("document_bases") == 1
        # Even if they see different heads.
        await writer.type("c")
        assert not await other.versions.make(memory, kind="auto", apart=APART_SECONDS)
        assert await stage.offsets(memory) == [2]


async def test_a_version_is_small_beside_its_base_until_there_is_much_of_it(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = await Writer.at(stage, memory, ada)
    await writer.type("".join(map(str, range(20_000))))
    await stage.versions.make(memory, kind="auto")
    for number in range(6):
        await writer.type(f"edit {number} ")
        await stage.versions.make(memory, kind="auto")
    assert await stage.count("document_bases") == 1
    sizes = await stage.pool.fetch("SELECT length(payload), size FROM document_versions")
    assert all(stored < 200 and size > 80_000 for stored, size in sizes)
    assert (await stage.text(memory, 4)).endswith("19999edit 0 edit 1 edit 2 ")
    await writer.type("".join(map(str, range(20_000, 60_000))))
    await stage.versions.make(memory, kind="auto")
    assert await stage.count("document_bases") == 2
    assert (await stage.text(memory, 8)).endswith("59999")
    assert (await stage.text(memory, 7)).endswith("edit 5 ")


async def test_a_sweep_finds_what_was_missed_and_nothing_else(
    pool: asyncpg.Pool, stage: Stage, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(4)]
    _, _, deleted, fresh = memories
    for memory in (memories[0], deleted, fresh):
        await stage.node.log.commit([Entry(memory, ada, Device(ada).type("x"))])
    await pool.execute(
        "UPDATE document_updates SET written_at = now() - interval '1 hour'"
        " WHERE document_id <> $1",
        fresh,
    )
    await delete_memory(pool, deleted)
    await stage.versions.sweep()
    assert [await stage.offsets(memory) for memory in memories] == [[1], [], [], []]


async def test_a_document_that_cannot_be_read_costs_the_others_nothing(
    pool: asyncpg.Pool, stage: Stage, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(3)]
    for memory in memories:
        await stage.node.log.commit([Entry(memory, ada, Device(ada).type("x"))])
    await pool.execute("UPDATE document_updates SET written_at = now() - interval '1 hour'")
    await pool.execute(
        "UPDATE document_updates SET payload = 'broken' WHERE document_id = $1", memories[1]
    )
    stage.broken.add(memories[1])
    await stage.versions.sweep()
    made = [await stage.offsets(memory) for memory in memories]
    assert made == [[1], [], [1]]
    assert {failed[:2] for failed in stage.node.watcher.failures} == {("version", memories[1])}


async def test_versions_say_who_wrote_since_the_one_before(
    pool: asyncpg.Pool, stage: Stage, ada: Author
) -> None:
    bob = await add_person(pool, "tablet")
    memory = await add_memory(pool, ada, editor=bob)
    await pool.execute("UPDATE users SET first_name = 'Bob' WHERE id = $1", bob.account_id)
    writer, other = await Writer.at(stage, memory, ada), await Writer.at(stage, memory, bob)
    await writer.type("a")
    await stage.versions.make(memory, kind="auto")
    for _ in range(3):
        await other.type("b")
    await writer.type("c")
    await stage.versions.make(memory, kind="auto")
    page, more = await stage.seen.page(memory, None, 10)
    assert not more
    authors = [
        [(a.user_id, a.first_name, a.devices, a.changes) for a in version.authors]
        for version in page
    ]
    assert authors == [
        [(bob.account_id, "Bob", ["tablet"], 3), (ada.account_id, None, ["phone"], 1)],
        [(ada.account_id, None, ["phone"], 1)],
    ]
    await other.type("d")
    current = await stage.seen.current(memory)
    assert current is not None
    assert [(a.user_id, a.changes) for a in current.authors] == [(bob.account_id, 1)]
    assert (current.offset, current.kind, current.id) == (6, "current", None)


async def test_who_wrote_is_known_of_rows_that_are_trimmed(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    compactor = Compactor(
        stage.node.log, stage.node.workers, stage.node.watcher, stage.node.tasks, -1
    )
    writer = await Writer.at(stage, memory, ada)
    await writer.type("a")
    await stage.versions.make(memory, kind="auto")
    await writer.type("b")
    await writer.type("c")
    await compactor.compact(memory)
    assert await stage.node.log.read(memory, 0) == []
    await stage.versions.make(memory, kind="auto")
    page, _ = await stage.seen.page(memory, None, 10)
    [author] = page[0].authors
    assert (author.user_id, author.devices, author.changes) == (ada.account_id, ["phone"], 1)
    assert await stage.text(memory, 3) == "abc"


NOW = datetime(2026, 6, 30, 12, 30, tzinfo=UTC)


def stamp(kind: Any = "auto", *, named: bool = False, **ago: float) -> Stamp:
    then = NOW - timedelta(**ago)
    return Stamp(uuid4(), kind, named, then, then)


def left(stamps: list[Stamp]) -> list[Stamp]:
    gone = set(too_many(stamps, NOW, RETENTION))
    return [stamp for stamp in stamps if stamp.id not in gone]


def test_all_of_a_day_then_an_hour_then_a_day_then_a_week() -> None:
    dense = [stamp(minutes=10 * number) for number in range(100 * 144, 0, -1)]
    kept = left(dense)
    ages = [(NOW - stamp.created_at) / timedelta(days=1) for stamp in kept]
    assert sum(age <= 1 for age in ages) == 144
    assert 6 * 24 <= sum(1 < age <= 7 for age in ages) <= 6 * 24 + 1
    assert 23 <= sum(7 < age <= 30 for age in ages) <= 24
    assert 8 <= sum(30 < age <= 90 for age in ages) <= 10
    assert sum(age > 90 for age in ages) == 0
    assert left(kept) == kept


def test_the_last_of_a_period_stays() -> None:
    first, last, newest = stamp(hours=30.4), stamp(hours=30.1), stamp(minutes=1)
    assert first.created_at.hour == last.created_at.hour
    assert left([first, last, newest]) == [last, newest]


def test_what_has_a_name_is_kept_and_takes_nobodys_place() -> None:
    auto, named = stamp(hours=30.4), stamp("named", named=True, hours=30.1)
    old = stamp("auto", named=True, days=1000)
    assert left([old, auto, named, stamp(hours=1)])[:3] == [old, auto, named]


def test_what_undoes_a_restore_loses_its_place_to_none_but_another_and_goes_in_time() -> None:
    old, undo, auto = stamp("restore", days=91), stamp("restore", days=20), stamp(days=20)
    newest = stamp(hours=1)
    assert left([old, undo, auto, newest]) == [undo, auto, newest]
    later = stamp("restore", days=20, minutes=-1)
    assert left([old, undo, auto, later, newest]) == [auto, later, newest]


def test_the_newest_stays_whatever_its_age() -> None:
    only = stamp(days=1000)
    assert left([only]) == [only]
    assert left([]) == []


async def test_thinning_removes_rows_and_bases_and_keeps_who_wrote(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = await Writer.at(stage, memory, ada)
    for number in range(4):
        # Each too different to be on top of the one before.
        await writer.type(f"{number}".join(map(str, range(2000 * 3**number))))
        await stage.versions.make(memory, kind="auto")
    assert await stage.count("document_bases") == 4
    await stage.pool.execute(
        """
        UPDATE document_versions SET changed_at = date_trunc('hour', now()) - interval '30 hours',
            created_at = now() - interval '30 hours', review_at = now() WHERE log_offset <= 3
        """
    )
    await stage.versions.sweep()
    assert await stage.offsets(memory) == [3, 4]
    assert await stage.count("document_bases") == 2
    page, _ = await stage.seen.page(memory, None, 10)
    assert [[a.changes for a in version.authors] for version in page] == [[1], [3]]
    # It is not looked at again until it is old enough for the next age.
    assert await stage.rows.aging(RETENTION, UUID(int=0), 10) == []
    await stage.pass_by(6 * DAY)
    assert await stage.rows.aging(RETENTION, UUID(int=0), 10) == [memory]
    await stage.versions.sweep()
    assert await stage.rows.aging(RETENTION, UUID(int=0), 10) == []
    await stage.pass_by(RETENTION)
    await stage.versions.sweep()
    assert await stage.offsets(memory) == [4]
    # What is edited next builds on what is left.
    await writer.type("more")
    await stage.versions.make(memory, kind="auto")
    assert (await stage.text(memory, 5)).endswith("more")


async def test_a_base_that_goes_while_a_version_is_made_on_it_is_done_without(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = await Writer.at(stage, memory, ada)
    await writer.type("".join(map(str, range(2000))))
    await stage.versions.make(memory, kind="auto")
    await writer.type("b")

    async def remove() -> None:
        page, _ = await stage.seen.page(memory, None, 10)
        assert page[0].id is not None
        await stage.rows.remove(memory, [page[0].id], named=True)

    stage.node.log.before["content"] = remove
    assert await stage.versions.make(memory, kind="named", id=uuid4(), name="kept")
    assert await stage.offsets(memory) == [2]
    assert (await stage.text(memory, 2)).endswith("1999b")


async def test_a_memory_that_goes_takes_its_versions_along(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = await Writer.at(stage, memory, ada)
    for text in ("a", "b" * 500):
        await writer.type(text)
        await stage.versions.make(memory, kind="auto")
    await stage.pool.execute("DELETE FROM memories WHERE id = $1", memory)
    assert await stage.count("document_versions") == 0
    assert await stage.count("document_bases") == 0


async def test_names_are_bounded(
    stage: Stage, ada: Author, memory: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.versions.MAX_NAMED", 2)
    for name in "ab":
        await stage.versions.make(memory, kind="named", name=name)
    with pytest.raises(MemoError) as refused:
        await stage.versions.make(memory, kind="named", name="c")
    assert refused.value.code is ErrorCode.TOO_LARGE
