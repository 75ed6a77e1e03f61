"""The life of an upload over nodes that share a store: crashes, races, and what is swept up."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.feed import Change
from protocol.files import File
from protocol.log import Author
from server.files.processing import Processing
from server.files.sweep import Sweep
from server.files.uploads import Uploads
from server.files.writing import Writing
from server.metrics import Metrics
from storage.blobs import PART_BYTES, Blobs
from storage.feed import Feed
from storage.files import FileRows
from storage.uploads import Intake, Upload, UploadRows
from sync.broker import LocalBroker
from sync.feed import Notices
from sync.worker import WorkerPool
from tests.rows import add_memory, add_person, delete_memory

QUOTA = 30_000_000


class Node(NamedTuple):
    """The parts of one node that have to do with uploads."""

    uploads: Uploads
    rows: UploadRows
    files: FileRows
    blobs: Blobs
    sweep: Sweep
    metrics: Metrics


@pytest.fixture
async def nodes(pool: asyncpg.Pool, tmp_path: Path) -> AsyncIterator[list[Node]]:
    workers = WorkerPool(size=1)

    def node() -> Node:
        blobs, metrics = Blobs.at((tmp_path / "blobs").as_uri()), Metrics()
        notices = Notices(LocalBroker())
        files, rows = FileRows(pool, QUOTA), UploadRows(pool, QUOTA)
        processing = Processing(files, blobs, workers, notices, metrics)
        uploads = Uploads(rows, blobs, processing, notices, metrics, max_bytes=20_000_000)
        sweep = Sweep(rows, blobs, uploads, processing, metrics, grace_seconds=0)
        return Node(uploads, rows, files, blobs, sweep, metrics)

    yield [node(), node()]
    workers.close()


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


def told(
    length: int | None, *, file_id: UUID | None = None, memory_id: UUID | None = None
) -> Intake:
    return Intake(file_id or uuid4(), "a.bin", length, memory_id)


def body(*pieces: bytes) -> Callable[[Callable[[], Awaitable[bool]]], AsyncIterator[bytes]]:
    async def chunks(_: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return chunks


async def broken_off(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    raise ConnectionError("the client is gone")


async def begun(node: Node, who: Author, length: int, **more: UUID) -> Upload:
    upload = await node.uploads.create(who.account_id, told(length, **more))
    assert isinstance(upload, Upload)
    return upload


async def stored(node: Node, who: Author, content: bytes, **more: UUID) -> File:
    return await node.uploads.receive(who.account_id, told(None, **more), body(content)(never))


async def never() -> bool:
    return False


async def content_of(node: Node, file: File) -> bytes:
    content = await node.files.content(file.id, file.user_id)
    return await node.blobs.whole(content.blob)


def objects(node: Node) -> list[Path]:
    assert node.blobs.local is not None
    return [path for path in node.blobs.local.rglob("*") if path.is_file()]


async def expire(pool: asyncpg.Pool) -> None:
    """Have all uploads and writers as if nobody had touched them for long."""
    await pool.execute(
        "UPDATE uploads SET expires_at = now() - interval '1s', writer_until = expires_at"
    )


async def test_an_upload_goes_on_at_another_node(nodes: list[Node], ada: Author) -> None:
    content = os.urandom(2 * PART_BYTES + 100_000)
    upload = await begun(nodes[0], ada, len(content))
    sent = 0
    for number, size in enumerate((100, PART_BYTES, PART_BYTES - 50, 99_950)):
        answer = await nodes[number % 2].uploads.append(
            ada.account_id, upload.id, sent, body(content[sent : sent + size])
        )
        sent += size
    assert isinstance(answer, File)
    assert answer.sha256 == hashlib.sha256(content).hexdigest()
    assert await content_of(nodes[0], answer) == content
    assert len(objects(nodes[0])) == 3  # what was written anew is gone


async def test_a_node_that_ends_in_the_middle_leaves_what_it_had_recorded(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    content = os.urandom(PART_BYTES + 1000)
    upload = await begun(nodes[0], ada, len(content))
    crashed = uuid4()
    claimed = await nodes[0].rows.claim(upload.id, crashed)
    assert claimed is not None
    writing = Writing(claimed, crashed, nodes[0].rows, nodes[0].blobs, lifetime=60)
    await writing.write(content[: PART_BYTES + 500])  # the 500 are in its memory alone
    del writing
    found = await nodes[1].uploads.find(ada.account_id, upload.id)
    assert isinstance(found, Upload)
    assert found.received == PART_BYTES
    # Nobody takes it from a writer that may live; nor does the sweep.
    assert await nodes[1].rows.claim(upload.id, uuid4()) is None
    await pool.execute("UPDATE uploads SET expires_at = now() - interval '1s'")
    await nodes[1].sweep.sweep()
    await pool.execute("UPDATE uploads SET writer_until = now() - interval '1s'")
    file = await nodes[1].uploads.append(
        ada.account_id, upload.id, PART_BYTES, body(content[PART_BYTES:])
    )
    assert isinstance(file, File)
    assert await content_of(nodes[1], file) == content
    # Should the first one live after all, it has nothing to say any more.
    with pytest.raises(MemoError) as refused:
        await nodes[0].rows.record(claimed, crashed, ["x"], 5, 60)
    assert refused.value.code is ErrorCode.CONFLICT
    with pytest.raises(MemoError):
        await nodes[0].rows.renew(upload.id, crashed)


async def test_an_upload_whose_last_step_was_missed_is_a_file_all_the_same(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    for asked in (True, False):
        upload = await begun(nodes[0], ada, 5)
        crashed = uuid4()
        claimed = await nodes[0].rows.claim(upload.id, crashed)
        assert claimed is not None
        part = await nodes[0].blobs.put_part(claimed.blob.path, b"whole")
        await nodes[0].rows.record(claimed, crashed, [part], 5, 60)
        await pool.execute("UPDATE uploads SET writer_until = now() - interval '1s'")
        if asked:
            found = await nodes[1].uploads.find(ada.account_id, upload.id)
            assert isinstance(found, File)
        else:
            await nodes[1].sweep.sweep()
        file = await nodes[1].files.get(upload.id, ada.account_id)
        assert await content_of(nodes[1], file) == b"whole"


async def test_one_of_two_writers_at_once_is_let_in(nodes: list[Node], ada: Author) -> None:
    upload = await begun(nodes[0], ada, 10)
    claims = await asyncio.gather(
        *(node.rows.claim(upload.id, uuid4()) for node in nodes for _ in range(5))
    )
    assert len([claim for claim in claims if claim]) == 1


async def test_uploads_at_once_do_not_get_past_the_quota(nodes: list[Node], ada: Author) -> None:
    answers = await asyncio.gather(
        *(node.uploads.create(ada.account_id, told(4_000_000)) for node in nodes for _ in range(6)),
        return_exceptions=True,
    )
    refused = [each for each in answers if isinstance(each, MemoError)]
    assert len(refused) == 12 - QUOTA // 4_000_000
    assert {error.code for error in refused} == {ErrorCode.QUOTA_EXCEEDED}
    assert refused[0].details == {"bytes": 28_000_000, "quota": QUOTA, "needed": 4_000_000}
    # Another account has a quota of its own, and what does not say its size is weighed as it comes.
    usage = await nodes[0].files.usage(ada.account_id)
    with pytest.raises(MemoError) as too_much:
        await stored(nodes[0], ada, bytes(2_000_001))
    assert too_much.value.code is ErrorCode.QUOTA_EXCEEDED
    assert await nodes[0].files.usage(ada.account_id) == usage
    await stored(nodes[0], ada, bytes(2_000_000))


async def test_what_breaks_off_in_one_request_leaves_no_row_and_no_object(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    with pytest.raises(ConnectionError):
        await nodes[0].uploads.receive(
            ada.account_id, told(None), broken_off(bytes(PART_BYTES), b"more")
        )
    assert await pool.fetchval("SELECT count(*) FROM uploads") == 0
    await nodes[0].sweep.sweep()
    assert objects(nodes[0]) == []
    assert await pool.fetchval("SELECT count(*) FROM blobs") == 0


async def test_a_try_that_a_crash_left_does_not_stand_in_the_way_of_the_next(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    file_id, crashed = uuid4(), uuid4()
    await nodes[0].rows.begin(ada.account_id, told(None, file_id=file_id), 60, writer=crashed)
    with pytest.raises(MemoError) as held:
        await stored(nodes[1], ada, b"again", file_id=file_id)
    assert held.value.code is ErrorCode.BUSY
    await pool.execute("UPDATE uploads SET writer_until = now() - interval '1s'")
    file = await stored(nodes[1], ada, b"again", file_id=file_id)
    assert (file.id, await content_of(nodes[1], file)) == (file_id, b"again")


async def test_what_nobody_goes_on_with_ends(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    upload = await begun(nodes[0], ada, 10)
    await nodes[0].uploads.append(ada.account_id, upload.id, 0, body(b"12345"))
    for node in nodes:
        await node.sweep.sweep()
    assert len(objects(nodes[0])) == 1
    await expire(pool)
    await asyncio.gather(*(node.sweep.sweep() for node in nodes))
    await nodes[0].sweep.sweep()
    with pytest.raises(MemoError) as gone:
        await nodes[0].uploads.find(ada.account_id, upload.id)
    assert gone.value.code is ErrorCode.NOT_FOUND
    assert objects(nodes[0]) == []
    assert (await nodes[0].files.usage(ada.account_id)).bytes == 0


async def test_bytes_go_with_the_last_file_that_has_them_however_it_goes(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    memory = await add_memory(pool, ada)
    first = await stored(nodes[0], ada, b"same")
    second = await stored(nodes[0], ada, b"same", memory_id=memory)
    third = await stored(nodes[0], ada, b"other")
    await nodes[0].files.delete(first.id, ada.account_id)
    await nodes[0].sweep.sweep()
    assert await content_of(nodes[0], second) == b"same"
    await pool.execute("DELETE FROM memories WHERE id = $1", memory)
    await asyncio.gather(*(node.sweep.sweep() for node in nodes))
    assert len(objects(nodes[0])) == 1
    assert await content_of(nodes[0], third) == b"other"
    await pool.execute("DELETE FROM users WHERE id = $1", ada.account_id)
    await nodes[0].sweep.sweep()
    assert objects(nodes[0]) == []
    assert await pool.fetchval("SELECT count(*) FROM blobs") == 0


async def test_bytes_that_are_wanted_again_meanwhile_stay(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    for _ in range(10):
        file = await stored(nodes[0], ada, b"back and forth")
        await nodes[0].files.delete(file.id, ada.account_id)
        storing = asyncio.ensure_future(stored(nodes[1], ada, b"back and forth"))
        await asyncio.gather(*(node.sweep.sweep() for node in nodes))
        again = await storing
        for node in nodes:
            await node.sweep.sweep()
        assert await content_of(nodes[0], again) == b"back and forth"
        await nodes[0].files.delete(again.id, ada.account_id)
    # A sweep that ended between the two steps is gone on with.
    [path] = await nodes[0].rows.doom(0, 10)
    await nodes[1].sweep.sweep()
    assert objects(nodes[0]) == []
    assert not await pool.fetchval("SELECT true FROM blobs WHERE path = $1", path)


async def test_a_memory_that_may_no_longer_be_written_gets_no_file(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    memory = await add_memory(pool, ada)
    upload = await begun(nodes[0], ada, 3, memory_id=memory)
    await delete_memory(pool, memory)
    file = await nodes[0].uploads.append(ada.account_id, upload.id, 0, body(b"abc"))
    assert isinstance(file, File)
    assert file.memory_id is None
    for whose, code in (
        (memory, ErrorCode.GONE),
        (await add_memory(pool, await add_person(pool)), ErrorCode.NOT_FOUND),
        (await add_memory(pool, await add_person(pool), viewer=ada), ErrorCode.FORBIDDEN),
        (await add_memory(pool, await add_person(pool), commenter=ada), ErrorCode.FORBIDDEN),
    ):
        with pytest.raises(MemoError) as refused:
            await stored(nodes[0], ada, b"x", memory_id=whose)
        assert refused.value.code is code
    shared = await add_memory(pool, await add_person(pool), editor=ada)
    assert (await stored(nodes[0], ada, b"x", memory_id=shared)).memory_id == shared


async def test_a_picture_that_was_forgotten_is_looked_at_by_the_sweep(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    file = await stored(nodes[0], ada, b"GIF89a but nothing of it" + bytes(range(20)))
    assert not file.is_processed
    await nodes[0].sweep.sweep()
    assert not (await nodes[0].files.get(file.id, ada.account_id)).is_processed
    await pool.execute("UPDATE files SET created_at = now() - interval '1h'")
    await nodes[1].sweep.sweep()
    file = await nodes[0].files.get(file.id, ada.account_id)
    assert file.is_processed
    assert "image" in file.metadata["error"]


async def test_lost_bytes_are_told_by_code(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    file = await stored(nodes[0], ada, b"soon lost")
    for path in objects(nodes[0]):
        path.unlink()
    with pytest.raises(MemoError) as lost:
        await content_of(nodes[0], file)
    assert lost.value.code is ErrorCode.GONE
    await pool.execute("DELETE FROM blobs")
    with pytest.raises(MemoError) as lost:
        await nodes[0].files.content(file.id, ada.account_id)
    assert lost.value.code is ErrorCode.GONE


async def test_a_disabled_account_reads_nothing(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    file = await stored(nodes[0], ada, b"x")
    await pool.execute("UPDATE users SET is_active = false")
    with pytest.raises(MemoError) as refused:
        await nodes[0].files.content(file.id, ada.account_id)
    assert refused.value.code is ErrorCode.NOT_FOUND


async def test_every_change_of_a_file_is_one_of_the_feed(
    nodes: list[Node], ada: Author, pool: asyncpg.Pool
) -> None:
    feed = Feed(pool)
    cursor = await feed.cursor()

    async def news() -> Change:
        nonlocal cursor
        changes = await feed.changes(ada.account_id, cursor, 10)
        cursor = changes.cursor
        [change] = changes.items
        return change

    file = await stored(nodes[0], ada, b"x")
    assert await news() == Change(kind="file", id=file.id, file=file)
    renamed = await nodes[0].files.update(file.id, ada.account_id, filename="b")
    assert await news() == Change(kind="file", id=file.id, file=renamed.file)
    await stored(nodes[0], await add_person(pool), b"another's")
    await nodes[0].files.delete(file.id, ada.account_id)
    assert await news() == Change(kind="file", id=file.id, deleted=True)
    # One that goes with its memory is told of too.
    memory = await add_memory(pool, await add_person(pool), editor=ada)
    file = await stored(nodes[0], ada, b"y", memory_id=memory)
    cursor = await feed.cursor()
    await pool.execute("DELETE FROM memories WHERE id = $1", memory)
    assert await news() == Change(kind="file", id=file.id, deleted=True)


async def test_too_many_uploads_at_once_are_told_to_come_later(
    nodes: list[Node], ada: Author
) -> None:
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b"x"

    def receive() -> Awaitable[File]:
        return nodes[0].uploads.receive(ada.account_id, told(None), slow())

    running = [asyncio.ensure_future(receive()) for _ in range(16)]
    with pytest.raises(MemoError) as busy:
        await asyncio.gather(asyncio.sleep(0), receive())
    assert busy.value.code is ErrorCode.BUSY
    go_on.set()
    files = await asyncio.gather(*running)
    assert len({file.id for file in files}) == 16
    assert len(objects(nodes[0])) >= 1
    await receive()


async def test_what_came_of_a_dripping_upload_stays_where_it_can_go_on(
    nodes: list[Node], ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.files.places.PACE_SECONDS", 0.0)
    monkeypatch.setattr("server.files.places.LEAST_BYTES", 100)
    upload = await begun(nodes[0], ada, 1000)
    with pytest.raises(MemoError) as stalled:
        await nodes[0].uploads.append(
            ada.account_id, upload.id, 0, body(bytes(200), b"drip", b"drip")
        )
    assert stalled.value.code is ErrorCode.TIMEOUT
    found = await nodes[0].uploads.find(ada.account_id, upload.id)
    assert isinstance(found, Upload)
    assert found.received == 200
    with pytest.raises(MemoError) as stalled:
        await stored(nodes[0], ada, b"drip")
    assert stalled.value.code is ErrorCode.TIMEOUT
    monkeypatch.undo()
    assert isinstance(
        await nodes[0].uploads.append(ada.account_id, upload.id, 200, body(bytes(800))), File
    )
