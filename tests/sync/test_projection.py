"""The projector: rows behind the log by moments, whatever the documents hold."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pycrdt import Doc, Map

from protocol import frames
from protocol.errors import ErrorCode, MemoError
from protocol.log import Author, Entry, Projection, Saved
from protocol.thread import Thread
from storage.memories import MemoryRows
from sync.broker import LocalBroker
from sync.document import MAX_CHANGED, project
from sync.feed import Notices, account_topic
from sync.projection import RATE, REST_FACTOR, REST_SECONDS, Projector, rest_seconds
from sync.room import Room
from tests.rows import add_memory
from tests.sync.doubles import Device, Gate, News, Node, running


class CountingRows(MemoryRows):
    """The real rows; counts what is written, and can be met by an intervention."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self.saved: list[tuple[UUID, int]] = []
        self.news = News()
        self.before_save: Callable[[], Any] | None = None

    async def save(self, document_id: UUID, projection: Projection, offset: int) -> Saved:
        if self.before_save is not None:
            intervention, self.before_save = self.before_save, None
            await intervention()
        saved = await super().save(document_id, projection, offset)
        self.saved.append((document_id, offset))
        self.news.tell()
        return saved


class Stage:
    """A node with a projector, whose `start` is left to the test."""

    def __init__(self, node: Node, projector: Projector, rows: CountingRows) -> None:
        self.node = node
        self.projector = projector
        self.rows = rows

    async def until_saved(self, memory: UUID, offset: int) -> None:
        await self.rows.news.until(lambda: (memory, offset) in self.rows.saved)


@asynccontextmanager
async def projecting(pool: asyncpg.Pool, broker: LocalBroker | None = None) -> AsyncIterator[Stage]:
    projectors: list[Projector] = []

    def committed(room: Room) -> None:
        for projector in projectors:
            projector.committed(room)

    broker = broker or LocalBroker()
    async with running(pool, broker, on_commit=[committed]) as node:
        rows = CountingRows(pool)
        projectors.append(
            Projector(
                node.log,
                rows,
                node.workers,
                Notices(broker),
                observer=node.watcher,
                tasks=node.tasks,
            )
        )
        yield Stage(node, projectors[0], rows)


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    async with projecting(pool) as stage:
        yield stage


def titled(title: str) -> bytes:
    doc: Doc[Any] = Doc()
    doc.get("properties", type=Map)["title"] = title
    return doc.get_update()


# A struct that names a client the log has never had: it is not loaded, for ever.
POISON = b"\xff\xff not an update"


async def test_a_burst_of_edits_is_projected_once_and_devices_are_told(
    pool: asyncpg.Pool, ada: Author, memory: UUID
) -> None:
    broker = LocalBroker()
    told: list[frames.Event] = []
    broker.subscribe(
        account_topic(ada.account_id),
        lambda message: told.append(frames.decode_server(message)[0]),  # type: ignore[arg-type]
    )
    async with projecting(pool, broker) as stage:
        device = Device(ada)
        await device.open(stage.node.hub, memory)
        for letter in "hello":
            await device.ack(device.submit(device.type(letter)))
        await stage.until_saved(memory, 5)
        assert stage.rows.saved == [(memory, 5)]
        assert stage.node.watcher.counts["projected"] == 1
    content = await pool.fetchval("SELECT content FROM memories WHERE id = $1", memory)
    assert content == {"text": "hello"}
    [event] = told
    assert event.name == "feed.changed"


async def test_edits_during_a_projection_are_projected_after_it(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    device = Device(ada)
    await device.open(stage.node.hub, memory)
    gate = Gate()
    stage.rows.before_save = gate
    await device.ack(device.submit(device.type("a")))
    await gate.arrival()
    await device.ack(device.submit(device.type("b")))
    gate.open()
    await stage.until_saved(memory, 2)
    assert stage.rows.saved == [(memory, 1), (memory, 2)]


async def test_rows_left_behind_by_a_crash_are_found_at_the_start(
    pool: asyncpg.Pool, stage: Stage, ada: Author
) -> None:
    memories = [await add_memory(pool, ada) for _ in range(5)]
    for number, memory in enumerate(memories):
        await stage.node.log.commit([Entry(memory, ada, titled(str(number)))])
    stage.projector.start()
    for memory in memories:
        await stage.until_saved(memory, 1)
    titles = await pool.fetch("SELECT title FROM memories ORDER BY title")
    assert [row[0] for row in titles] == list("01234")
    assert await stage.rows.unprojected(10) == []


async def test_a_document_that_cannot_be_read_stops_no_other(
    pool: asyncpg.Pool, stage: Stage, ada: Author, memory: UUID
) -> None:
    poisoned = await add_memory(pool, ada)
    await stage.node.log.commit([Entry(poisoned, ada, POISON), Entry(memory, ada, titled("x"))])
    stage.projector.start()
    await stage.until_saved(memory, 1)
    await stage.node.watcher.until("projection failed")
    [(what, document_id, _)] = stage.node.watcher.failures
    assert (what, document_id) == ("projection", poisoned)


async def test_a_document_that_cannot_be_read_is_not_read_again_until_it_changes(
    stage: Stage, ada: Author, memory: UUID
) -> None:
    await stage.node.log.commit([Entry(memory, ada, POISON)])
    with pytest.raises(ValueError, match="Cannot"):
        await stage.projector.project(memory)
    await stage.projector.project(memory)  # not tried
    await stage.node.log.commit([Entry(memory, ada, b"")])
    with pytest.raises(ValueError, match="Cannot"):
        await stage.projector.project(memory)


async def test_rows_that_the_database_refuses_are_not_tried_for_ever(
    pool: asyncpg.Pool, stage: Stage, ada: Author, memory: UUID
) -> None:
    await pool.execute("ALTER TABLE memories ADD CHECK (title <> 'bad')")
    await stage.node.log.commit([Entry(memory, ada, titled("bad"))])
    with pytest.raises(asyncpg.CheckViolationError):
        await stage.projector.project(memory)
    await stage.projector.project(memory)
    assert stage.rows.saved == []


@pytest.mark.parametrize("code", [ErrorCode.UNAVAILABLE, ErrorCode.BUSY])
async def test_what_is_no_fault_of_the_document_is_tried_again(
    pool: asyncpg.Pool, stage: Stage, ada: Author, memory: UUID, code: ErrorCode
) -> None:
    async def fail() -> None:
        raise MemoError(code)

    await stage.node.log.commit([Entry(memory, ada, titled("x"))])
    stage.rows.before_save = fail
    with pytest.raises(MemoError):
        await stage.projector.project(memory)
    await stage.projector.project(memory)
    assert await pool.fetchval("SELECT title FROM memories WHERE id = $1", memory) == "x"


async def test_rows_are_never_written_over_newer_ones(
    pool: asyncpg.Pool, stage: Stage, ada: Author, memory: UUID
) -> None:
    await stage.node.log.commit([Entry(memory, ada, titled("older"))])
    gate = Gate()
    stage.rows.before_save = gate
    late = asyncio.create_task(stage.projector.project(memory))
    await gate.arrival()
    await stage.node.log.commit([Entry(memory, ada, titled("a newer one")) for _ in range(2)])
    newer = Projection("newer", None, {}, [], {}, [])
    await MemoryRows(pool).save(memory, newer, 3)
    gate.open()
    await late
    row = await pool.fetchrow(
        "SELECT title, projected_offset FROM memories JOIN documents USING (id) WHERE id = $1",
        memory,
    )
    assert row is not None
    assert tuple(row) == ("newer", 3)


async def test_rows_that_another_node_wrote_meanwhile_are_projected_again(
    pool: asyncpg.Pool, stage: Stage, ada: Author, memory: UUID
) -> None:
    """What was read of the rows is not what they are when the projection is to be written."""
    doc: Doc[Any] = Doc()
    first = Thread(doc).add("first", user_id=ada.account_id)
    claims = ((doc.client_id, ada.account_id),)
    await stage.node.log.commit([Entry(memory, ada, doc.get_update(), claims)])
    here = doc.get_state()
    Thread(doc).edit(first, "first, and changed")
    await stage.node.log.commit([Entry(memory, ada, doc.get_update(here))])

    async def overtake() -> None:
        [(_, update)] = await stage.node.log.read(memory, 0, up_to=1)
        rows = project([update], await MemoryRows(pool).known(memory))
        assert (await MemoryRows(pool).save(memory, rows, 1)).whole

    stage.rows.before_save = overtake
    await stage.projector.project(memory)
    assert stage.rows.saved == [(memory, 2), (memory, 2)]
    assert await pool.fetchval("SELECT content FROM messages") == "first, and changed"
    assert await stage.rows.unprojected(10) == []


async def test_a_long_thread_is_projected_to_its_end(
    pool: asyncpg.Pool, stage: Stage, ada: Author, memory: UUID
) -> None:
    doc: Doc[Any] = Doc()
    thread = Thread(doc)
    with doc.transaction():
        for number in range(2 * MAX_CHANGED + 1):
            thread.add(str(number), user_id=ada.account_id)
    claims = ((doc.client_id, ada.account_id),)
    await stage.node.log.commit([Entry(memory, ada, doc.get_update(), claims)])
    await stage.projector.project(memory)
    assert len(stage.rows.saved) == 3
    authors = await pool.fetch("SELECT user_id, count(*) FROM messages GROUP BY user_id")
    assert [tuple(row) for row in authors] == [(ada.account_id, 2 * MAX_CHANGED + 1)]
    assert await stage.rows.unprojected(10) == []


async def test_an_empty_document_is_left_alone(stage: Stage, memory: UUID) -> None:
    await stage.projector.project(memory)
    assert stage.rows.saved == []


def test_the_more_documents_are_typed_in_the_longer_each_rests() -> None:
    assert rest_seconds(took=0.01, documents=1) == REST_SECONDS
    assert rest_seconds(took=2.0, documents=1) == 2.0 * REST_FACTOR
    assert rest_seconds(took=0.01, documents=500) == 500 / RATE > REST_SECONDS
