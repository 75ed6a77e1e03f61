"""Snapshots and trimming: nothing is lost, and who wrote what is kept."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pycrdt import Doc, Map

from protocol.log import Author, Entry, Row, Snapshot
from sync.compaction import MIN_REST_BYTES, MIN_TAIL_BYTES, Compactor, authors, remains
from sync.document import load, project
from sync.room import ROW_WEIGHT, Room
from sync.state import State
from sync.update import scan
from tests.rows import add_memory, add_person
from tests.sync.doubles import SECONDS, Device, Node, running

MONTH = 30 * 86400.0


class Stage:
    """A node that compacts, and keeps rows for a month."""

    def __init__(self, node: Node, compactor: Compactor, pool: asyncpg.Pool) -> None:
        self.node = node
        self.compactor = compactor
        self.pool = pool

    async def age(self, memory: UUID, up_to: int) -> None:
        await self.pool.execute(
            """
            UPDATE document_updates SET written_at = now() - interval '31 days'
            WHERE document_id = $1 AND log_offset <= $2
            """,
            memory,
            up_to,
        )

    async def snapshot(self, memory: UUID) -> Snapshot | None:
        row = await self.pool.fetchrow(
            "SELECT log_offset, payload, state FROM document_snapshots WHERE document_id = $1",
            memory,
        )
        return Snapshot(*row) if row else None

    async def authors(self, memory: UUID) -> dict[tuple[int, int], tuple[UUID, str, Any]]:
        """Each clock's author, device and time."""
        rows = await self.pool.fetch(
            "SELECT * FROM document_authors WHERE document_id = $1", memory
        )
        kept: dict[tuple[int, int], tuple[UUID, str, Any]] = {}
        for row in rows:
            for clock in range(row["clock_from"], row["clock_to"]):
                assert (row["client"], clock) not in kept
                author = row["account_id"], row["device_id"], row["written_at"]
                kept[row["client"], clock] = author
        return kept


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    compactors: list[Compactor] = []

    def committed(room: Room) -> None:
        for compactor in compactors:
            compactor.committed(room)

    async with running(pool, on_commit=[committed]) as node:
        compactors.append(Compactor(node.log, node.workers, node.watcher, node.tasks, MONTH))
        yield Stage(node, compactors[0], pool)


async def put(stage: Stage, memory: UUID, author: Author, *payloads: bytes) -> None:
    outcomes = await stage.node.log.commit([Entry(memory, author, p) for p in payloads])
    assert all(outcome.offset for outcome in outcomes)


async def test_a_snapshot_is_what_the_log_is(stage: Stage, ada: Author, memory: UUID) -> None:
    chance = random.Random(5)
    writer = Device(ada)
    updates = []
    for number in range(60):
        update = writer.type("xyz", at=chance.randrange(len(str(writer.text)) + 1))
        if number % 7 == 6:
            before = writer.doc.get_state()
            del writer.text[0:4]
            update = writer.doc.get_update(before) if number % 2 else writer.doc.get_update()
            if number % 2:
                updates.append(writer.doc.get_update())
        updates.append(update)
    await put(stage, memory, ada, *updates)
    size = await stage.compactor.compact(memory)
    snapshot = await stage.snapshot(memory)
    assert snapshot is not None
    assert (snapshot.offset, len(snapshot.payload)) == (len(updates), size)
    assert load([snapshot.payload]).get_update() == load(updates).get_update()
    held = State.decode(snapshot.state)
    assert held.clocks == State.of(updates).clocks
    assert held.deletes() == State.of(updates).deletes()
    assert len(await stage.node.log.read(memory, 0)) == len(updates)  # too young to go


async def test_a_second_snapshot_builds_on_the_first(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = Device(ada)
    await put(stage, memory, ada, writer.type("one "))
    await stage.compactor.compact(memory)
    await stage.age(memory, 1)
    await stage.compactor.trim(memory)
    await put(stage, memory, ada, writer.type("two"))
    await stage.compactor.compact(memory)
    snapshot = await stage.snapshot(memory)
    assert snapshot is not None
    assert snapshot.offset == 2
    assert project([snapshot.payload]).content["text"] == "one two"


async def test_a_merge_that_would_lose_something_is_not_stored(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = Device(ada)
    await put(stage, memory, ada, writer.type("a"), writer.type("b"))
    await stage.compactor.compact(memory)
    good = await stage.snapshot(memory)
    assert good is not None
    await stage.age(memory, 2)
    await stage.compactor.trim(memory)
    # As if the stored bytes had been damaged: the state says more than the payload holds.
    await stage.pool.execute("UPDATE document_snapshots SET payload = $1", b"\x00\x00")
    await put(stage, memory, ada, writer.type("c"))
    with pytest.raises(ValueError, match="lacks"):
        await stage.compactor.compact(memory)
    left = await stage.snapshot(memory)
    assert left is not None
    assert (left.offset, left.state) == (2, good.state)
    assert await stage.node.log.head(memory) == 3


async def test_nothing_to_merge_overwrites_nothing(stage: Stage, ada: Author, memory: UUID) -> None:
    assert await stage.compactor.compact(memory) is None
    assert await stage.snapshot(memory) is None
    await put(stage, memory, ada, Device(ada).type("a"))
    await stage.compactor.compact(memory)
    await stage.age(memory, 1)
    await stage.compactor.trim(memory)
    kept = await stage.snapshot(memory)
    assert await stage.compactor.compact(memory) is None
    assert await stage.snapshot(memory) == kept


async def test_rows_go_only_past_their_age_and_a_device_gets_the_snapshot_instead(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = Device(ada)
    opening = await writer.open(stage.node.hub, memory)
    epoch = opening.subscription.room.epoch
    for letter in "abcd":
        await writer.ack(writer.submit(writer.type(letter)))
    await stage.age(memory, 3)
    await stage.compactor.trim(memory)
    assert len(await stage.node.log.read(memory, 0)) == 4  # there is no snapshot
    await stage.compactor.compact(memory)
    assert [offset for offset, _ in await stage.node.log.read(memory, 0)] == [4]
    late = Device(ada)
    opening = await late.open(stage.node.hub, memory, epoch, 1)
    assert opening.content.snapshot is not None
    assert late.content() == "abcd"
    current = Device(ada)
    opening = await current.open(stage.node.hub, memory, epoch, 3)
    assert (opening.content.snapshot, len(opening.content.updates)) == (None, 1)
    # The room goes on, and so does one that is opened anew on what is left.
    await writer.ack(writer.submit(writer.type("e")))
    await late.reach(5)
    assert late.content() == "abcde"


async def test_a_document_that_is_let_go_leaves_little_to_read(
    pool: asyncpg.Pool, ada: Author, memory: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.hub.LINGER_SECONDS", 0.05)
    compactors: list[Compactor] = []

    def let_go(room: Room) -> None:
        compactors[0].let_go(room)

    async with running(pool, on_close=[let_go]) as node:
        compactors.append(Compactor(node.log, node.workers, node.watcher, node.tasks, MONTH))
        writer = Device(ada)
        await writer.open(node.hub, memory)
        for _ in range(MIN_REST_BYTES // ROW_WEIGHT):
            await writer.ack(writer.submit(writer.type("x")))
        writer.subscription.close()
        await node.watcher.until("compacted")
        # What is then written is not worth another one.
        await writer.open(node.hub, memory)
        await writer.ack(writer.submit(writer.type("y")))
        room = node.room(memory)
        assert room.tail_weight <= remains(room.snapshot_bytes)
        snapshot, rows = await node.log.content(memory, 0)
        assert (snapshot is not None, len(rows)) == (True, 1)


async def test_a_node_that_stops_folds_what_is_open_on_it(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = Device(ada)
    await writer.open(stage.node.hub, memory)
    for _ in range(MIN_REST_BYTES // ROW_WEIGHT):
        await writer.ack(writer.submit(writer.type("x")))
    await stage.compactor.finish(stage.node.hub.rooms.values())
    snapshot, rows = await stage.node.log.content(memory, 0)
    assert snapshot is not None
    assert (snapshot.offset, rows) == (stage.node.room(memory).head, [])


async def test_a_document_that_is_slow_to_fold_does_not_keep_a_node_from_stopping(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = Device(ada)
    await writer.open(stage.node.hub, memory)
    await writer.ack(writer.submit(writer.type("x" * MIN_REST_BYTES)))

    async def stall() -> None:
        await asyncio.Event().wait()

    stage.node.log.before["content"] = stall
    async with asyncio.timeout(SECONDS):
        await stage.compactor.finish(stage.node.hub.rooms.values(), timeout=0.01)
    assert await stage.snapshot(memory) is None


async def test_rows_past_their_age_are_folded_though_there_are_few(
    stage: Stage, ada: Author, memory: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.compaction.SWEEP_SECONDS", 0.01)
    writer = Device(ada)
    await writer.open(stage.node.hub, memory)
    for _ in range(MIN_REST_BYTES // 80):
        await writer.ack(writer.submit(writer.type("x")))
    head = stage.node.room(memory).head
    await stage.age(memory, head)
    stage.compactor.start()
    await stage.node.watcher.until("compacted")
    async with asyncio.timeout(SECONDS):
        while await stage.node.log.read(memory, 0):
            pass
    late = Device(ada)
    await late.open(stage.node.hub, memory)
    assert late.content() == writer.content()


async def test_who_wrote_what_is_kept_to_the_clock_when_rows_go(
    stage: Stage, pool: asyncpg.Pool, ada: Author
) -> None:
    chance = random.Random(11)
    bob = await add_person(pool)
    memory = await add_memory(pool, ada, editor=bob)
    writers = [
        Device(Author(who.account_id, name), name)
        for who, name in ((ada, "phone"), (ada, "laptop"), (bob, "tablet"))
    ]
    for _ in range(80):
        writer = chance.choice(writers)
        update = writer.type("ab")
        other = chance.choice(writers)
        other.doc.apply_update(writer.doc.get_update())
        if chance.random() < 0.3:
            # It sends all that it has, others' edits too: a stock client that reconnects.
            update = writer.doc.get_update()
        await stage.node.log.commit([Entry(memory, writer.author, update)])
    rows = await pool.fetch(
        "SELECT * FROM document_updates WHERE document_id = $1 ORDER BY log_offset", memory
    )
    expected: dict[tuple[int, int], tuple[UUID, str]] = {}
    for row in rows:
        for client, (start, end) in scan(row["payload"]).structs.items():
            for clock in range(start, end):
                author = row["account_id"], row["device_id"]
                expected.setdefault((client, clock), author)
    await stage.node.log.save_snapshot(
        memory, Snapshot(80, load([r["payload"] for r in rows]).get_update(), b"")
    )
    for up_to in (25, 26, 80):  # in three goes, as sweeps do
        await stage.age(memory, up_to)
        await stage.compactor.trim(memory)
    assert await stage.node.log.read(memory, 0) == []
    kept = await stage.authors(memory)
    assert {clock: author[:2] for clock, author in kept.items()} == expected
    assert {client for client, _ in kept} == {writer.doc.client_id for writer in writers}


async def test_a_growing_tail_is_compacted_by_itself_and_only_when_it_outweighs_the_snapshot(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = Device(ada)
    await writer.open(stage.node.hub, memory)
    await writer.ack(writer.submit(writer.type("x" * (MIN_TAIL_BYTES // 2))))
    assert stage.node.watcher.counts["compacted"] == 0
    await writer.ack(writer.submit(writer.type("y" * MIN_TAIL_BYTES)))
    await stage.node.watcher.until("compacted")
    first = await stage.snapshot(memory)
    assert first is not None
    assert first.offset == 2
    # As much again as the snapshot weighs, not less.
    await writer.ack(writer.submit(writer.type("z" * (MIN_TAIL_BYTES + 100))))
    assert await stage.snapshot(memory) == first
    await writer.ack(writer.submit(writer.type("z" * MIN_TAIL_BYTES)))
    await stage.node.watcher.until("compacted", 2)


async def test_overwriting_one_property_for_long_keeps_the_document_small(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    doc: Doc[Any] = Doc()
    properties = doc.get("properties", type=Map)
    updates = []
    for number in range(200):
        before = doc.get_state()
        properties["title"] = f"{number}" + "x" * 300
        updates.append(doc.get_update(before))
    await put(stage, memory, ada, *updates)
    size = await stage.compactor.compact(memory)
    assert size is not None
    assert size < 1000
    device = Device(ada)
    opening = await device.open(stage.node.hub, memory)
    assert opening.content.snapshot is not None
    assert sum(map(len, opening.content.updates)) == 0


async def test_a_document_that_cannot_be_merged_is_not_tried_at_each_commit(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    writer = Device(ada)
    await writer.open(stage.node.hub, memory)

    async def fail() -> None:
        raise RuntimeError("cannot be merged")

    stage.node.log.before["content"] = fail
    await writer.ack(writer.submit(writer.type("x" * (MIN_TAIL_BYTES + 1))))
    await stage.node.watcher.until("compaction failed")
    for _ in range(3):
        await writer.ack(writer.submit(writer.type("y")))
    assert stage.node.watcher.counts["compacted"] == 0
    await writer.ack(writer.submit(writer.type("x" * (MIN_TAIL_BYTES + 1))))
    await stage.node.watcher.until("compacted")


async def test_a_sweep_trims_what_has_come_of_age(stage: Stage, ada: Author, memory: UUID) -> None:
    await put(stage, memory, ada, Device(ada).type("a"))
    await stage.compactor.compact(memory)
    await stage.age(memory, 1)
    stage.compactor.start()
    async with stage.pool.acquire() as connection:
        while await connection.fetchval(
            "SELECT count(*) FROM document_updates WHERE document_id = $1", memory
        ):
            pass
    snapshot, rows = await stage.node.log.content(memory, 0)
    assert snapshot is not None
    assert rows == []
    assert project([snapshot.payload]).content["text"] == "a"


def test_a_run_of_one_author_on_one_device_is_one_record_dated_by_its_last_row() -> None:
    device = Device(Author(UUID(int=1), "phone"))
    updates = [device.type("ab"), device.type("c"), device.type("de"), device.type("f")]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    names = ["phone", "phone", "laptop", "phone"]
    rows = [
        Row(offset, update, UUID(int=1), name, start + timedelta(days=offset))
        for offset, (update, name) in enumerate(zip(updates, names, strict=True))
    ]
    records = [(a.clock_from, a.clock_to, a.device_id, a.written_at.day) for a in authors(rows)]
    assert records == [(0, 3, "phone", 2), (3, 5, "laptop", 3), (5, 6, "phone", 4)]


async def test_a_document_that_fails_keeps_a_sweep_from_no_other(
    stage: Stage, pool: asyncpg.Pool, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(3)]
    for memory in memories:
        await put(stage, memory, ada, Device(ada).type("x" * MIN_REST_BYTES))
        await stage.age(memory, 1)

    async def fail() -> None:
        raise RuntimeError("cannot be merged")

    stage.node.log.before["content"] = fail
    stage.compactor.start()
    await stage.node.watcher.until("compaction failed")
    await stage.node.watcher.until("compacted", 2)


async def test_a_search_that_fails_keeps_a_sweep_from_no_other_work(
    stage: Stage, ada: Author, memory: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(stage, memory, ada, Device(ada).type("a"))
    await stage.compactor.compact(memory)
    await stage.age(memory, 1)

    async def unfolded(*_: object, **__: object) -> list[UUID]:
        raise OSError("away")

    monkeypatch.setattr(stage.node.log, "unfolded", unfolded)
    stage.compactor.start()
    await stage.node.watcher.until("compaction failed")
    async with asyncio.timeout(SECONDS):
        while await stage.node.log.read(memory, 0):
            pass
