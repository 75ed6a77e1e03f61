"""Imports in the background: several accounts' at a time, and none for ever."""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from server.metrics import Metrics
from server.takeout.bringing import Places
from server.takeout.importing import AT_ONCE, Importing
from storage.blobs import Blobs
from storage.files import FileRows
from storage.imports import MAX_ATTEMPTS, ImportRow
from storage.uploads import Intake
from sync.broker import LocalBroker
from sync.feed import Notices
from tests.rows import add_person
from tests.server.takeout.archives import Here

P = ParamSpec("P")
T = TypeVar("T")


class Slow(Here):
    """Lets work wait while the `gate` is closed, and says that there is some."""

    def __init__(self) -> None:
        super().__init__(size=1)
        self.gate = asyncio.Event()
        self.waiting = asyncio.Semaphore(0)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not self.gate.is_set():
            self.waiting.release()
            await self.gate.wait()
        return call(*args, **kwargs)


class Told(Notices):
    """Says of whose imports it was told."""

    def __init__(self) -> None:
        super().__init__(LocalBroker())
        self.ended: asyncio.Queue[UUID] = asyncio.Queue()

    def imports_changed(self, account_id: UUID) -> None:
        self.ended.put_nowait(account_id)


class Node(NamedTuple):
    """A node that imports."""

    importing: Importing
    places: Places
    slow: Slow
    told: Told
    pool: asyncpg.Pool


@pytest.fixture
def node(pool: asyncpg.Pool, places: Places, blobs: Blobs) -> Node:
    slow, told = Slow(), Told()
    places = places._replace(workers=slow)
    importing = Importing(places, FileRows(pool, 10_000), blobs, told, Metrics())
    return Node(importing, places, slow, told, pool)


async def begun(node: Node, account: Author, archive: Path) -> UUID:
    """An import that waits."""

    async def chunks() -> AsyncIterator[bytes]:
        yield archive.read_bytes()

    intake = Intake(uuid4(), "archive.zip", None)
    file = await node.places.uploads.receive(account.account_id, intake, chunks())
    return (await node.places.rows.begin(account.account_id, uuid4(), file.id)).id


def notes(root: Path, count: int = 1) -> Path:
    path = root / f"{uuid4()}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.md", "# Note")
    return path


async def only(node: Node, account: Author) -> ImportRow:
    [row] = await node.places.rows.of(account.account_id)
    return row


async def test_one_that_takes_long_does_not_hold_up_those_of_others(
    node: Node, tmp_path: Path
) -> None:
    people = [await add_person(node.pool) for _ in range(AT_ONCE + 1)]
    for person in people:
        await begun(node, person, notes(tmp_path))
    running = asyncio.create_task(node.importing.jobs.run())
    try:
        async with asyncio.timeout(20):
            for _ in range(AT_ONCE):
                await node.slow.waiting.acquire()
            assert node.slow.waiting.locked()  # no more than so many
            node.slow.gate.set()
            ended = {await node.told.ended.get() for _ in people}
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert ended == {person.account_id for person in people}
    assert {(await only(node, person)).status for person in people} == {"done"}


async def test_one_that_never_comes_to_its_end_fails(
    node: Node, ada: Author, tmp_path: Path
) -> None:
    node.slow.gate.set()
    await begun(node, ada, notes(tmp_path))
    for _ in range(MAX_ATTEMPTS):  # a node that was killed over it
        claimed = await node.places.rows.claim()
        assert claimed is not None
        await node.places.rows.progress(claimed, {"memories": 3})
        await node.pool.execute("UPDATE imports SET claimed_until = now() - interval '1 second'")
    assert await node.importing.carry_out_next()
    row = await only(node, ada)
    assert (row.status, row.tally) == ("failed", {"memories": 3})
    assert row.error is not None
    assert row.error.startswith("it was begun 3 times and never came to an end")
    assert not await node.importing.carry_out_next()
    await begun(node, ada, notes(tmp_path))
    assert await node.importing.carry_out_next()


async def test_the_end_of_the_account_ends_its_import(
    node: Node, ada: Author, tmp_path: Path
) -> None:
    await begun(node, ada, notes(tmp_path))
    with capture_logs() as logs:
        carrying = asyncio.create_task(node.importing.carry_out_next())
        async with asyncio.timeout(20):
            await node.slow.waiting.acquire()
            await node.pool.execute("DELETE FROM users WHERE id = $1", ada.account_id)
            node.slow.gate.set()
            assert await carrying
    assert logs == []


async def test_what_costs_workers_their_time_over_and_over_is_ended(
    node: Node, ada: Author, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    async def run(*_: object, **__: object) -> object:
        nonlocal calls
        calls += 1
        raise MemoError(ErrorCode.TIMEOUT, "the document took too long to process")

    monkeypatch.setattr(node.slow, "run", run)
    await begun(node, ada, notes(tmp_path, 50))
    assert await node.importing.carry_out_next()
    row = await only(node, ada)
    assert (row.status, row.error) == ("failed", "too much in it takes too long to read")
    assert calls == len(row.tally["skipped"]) == 6
