"""The operations on history: reading what was, keeping it, having it back, and who may."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pycrdt import Doc, Map, Text

from protocol import frames
from protocol.errors import ErrorCode, MemoError
from protocol.history import (
    DeleteVersion,
    GetBlame,
    GetVersion,
    ListVersions,
    RenameVersion,
    RestoreVersion,
    SaveVersion,
    Version,
)
from protocol.log import Author, Entry
from protocol.memories import CreateMemory, DeleteMemory, UpdateMemory
from storage.history import HistoryRows
from storage.memories import MemoryRows
from storage.versions import VersionRows
from sync.broker import LocalBroker
from sync.compaction import Compactor
from sync.feed import Notices, account_topic
from sync.history import History
from sync.versions import DAY, Versions
from tests.rows import add_member, add_person
from tests.storage.test_messages import add_file
from tests.sync.doubles import Device, Gate, Node, memories_of, outage, projector_of, running


class Caller:
    """Who calls, without a connection."""

    def __init__(self, author: Author) -> None:
        self.author = author


class Stage:
    """A node with the operations bound."""

    def __init__(self, node: Node, pool: asyncpg.Pool) -> None:
        self.node = node
        self.pool = pool
        rows, notices = MemoryRows(pool), Notices(node.broker)
        projector = projector_of(node, pool, notices)
        self.rows = HistoryRows(pool)
        self.versions = Versions(
            node.log,
            VersionRows(pool),
            node.workers,
            observer=node.watcher,
            tasks=node.tasks,
            retention_seconds=90 * DAY,
        )
        self.memories = memories_of(node, pool, notices, projector)
        self.history = History(
            self.rows,
            self.versions,
            rows,
            node.hub,
            projector,
            workers=node.workers,
            readers=node.workers,
            notices=notices,
        )

    async def create(self, who: Caller, text: str = "", **fields: Any) -> UUID:
        request = CreateMemory(content={"text": text}, **fields)
        return (await self.memories.create(who, request)).memory.id

    async def update(self, who: Caller, memory: UUID, **fields: Any) -> None:
        await self.memories.update(who, UpdateMemory(id=memory, **fields))

    async def save(self, who: Caller, memory: UUID, name: str = "kept") -> UUID:
        answer = await self.history.save(who, SaveVersion(memory_id=memory, name=name))
        assert answer.version.id is not None
        return answer.version.id

    async def list(self, who: Caller, memory: UUID, **page: Any) -> list[Version]:
        answer = await self.history.list(who, ListVersions(memory_id=memory, **page))
        return answer.versions

    async def restore(self, who: Caller, memory: UUID, version: UUID, **more: Any) -> Any:
        request = RestoreVersion(memory_id=memory, version_id=version, **more)
        return (await self.history.restore(who, request)).memory


@asynccontextmanager
async def staged(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    async with running(pool, LocalBroker()) as node:
        yield Stage(node, pool)


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    async with staged(pool) as stage:
        yield stage


@pytest.fixture
async def ada(pool: asyncpg.Pool) -> Caller:
    return Caller(await add_person(pool))


async def refusal(call: Any) -> ErrorCode:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value.code


async def test_a_named_version_is_what_the_memory_was(stage: Stage, ada: Caller) -> None:
    memory = await stage.create(ada, "It rained.", title="A day", tags=["x"], metadata={"a": 1})
    version = await stage.save(ada, memory, "first")
    await stage.update(ada, memory, title="A night", content={"text": "It rained a lot."})
    answer = await stage.history.get(ada, GetVersion(memory_id=memory, version_id=version))
    past = answer.memory
    assert (past.title, past.content, past.tags) == ("A day", {"text": "It rained."}, ["x"])
    assert past.metadata == {"a": 1}
    assert answer.diff is None
    assert answer.version.name == "first"
    assert answer.version.created_by is not None
    assert answer.version.created_by.user_id == ada.author.account_id


async def test_the_present_comes_first_in_the_list_unless_a_version_has_it(
    stage: Stage, ada: Caller
) -> None:
    memory = await stage.create(ada, "one", title="T")
    assert [(v.kind, v.id, v.offset) for v in await stage.list(ada, memory)] == [
        ("current", None, 1)
    ]
    version = await stage.save(ada, memory)
    assert [(v.kind, v.id) for v in await stage.list(ada, memory)] == [("named", version)]
    await stage.update(ada, memory, content={"text": "one two"})
    current, named = await stage.list(ada, memory)
    assert (current.kind, current.excerpt, current.title) == ("current", "one two", "T")
    assert (named.excerpt, named.title, named.offset) == ("one", "T", 1)


async def test_a_list_is_read_in_pages_without_overlap(stage: Stage, ada: Caller) -> None:
    memory = await stage.create(ada, "x")
    for number in range(5):
        await stage.save(ada, memory, f"{number}")  # all of one offset
    seen: list[str | None] = []
    before = None
    while True:
        answer = await stage.history.list(
            ada, ListVersions(memory_id=memory, before=before, limit=2)
        )
        seen += [version.name for version in answer.versions]
        if not answer.more:
            break
        before = answer.versions[-1].id
    assert seen == ["4", "3", "2", "1", "0"]
    code = await refusal(stage.list(ada, memory, before=uuid4()))
    assert code is ErrorCode.NOT_FOUND


async def test_a_version_is_compared_with_another_with_now_and_with_the_one_before(
    stage: Stage, ada: Caller
) -> None:
    memory = await stage.create(ada, "one")
    first = await stage.save(ada, memory)
    await stage.update(ada, memory, content={"text": "one two"})
    second = await stage.save(ada, memory)
    await stage.update(ada, memory, content={"text": "one two three"}, title="T")

    async def diff(version: UUID, other: Any) -> tuple[str, str, list[str]]:
        answer = await stage.history.get(
            ada, GetVersion(memory_id=memory, version_id=version, compare_to=str(other))
        )
        found = answer.diff
        assert found is not None
        parts = [f"{p.op[0]}{p.text}" for field in found.fields for p in field.parts]
        return found.older, found.newer, parts

    assert await diff(second, "previous") == (str(first), str(second), ["eone", "i two"])
    assert await diff(second, first) == (str(first), str(second), ["eone", "i two"])
    assert await diff(first, second) == (str(first), str(second), ["eone", "i two"])
    assert await diff(second, "current") == (
        str(second),
        "current",
        ["iT", "eone two", "i three"],
    )
    assert await diff(first, "previous") == ("empty", str(first), ["ione"])
    assert await refusal(diff(first, "yesterday")) is ErrorCode.INVALID_REQUEST
    assert await refusal(diff(first, uuid4())) is ErrorCode.NOT_FOUND


async def test_a_memory_is_made_what_it_was_and_every_device_sees_it(
    stage: Stage, ada: Caller
) -> None:
    memory = await stage.create(
        ada, "The first text.", title="T", description="D", tags=["a"], metadata={"k": 1}
    )
    device = Device(ada.author)
    await device.open(stage.node.hub, memory)
    device.content()
    version = await stage.save(ada, memory)
    await stage.update(
        ada,
        memory,
        title=None,
        description="other",
        tags=["b"],
        metadata=None,
        content={"text": "Another text.", "kind": "note"},
    )
    restored = await stage.restore(ada, memory, version)
    assert (restored.title, restored.description) == ("T", "D")
    assert (restored.content, restored.tags) == ({"text": "The first text."}, ["a"])
    assert restored.metadata == {"k": 1}
    await device.reach(restored.offset)
    assert device.content() == "The first text."
    _, undo, named = await stage.list(ada, memory)
    assert (undo.kind, undo.restored_id, undo.excerpt) == ("restore", version, "Another text.")
    assert named.id == version


async def test_a_restore_is_undone_by_a_restore(stage: Stage, ada: Caller) -> None:
    memory = await stage.create(ada, "one")
    version = await stage.save(ada, memory)
    await stage.update(ada, memory, content={"text": "two"})
    await stage.restore(ada, memory, version)
    undo = next(v for v in await stage.list(ada, memory) if v.kind == "restore")
    assert undo.id is not None
    assert (await stage.restore(ada, memory, undo.id)).content == {"text": "two"}
    assert (await stage.restore(ada, memory, version)).content == {"text": "one"}


async def test_an_edit_made_offline_meanwhile_merges_with_a_restore(
    stage: Stage, ada: Caller
) -> None:
    memory = await stage.create(ada, "The quick fox jumps. The dog sleeps.")
    version = await stage.save(ada, memory)
    await stage.update(ada, memory, content={"text": "The slow fox jumps. The dog sleeps."})
    away = Device(ada.author)
    await away.open(stage.node.hub, memory)
    away.content()
    away.subscription.close()
    offline = away.type(" Soundly.", at=len(str(away.text)))
    await stage.restore(ada, memory, version)
    opening = await away.open(stage.node.hub, memory)
    await away.ack(away.submit(offline))
    assert opening.content.offset == 3
    assert away.content() == "The quick fox jumps. The dog sleeps. Soundly."
    other = Device(ada.author)
    await other.open(stage.node.hub, memory)
    assert other.content() == away.content()


async def test_deleted_messages_come_back_and_new_ones_stay(stage: Stage, ada: Caller) -> None:
    memory = await stage.create(ada)
    doc: Doc[Any] = Doc()
    messages = doc.get("messages", type=Map)
    ids = [str(uuid4()) for _ in range(3)]

    async def write(change: Any) -> None:
        before = doc.get_state()
        change()
        update = doc.get_update(before)
        [outcome] = await stage.node.log.commit([Entry(memory, ada.author, update)])
        assert outcome.offset

    def say(number: int, text: str) -> None:
        messages[ids[number]] = Map({"body": Text(text), "messageType": "text"})

    await write(lambda: say(0, "deleted"))
    await write(lambda: say(1, "as it was"))
    version = await stage.save(ada, memory)
    await write(lambda: messages.__delitem__(ids[0]))
    await write(lambda: messages[ids[1]]["body"].insert(0, "not "))
    await write(lambda: say(2, "since"))
    await stage.restore(ada, memory, version)
    rows = await stage.pool.fetch("SELECT id, content FROM messages WHERE memory_id = $1", memory)
    said = {str(row["id"]): row["content"] for row in rows}
    assert said == dict(zip(ids, ("deleted", "as it was", "since"), strict=True))


async def test_nobody_is_made_to_have_said_something_by_a_restore(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    bob = Caller(await add_person(pool))
    memory, message = await stage.create(ada), str(uuid4())
    await add_member(pool, memory, bob.author, "editor")
    device = Device(bob.author)
    await device.open(stage.node.hub, memory)
    device.content()

    async def write(change: Any) -> None:
        before = device.doc.get_state()
        change(device.doc.get("messages", type=Map))
        await device.ack(device.submit(device.doc.get_update(before)))

    forged = {"body": Text("I owe you"), "userId": str(ada.author.account_id)}
    await write(lambda messages: messages.__setitem__(message, Map(forged)))
    version = await stage.save(bob, memory)
    answer = await stage.history.get(ada, GetVersion(memory_id=memory, version_id=version))
    assert answer.memory.messages[0].user_id == bob.author.account_id
    await write(lambda messages: messages.__delitem__(message))
    await stage.restore(bob, memory, version)
    row = await pool.fetchrow("SELECT user_id, content FROM messages WHERE memory_id = $1", memory)
    assert row is not None
    assert tuple(row) == (bob.author.account_id, "I owe you")


async def test_what_stood_in_a_messages_place_makes_it_no_one_elses(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    """A message is written in another's name and taken out of the way before any row has it: the
    restore makes it anew, and whoever made it that way is asked for nothing else."""
    bob = Caller(await add_person(pool))
    memory, victim = await stage.create(ada), str(ada.author.account_id)
    await add_member(pool, memory, bob.author, "editor")
    device = Device(bob.author)
    await device.open(stage.node.hub, memory)
    device.content()
    ids = [str(uuid4()) for _ in range(4)]

    async def write(change: Any) -> None:
        before = device.doc.get_state()
        with device.doc.transaction():
            change(device.doc.get("messages", type=Map))
        await device.ack(device.submit(device.doc.get_update(before)))

    def forge(messages: Map[Any]) -> None:
        for message in ids:
            messages[message] = Map({"body": Text("I resign"), "userId": victim})

    def clear(messages: Map[Any]) -> None:
        messages[ids[0]] = "nothing"
        messages[ids[1]] = {"body": "nothing", "userId": victim}
        messages[ids[2]]["body"] = "nothing"
        del messages[ids[3]]

    await write(forge)
    version = await stage.save(bob, memory)
    await write(clear)
    await stage.restore(bob, memory, version)
    query = "SELECT user_id, content FROM messages WHERE memory_id = $1"
    rows = await pool.fetch(query, memory)
    assert [tuple(row) for row in rows] == [(bob.author.account_id, "I resign")] * 4
    # The names in the document were made true; putting another there changes nothing.
    await device.reach(await stage.node.log.head(memory))
    device.content()
    names = [device.doc.get("messages", type=Map)[message]["userId"] for message in ids]
    assert names == [str(bob.author.account_id)] * 4
    await write(lambda messages: [messages[key].update({"userId": victim}) for key in ids])
    version = await stage.save(bob, memory)
    await write(lambda messages: [messages.__delitem__(key) for key in ids])
    await stage.restore(ada, memory, version)
    assert [tuple(row) for row in await pool.fetch(query, memory)] == [
        (bob.author.account_id, "I resign")
    ] * 4
    answer = await stage.history.get(ada, GetVersion(memory_id=memory, version_id=version))
    assert [each.user_id for each in answer.memory.messages] == [bob.author.account_id] * 4


async def test_files_come_back_with_a_message_when_their_owner_restores_it(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    bob = Caller(await add_person(pool))
    memory, message = await stage.create(ada), uuid4()
    await add_member(pool, memory, bob.author, "editor")
    file_id = await add_file(pool, ada.author.account_id)
    device = Device(ada.author)
    await device.open(stage.node.hub, memory)
    device.content()
    messages = device.doc.get("messages", type=Map)

    async def write(change: Any) -> None:
        before = device.doc.get_state()
        change()
        await device.ack(device.submit(device.doc.get_update(before)))

    async def place() -> tuple[UUID | None, UUID | None]:
        row = await pool.fetchrow("SELECT memory_id, message_id FROM files")
        assert row is not None
        return row[0], row[1]

    said = Map({"body": Text("hello"), "attachments": [str(file_id)]})
    await write(lambda: messages.__setitem__(str(message), said))
    version = await stage.save(ada, memory)
    await write(lambda: messages.__delitem__(str(message)))
    # Once another member has brought the message back, there is nothing left to restore.
    for who in (bob, ada):
        await stage.restore(who, memory, version)
        assert await place() == (None, None)
    await device.reach(await stage.node.log.head(memory))
    device.content()
    await write(lambda: messages.__delitem__(str(message)))
    await stage.restore(ada, memory, version)
    assert await place() == (memory, message)


async def test_a_restore_puts_no_file_with_a_message_that_others_listed(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    """Whoever has its owner restore a version may have put the file's id there."""
    bob = Caller(await add_person(pool))
    memory, message = await stage.create(ada), str(uuid4())
    await add_member(pool, memory, bob.author, "editor")
    secret = await add_file(pool, ada.author.account_id)

    async def write(who: Caller, change: Any) -> None:
        device = Device(who.author)
        await device.open(stage.node.hub, memory)
        device.content()
        before = device.doc.get_state()
        change(device.doc.get("messages", type=Map))
        await device.ack(device.submit(device.doc.get_update(before)))

    said = Map({"body": Text("hello"), "attachments": [str(uuid4())]})
    await write(ada, lambda messages: messages.__setitem__(message, said))
    listed = {"attachments": [str(secret)]}
    await write(bob, lambda messages: messages[message].update(listed))
    version = await stage.save(bob, memory)
    await write(bob, lambda messages: messages[message].update({"attachments": []}))
    for who in (bob, ada):
        await stage.restore(who, memory, version)
        row = await pool.fetchrow("SELECT memory_id, message_id FROM files")
        assert row is not None
        assert tuple(row) == (None, None)


async def test_a_restore_works_after_the_rows_of_the_log_are_gone(
    stage: Stage, ada: Caller
) -> None:
    node = stage.node
    compactor = Compactor(node.log, node.workers, node.watcher, node.tasks, -1)
    memory = await stage.create(ada, "one")
    version = await stage.save(ada, memory)
    for text in ("two", "three"):
        await stage.update(ada, memory, content={"text": text})
    await compactor.compact(memory)
    assert await node.log.read(memory, 0) == []
    assert (await stage.restore(ada, memory, version)).content == {"text": "one"}


async def test_a_restore_that_is_repeated_does_not_undo_what_was_written_since(
    stage: Stage, ada: Caller
) -> None:
    memory = await stage.create(ada, "one")
    version = await stage.save(ada, memory)
    await stage.update(ada, memory, content={"text": "two"})
    kept = uuid4()
    await stage.restore(ada, memory, version, id=kept)
    await stage.update(ada, memory, content={"text": "one and more"})
    again = await stage.restore(ada, memory, version, id=kept)
    assert again.content == {"text": "one and more"}
    assert [v.kind for v in await stage.list(ada, memory)] == ["current", "restore", "named"]
    # Of what is no restore, or of another one, the id is taken.
    assert await refusal(stage.restore(ada, memory, version, id=version)) is ErrorCode.CONFLICT
    assert await refusal(stage.restore(ada, memory, kept, id=kept)) is ErrorCode.CONFLICT


async def test_a_restore_that_is_made_again_under_another_client_id_is_one(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    memory, kept = await stage.create(ada), uuid4()
    device = Device(ada.author)
    await device.open(stage.node.hub, memory)
    await device.ack(device.submit(device.type("one")))
    version = await stage.save(ada, memory)
    await device.ack(device.submit(device.type("two")))
    # On another node, so that this one does not know.
    await pool.execute(
        "INSERT INTO document_clients VALUES ($1, $2, $3)",
        memory,
        stage.node.hub.client_id(memory),
        ada.author.account_id,
    )
    restored = await stage.restore(ada, memory, version, id=kept)
    assert restored.content == {"text": "one"}
    head = await stage.node.log.head(memory)
    assert await stage.restore(ada, memory, version, id=kept) == restored
    assert await stage.node.log.head(memory) == head
    [saved] = [each for each in await stage.list(ada, memory) if each.id == kept]
    assert saved.restored_id == version


async def test_a_restore_that_failed_halfway_is_done_when_it_is_repeated(
    stage: Stage, ada: Caller
) -> None:
    memory = await stage.create(ada, "one")
    version = await stage.save(ada, memory)
    await stage.update(ada, memory, content={"text": "two"})
    kept = uuid4()
    gate = Gate()
    stage.node.log.before["commit"] = gate
    first = asyncio.create_task(stage.restore(ada, memory, version, id=kept))
    await gate.arrival()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.open()
    restored = await stage.restore(ada, memory, version, id=kept)
    assert restored.content == {"text": "one"}
    await stage.update(ada, memory, content={"text": "three"})
    again = await stage.restore(ada, memory, version, id=kept)
    assert again.content == {"text": "three"}


async def test_restoring_what_is_there_writes_nothing(stage: Stage, ada: Caller) -> None:
    memory = await stage.create(ada, "one")
    version = await stage.save(ada, memory)
    restored = await stage.restore(ada, memory, version)
    assert restored.offset == 1
    assert [v.kind for v in await stage.list(ada, memory)] == ["named"]


async def test_saving_again_answers_the_version_that_is_there(stage: Stage, ada: Caller) -> None:
    memory, other = await stage.create(ada, "x"), await stage.create(ada, "y")
    taken = uuid4()
    request = SaveVersion(memory_id=memory, id=taken, name="first")
    made = await asyncio.gather(*(stage.history.save(ada, request) for _ in range(4)))
    again = await stage.history.save(ada, SaveVersion(memory_id=memory, id=taken, name="second"))
    assert all(answer == again for answer in made)
    assert again.version.name == "first"
    elsewhere = SaveVersion(memory_id=other, id=taken, name="first")
    assert await refusal(stage.history.save(ada, elsewhere)) is ErrorCode.CONFLICT


async def test_a_name_keeps_a_version_and_can_be_taken_away(stage: Stage, ada: Caller) -> None:
    memory = await stage.create(ada, "x")
    await stage.versions.make(memory, kind="auto")
    [version] = await stage.list(ada, memory)
    assert version.id is not None

    async def rename(name: str | None) -> Version:
        assert version.id is not None
        request = RenameVersion(memory_id=memory, version_id=version.id, name=name)
        return (await stage.history.rename(ada, request)).version

    assert ((await rename("good")).name, (await rename("good")).kind) == ("good", "auto")
    assert (await VersionRows(stage.pool).stamps(memory))[0].named
    assert (await rename(None)).name is None
    missing = RenameVersion(memory_id=memory, version_id=uuid4(), name="x")
    assert await refusal(stage.history.rename(ada, missing)) is ErrorCode.NOT_FOUND


async def test_a_version_is_deleted_once_and_again_without_harm(stage: Stage, ada: Caller) -> None:
    memory = await stage.create(ada, "x")
    version = await stage.save(ada, memory)
    request = DeleteVersion(memory_id=memory, version_id=version)
    assert (await stage.history.delete(ada, request)).id == version
    assert (await stage.history.delete(ada, request)).id == version
    assert [v.kind for v in await stage.list(ada, memory)] == ["current"]
    assert await stage.pool.fetchval("SELECT count(*) FROM document_bases") == 0


async def test_another_memorys_version_is_not_found_and_not_touched(
    stage: Stage, ada: Caller
) -> None:
    memory, other = await stage.create(ada, "x"), await stage.create(ada, "secret")
    version = await stage.save(ada, other)
    asked: dict[str, Any] = {"memory_id": memory, "version_id": version}
    own = await stage.save(ada, memory)
    for call in (
        stage.history.get(ada, GetVersion(**asked)),
        stage.history.rename(ada, RenameVersion(**asked)),
        stage.history.restore(ada, RestoreVersion(**asked)),
        stage.history.get(
            ada, GetVersion(memory_id=memory, version_id=own, compare_to=str(version))
        ),
        stage.list(ada, memory, before=version),
    ):
        assert await refusal(call) is ErrorCode.NOT_FOUND
    await stage.history.delete(ada, DeleteVersion(**asked))
    assert [v.id for v in await stage.list(ada, other)] == [version]


async def test_who_wrote_what_is_told_of_rows_and_of_what_is_trimmed(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    node = stage.node
    compactor = Compactor(node.log, node.workers, node.watcher, node.tasks, -1)
    bob = Caller(await add_person(pool, "tablet"))
    memory = await stage.create(ada, "The fox jumps.")
    await add_member(pool, memory, bob.author, "editor")
    await stage.update(bob, memory, content={"text": "The quick fox jumps."})
    await compactor.compact(memory)
    assert await node.log.read(memory, 0) == []
    device = Device(ada.author)
    await device.open(node.hub, memory)
    device.content()
    await device.ack(device.submit(device.type(" Over.", at=20)))
    answer = await stage.history.blame(bob, GetBlame(memory_id=memory))
    assert [(run.text, run.user_id, run.device_id) for run in answer.runs] == [
        ("The ", ada.author.account_id, "phone"),
        ("quick ", bob.author.account_id, "tablet"),
        ("fox jumps. Over.", ada.author.account_id, "phone"),
    ]
    assert all(run.written_at for run in answer.runs)
    assert {person.user_id for person in answer.authors} == {
        ada.author.account_id,
        bob.author.account_id,
    }


async def test_a_difference_says_who_wrote_what_was_inserted(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    bob = Caller(await add_person(pool, "tablet"))
    memory = await stage.create(ada, "The fox.")
    await add_member(pool, memory, bob.author, "editor")
    version = await stage.save(ada, memory)
    await stage.update(bob, memory, content={"text": "The quick fox."})
    await stage.update(ada, memory, content={"text": "The quick brown fox."})
    request = GetVersion(memory_id=memory, version_id=version, compare_to="current")
    answer = await stage.history.get(bob, request)
    assert answer.diff is not None
    [field] = answer.diff.fields
    assert [(part.op, part.text, part.user_id) for part in field.parts] == [
        ("equal", "The ", None),
        ("insert", "quick ", bob.author.account_id),
        ("insert", "brown ", ada.author.account_id),
        ("equal", "fox.", None),
    ]


async def test_who_wrote_a_body_that_is_too_long_is_refused_by_name(
    stage: Stage, ada: Caller
) -> None:
    memory = await stage.create(ada, "x" * 500_000)
    await stage.update(ada, memory, content={"text": "x" * 1_000_001})
    with pytest.raises(MemoError, match="1,000,000 characters") as refused:
        await stage.history.blame(ada, GetBlame(memory_id=memory))
    assert refused.value.code is ErrorCode.TOO_LARGE


def calls(stage: Stage, who: Caller, memory: UUID, version: UUID) -> dict[str, Any]:
    """A call of each operation, to be awaited or closed."""
    history = stage.history
    asked: dict[str, Any] = {"memory_id": memory, "version_id": version}
    return {
        "list": history.list(who, ListVersions(memory_id=memory)),
        "get": history.get(who, GetVersion(**asked)),
        "blame": history.blame(who, GetBlame(memory_id=memory)),
        "save": history.save(who, SaveVersion(memory_id=memory, name="n")),
        "rename": history.rename(who, RenameVersion(**asked, name="n")),
        "restore": history.restore(who, RestoreVersion(**asked)),
        "delete": history.delete(who, DeleteVersion(**asked)),
    }


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        ("viewer", {"save", "rename", "restore", "delete"}),
        ("commenter", {"save", "rename", "restore", "delete"}),
        ("editor", {"delete"}),
    ],
)
async def test_who_may_read_reads_and_who_may_write_restores(
    stage: Stage, pool: asyncpg.Pool, ada: Caller, role: Any, refused: set[str]
) -> None:
    memory = await stage.create(ada, "x")
    version = await stage.save(ada, memory)
    bob = Caller(await add_person(pool))
    await add_member(pool, memory, bob.author, role)
    for name, call in calls(stage, bob, memory, version).items():
        if name in refused:
            assert await refusal(call) is ErrorCode.FORBIDDEN, name
        else:
            await call


async def test_who_is_no_member_finds_nothing_and_of_what_is_deleted_nobody_does(
    stage: Stage, pool: asyncpg.Pool, ada: Caller
) -> None:
    memory = await stage.create(ada, "x")
    version = await stage.save(ada, memory)
    stranger = Caller(await add_person(pool))
    for call in calls(stage, stranger, memory, version).values():
        assert await refusal(call) is ErrorCode.NOT_FOUND
    for call in calls(stage, ada, uuid4(), version).values():
        assert await refusal(call) is ErrorCode.NOT_FOUND
    await stage.memories.delete(ada, DeleteMemory(id=memory))
    for call in calls(stage, ada, memory, version).values():
        assert await refusal(call) is ErrorCode.GONE


async def test_those_who_follow_a_memory_are_told_of_a_restore(stage: Stage, ada: Caller) -> None:
    memory = await stage.create(ada, "one")
    version = await stage.save(ada, memory)
    await stage.update(ada, memory, content={"text": "two"})
    told: list[Any] = []

    def receive(message: bytes) -> None:
        told.extend(frames.decode_server(message))

    stage.node.broker.subscribe(account_topic(ada.author.account_id), receive)
    await stage.restore(ada, memory, version)
    assert len(told) == 1


async def test_while_the_database_is_away_a_restore_says_so(stage: Stage, ada: Caller) -> None:
    memory = await stage.create(ada, "one")
    version = await stage.save(ada, memory)
    stage.node.log.before["standing"] = outage
    assert await refusal(stage.restore(ada, memory, version)) is ErrorCode.UNAVAILABLE
