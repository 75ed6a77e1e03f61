"""The operations on messages: edits merge, commenters write by the server's hand, repeats are
harmless, and nobody poses as another."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pycrdt import Doc, Map, Text

from protocol import frames
from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from protocol.memories import CreateMemory, DeleteMemory, UpdateMemory
from protocol.messages import (
    CreateMessage,
    DeleteMessage,
    ListMessages,
    MarkRead,
    Message,
    UpdateMessage,
)
from protocol.thread import Thread
from storage.files import FileRows
from storage.memories import MemoryRows
from storage.messages import MessageRows
from sync.broker import LocalBroker
from sync.feed import Notices, account_topic
from sync.interfaces import Broker
from sync.messages import Messages
from sync.projection import Projector
from sync.room import Room
from tests.rows import add_member, add_person
from tests.storage.test_messages import add_file
from tests.sync.cluster import Network
from tests.sync.doubles import SECONDS, Device, Gate, Node, memories_of, running


class Caller:
    """Who calls, without a connection."""

    def __init__(self, author: Author) -> None:
        self.author = author

    @property
    def id(self) -> UUID:
        return self.author.account_id


class Stage:
    """A node with the operations bound, and a memory of Ada's, whom the others are members with."""

    def __init__(self, node: Node, pool: asyncpg.Pool, projector: Projector) -> None:
        notices = Notices(node.broker)
        self.node = node
        self.pool = pool
        self.projector = projector
        self.memories = memories_of(node, pool, notices, projector)
        self.messages = Messages(
            MessageRows(pool),
            node.log,
            hub=node.hub,
            projector=projector,
            workers=node.workers,
            notices=notices,
        )
        self.memory: UUID
        self.ada: Caller
        self.editor: Caller
        self.commenter: Caller
        self.viewer: Caller
        self.stranger: Caller

    async def create(self, caller: Caller, content: str = "hello", **fields: Any) -> Message:
        request = CreateMessage(memory_id=self.memory, content=content, **fields)
        return (await self.messages.create(caller, request)).message

    async def update(self, caller: Caller, message_id: UUID, **fields: Any) -> Message:
        request = UpdateMessage(memory_id=self.memory, id=message_id, **fields)
        return (await self.messages.update(caller, request)).message

    async def delete(self, caller: Caller, message_id: UUID) -> str:
        request = DeleteMessage(memory_id=self.memory, id=message_id)
        return (await self.messages.delete(caller, request)).deleted_at

    async def thread(self, caller: Caller | None = None, /, **query: Any) -> list[Message]:
        request = ListMessages(memory_id=self.memory, **query)
        return (await self.messages.list(caller or self.ada, request)).messages

    async def contents(self) -> list[str]:
        return [message.content for message in await self.thread()]

    async def device(self, caller: Caller) -> Device:
        device = Device(caller.author)
        await device.open(self.node.hub, self.memory)
        device.content()
        return device

    async def dismiss(self, caller: Caller, role: str | None = None) -> None:
        where = "WHERE memory_id = $1 AND user_id = $2"
        if role is None:
            await self.pool.execute(f"DELETE FROM memberships {where}", self.memory, caller.id)
        else:
            await self.pool.execute(
                f"UPDATE memberships SET role = $3 {where}", self.memory, caller.id, role
            )


@asynccontextmanager
async def staged(pool: asyncpg.Pool, broker: Broker) -> AsyncIterator[Stage]:
    projectors: list[Projector] = []

    def committed(room: Room) -> None:
        for projector in projectors:
            projector.committed(room)

    async with running(pool, broker, on_commit=[committed]) as node:
        projector = Projector(
            node.log,
            MemoryRows(pool),
            node.workers,
            Notices(broker),
            observer=node.watcher,
            tasks=node.tasks,
        )
        projectors.append(projector)
        yield Stage(node, pool, projector)


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    async with staged(pool, LocalBroker()) as stage:
        people = [Caller(await add_person(pool)) for _ in range(5)]
        stage.ada, stage.editor, stage.commenter, stage.viewer, stage.stranger = people
        made = await stage.memories.create(stage.ada, CreateMemory(title="t"))
        stage.memory = made.memory.id
        await add_member(pool, stage.memory, stage.editor.author, "editor")
        await add_member(pool, stage.memory, stage.commenter.author, "commenter")
        await add_member(pool, stage.memory, stage.viewer.author, "viewer")
        yield stage


async def refusal(call: Any) -> MemoError:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value


def written(device: Device, write: Callable[[Doc[Any]], object]) -> bytes:
    """The update that writing in a device's replica makes, not sent yet."""
    before = device.doc.get_state()
    write(device.doc)
    return device.doc.get_update(before)


async def test_a_message_is_in_the_next_list_and_in_the_document(stage: Stage) -> None:
    parent = await stage.create(stage.ada)
    made = await stage.create(
        stage.editor,
        "an answer \U0001f600",
        message_type="voice",
        metadata={"seconds": 3},
        parent_message_id=parent.id,
    )
    assert await stage.thread() == [parent, made]
    assert (made.user_id, made.memory_id) == (stage.editor.id, stage.memory)
    assert (made.message_type, made.metadata, made.status) == ("voice", {"seconds": 3}, "sent")
    assert (made.parent_message_id, made.attachments) == (parent.id, [])
    assert not made.is_ai_generated
    assert made.created_at == made.updated_at
    device = await stage.device(stage.ada)
    [first, second] = Thread(device.doc).list()
    assert (first.content, second.content) == ("hello", "an answer \U0001f600")
    assert (second.user_id, second.parent_message_id) == (str(stage.editor.id), str(parent.id))


async def test_who_may_comment_writes_and_the_log_says_who_did(stage: Stage) -> None:
    for caller in (stage.ada, stage.editor, stage.commenter):
        made = await stage.create(caller)
        assert made.user_id == caller.id
    rows = await stage.pool.fetch(
        "SELECT account_id FROM document_updates WHERE document_id = $1 ORDER BY log_offset",
        stage.memory,
    )
    assert [row[0] for row in rows[1:]] == [stage.ada.id, stage.editor.id, stage.commenter.id]
    assert (await refusal(stage.create(stage.viewer))).code is ErrorCode.FORBIDDEN
    assert (await refusal(stage.create(stage.stranger))).code is ErrorCode.NOT_FOUND
    assert (await refusal(stage.thread(stage.stranger))).code is ErrorCode.NOT_FOUND
    assert len(await stage.thread(stage.viewer)) == 3


async def test_a_commenters_own_updates_are_refused(stage: Stage) -> None:
    device = await stage.device(stage.commenter)
    thread = Thread(device.doc)
    update = written(device, lambda _: thread.add("x", user_id=stage.commenter.id))
    assert await device.refusal(device.submit(update)) is ErrorCode.FORBIDDEN
    assert await stage.thread() == []


@pytest.mark.parametrize("role", ["viewer", None])
async def test_the_right_to_comment_is_checked_in_the_commit(stage: Stage, role: str) -> None:
    """It ends while the server writes."""
    gate = stage.node.log.before["commit"] = Gate()
    writing = asyncio.create_task(stage.create(stage.commenter))
    await gate.arrival()
    await stage.dismiss(stage.commenter, role)
    gate.open()
    assert (await refusal(asyncio.wait_for(writing, SECONDS))).code is ErrorCode.FORBIDDEN
    assert await stage.thread() == []
    made = await stage.create(stage.ada, "next")
    assert await stage.thread() == [made]


async def test_whoever_is_refused_takes_no_one_elses_update_along(stage: Stage) -> None:
    """A commenter's message and an editor's typing share a commit, and one of them loses the right
    meanwhile: the other's is committed in the next."""
    device = await stage.device(stage.editor)
    for leaving in (stage.commenter, stage.editor):
        first = stage.node.log.before["commit"] = Gate()
        busy = device.submit(device.type("busy"))
        await first.arrival()
        second = stage.node.log.before["commit"] = Gate()
        writing = asyncio.create_task(stage.create(stage.commenter))
        await asyncio.wait_for(_queued(stage, 1), SECONDS)
        beside = device.submit(device.type("beside"))
        first.open()
        await device.ack(busy)
        await second.arrival()
        await stage.dismiss(leaving, "viewer")
        second.open()
        if leaving is stage.commenter:
            assert (await refusal(writing)).code is ErrorCode.FORBIDDEN
            assert await device.ack(beside) == 3
            await stage.dismiss(stage.commenter, "commenter")
        else:
            assert (await asyncio.wait_for(writing, SECONDS)).user_id == stage.commenter.id
            assert await device.refusal(beside) is ErrorCode.FORBIDDEN


async def _queued(stage: Stage, count: int) -> None:
    room = stage.node.room(stage.memory)
    while len(room._queue) < count:  # noqa: ASYNC110 (a queue tells nobody that it grows)
        await asyncio.sleep(0)


async def test_creating_again_is_harmless(stage: Stage) -> None:
    taken = uuid4()
    first = await stage.create(stage.commenter, "first", id=taken)
    again = await stage.create(stage.commenter, "second", id=taken)
    assert again == first
    made = await asyncio.gather(*(stage.create(stage.ada, id=UUID(int=7)) for _ in range(4)))
    assert len({message.id for message in made}) == 1
    assert len(await stage.thread()) == 2


async def test_an_id_that_is_taken_is_a_conflict(stage: Stage) -> None:
    made = await stage.create(stage.ada)
    error = await refusal(stage.create(stage.editor, id=made.id))
    assert (error.code, error.details) == (ErrorCode.CONFLICT, {"id": "is taken"})


async def test_the_id_of_a_message_is_free_in_other_memories(stage: Stage) -> None:
    """Nobody can tell by it whether another memory has such a message, nor take it there."""
    made = await stage.create(stage.ada)
    for caller in (stage.stranger, stage.ada):
        other = await stage.memories.create(caller, CreateMemory(title="t"))
        elsewhere = CreateMessage(memory_id=other.memory.id, content="x", id=made.id)
        assert (await stage.messages.create(caller, elsewhere)).message.content == "x"
    # Whoever is quicker than the rows of a device's message does not keep it from its list.
    device = await stage.device(stage.ada)
    taken = uuid4()
    update = written(
        device, lambda doc: Thread(doc).add("hers", user_id=stage.ada.id, message_id=taken)
    )
    theirs = await stage.memories.create(stage.viewer, CreateMemory(title="t"))
    squat = CreateMessage(memory_id=theirs.memory.id, content="x", id=taken)
    await stage.messages.create(stage.viewer, squat)
    await device.ack(device.submit(update))
    await stage.projector.project(stage.memory)
    assert sorted(await stage.contents()) == ["hello", "hers"]
    assert (await stage.update(stage.ada, taken, content="HERS")).content == "HERS"


async def test_a_deleted_message_stays_deleted_however_late_its_create_comes(stage: Stage) -> None:
    made = await stage.create(stage.ada)
    reply = await stage.create(stage.editor, parent_message_id=made.id)
    deleted_at = await stage.delete(stage.ada, made.id)
    assert await stage.delete(stage.ada, made.id) == deleted_at
    assert await stage.thread() == [reply]
    assert reply.parent_message_id == made.id
    assert (await refusal(stage.create(stage.ada, id=made.id))).code is ErrorCode.GONE
    assert (await refusal(stage.update(stage.ada, made.id, content="x"))).code is ErrorCode.GONE


async def test_a_message_is_its_authors_to_change_and_the_owners_to_delete(stage: Stage) -> None:
    made = await stage.create(stage.commenter)
    for other in (stage.ada, stage.editor, stage.viewer):
        error = await refusal(stage.update(other, made.id, content="x"))
        assert error.code is ErrorCode.FORBIDDEN
    for other in (stage.editor, stage.viewer):
        assert (await refusal(stage.delete(other, made.id))).code is ErrorCode.FORBIDDEN
    assert (await refusal(stage.delete(stage.stranger, made.id))).code is ErrorCode.NOT_FOUND
    changed = await stage.update(stage.commenter, made.id, content="changed")
    assert (changed.content, changed.created_at) == ("changed", made.created_at)
    assert changed.updated_at > changed.created_at
    await stage.delete(stage.ada, made.id)
    mine = await stage.create(stage.commenter)
    await stage.delete(stage.commenter, mine.id)
    assert await stage.thread() == []


async def test_a_message_of_another_memory_is_not_found(stage: Stage) -> None:
    made = await stage.create(stage.ada)
    other = (await stage.memories.create(stage.ada, CreateMemory(title="t"))).memory.id
    requests = [
        stage.messages.update(stage.ada, UpdateMessage(memory_id=other, id=made.id, content="x")),
        stage.messages.delete(stage.ada, DeleteMessage(memory_id=other, id=made.id)),
        stage.messages.mark_read(stage.ada, MarkRead(memory_id=other, message_id=made.id)),
        stage.update(stage.ada, uuid4(), content="x"),
        stage.delete(stage.ada, uuid4()),
    ]
    for request in requests:
        assert (await refusal(request)).code is ErrorCode.NOT_FOUND
    assert await stage.contents() == ["hello"]


async def test_fields_left_out_stay_and_null_clears(stage: Stage) -> None:
    file_id = await add_file(stage.pool, stage.ada.id)
    made = await stage.create(stage.ada, metadata={"a": 1}, attachments=[file_id])
    changed = await stage.update(stage.ada, made.id, status="read")
    assert (changed.metadata, changed.attachments, changed.status) == ({"a": 1}, [file_id], "read")
    assert changed == await stage.update(stage.ada, made.id, status="read")
    changed = await stage.update(stage.ada, made.id, metadata=None, attachments=None)
    assert (changed.metadata, changed.attachments, changed.content) == (None, [], "hello")
    assert changed == await stage.update(stage.ada, made.id, metadata=None, attachments=[])


async def test_a_device_and_the_server_edit_one_message_at_once_and_both_edits_survive(
    stage: Stage,
) -> None:
    made = await stage.create(stage.ada, "one two three")
    first, second = await stage.device(stage.editor), await stage.device(stage.ada)
    # Neither device has seen what the others write.
    theirs = written(first, lambda doc: Thread(doc).body(made.id).insert(13, " four"))
    hers = written(second, lambda doc: Thread(doc).edit(made.id, "zero one two three"))
    gate = stage.node.log.before["commit"] = Gate()
    writing = asyncio.create_task(stage.update(stage.ada, made.id, content="one 2 three"))
    await gate.arrival()
    sent = first.submit(theirs), second.submit(hers)
    gate.open()
    await asyncio.wait_for(writing, SECONDS)
    offsets = [await first.ack(sent[0]), await second.ack(sent[1])]
    for device in (first, second):
        await device.reach(max(offsets))
        device.content()
        assert str(Thread(device.doc).body(made.id)) == "zero one 2 three four"
    await stage.projector.project(stage.memory)
    assert await stage.contents() == ["zero one 2 three four"]
    [message] = await stage.thread()
    assert message.user_id == stage.ada.id


async def test_a_message_that_is_deleted_while_it_is_edited_is_deleted(stage: Stage) -> None:
    made = await stage.create(stage.ada)
    device = await stage.device(stage.ada)
    update = written(device, lambda doc: Thread(doc).body(made.id).insert(0, "x"))
    await stage.delete(stage.ada, made.id)
    await device.ack(device.submit(update))
    await stage.projector.project(stage.memory)
    assert await stage.thread() == []
    assert (await refusal(stage.update(stage.ada, made.id, content="y"))).code is ErrorCode.GONE


async def test_what_a_device_wrote_offline_lands_is_listed_and_can_be_changed_here(
    stage: Stage,
) -> None:
    device = await stage.device(stage.editor)
    thread = Thread(device.doc)
    made: list[UUID] = []

    def write(_: Doc[Any]) -> None:
        first, second = (datetime.now(UTC) - timedelta(seconds=ago) for ago in (2, 1))
        made.append(thread.add("first", user_id=stage.editor.id, created_at=first))
        posing = stage.ada.id
        made.append(
            thread.add("second", user_id=posing, parent_message_id=made[0], created_at=second)
        )

    update = written(device, write)
    await stage.create(stage.ada, "meanwhile")
    await device.ack(device.submit(update))
    # At once, before any projection: the rows are made for it.
    changed = await stage.update(stage.editor, made[0], content="FIRST")
    assert (changed.content, changed.user_id) == ("FIRST", stage.editor.id)
    listed = await stage.thread()
    assert [message.content for message in listed] == ["FIRST", "second", "meanwhile"]
    # It claimed to be the owner's.
    assert listed[1].user_id == stage.editor.id
    assert listed[1].parent_message_id == made[0]
    error = await refusal(stage.update(stage.ada, made[1], content="x"))
    assert error.code is ErrorCode.FORBIDDEN


async def test_a_device_cannot_make_the_servers_message_anothers(stage: Stage) -> None:
    made = await stage.create(stage.commenter)
    device = await stage.device(stage.editor)

    def forge(doc: Doc[Any]) -> None:
        messages = doc.get("messages", type=Map)
        messages[str(made.id)]["userId"] = str(stage.ada.id)
        messages[str(uuid4())] = {"body": "no text to tell whose", "userId": str(stage.ada.id)}
        messages[str(uuid4()).upper()] = Map({"body": Text("a second way to write an id")})

    await device.ack(device.submit(written(device, forge)))
    await stage.projector.project(stage.memory)
    authors = {message.content: message.user_id for message in await stage.thread()}
    assert authors == {"hello": stage.commenter.id, "no text to tell whose": None}


async def test_a_client_id_of_an_account_is_no_other_accounts(stage: Stage) -> None:
    """The server writes for the commenter under an id that an editor's device then uses."""
    await stage.create(stage.commenter)
    client = await stage.pool.fetchval(
        "SELECT client FROM document_clients WHERE account_id = $1", stage.commenter.id
    )
    device = Device(stage.editor.author, client_id=client)
    await device.open(stage.node.hub, stage.memory)
    device.content()
    update = written(device, lambda doc: Thread(doc).add("x", user_id=stage.editor.id))
    assert await device.refusal(device.submit(update)) is ErrorCode.CLIENT_ID_TAKEN
    # The account's own next message goes on under it.
    await stage.create(stage.commenter)
    clients = await stage.pool.fetch(
        "SELECT client FROM document_clients WHERE account_id = $1", stage.commenter.id
    )
    assert [row[0] for row in clients] == [client]


async def test_many_messages_at_once_are_all_there(stage: Stage) -> None:
    callers = [stage.ada, stage.editor, stage.commenter] * 4
    made = await asyncio.gather(
        *(stage.create(caller, f"{number}") for number, caller in enumerate(callers))
    )
    assert [message.user_id for message in made] == [caller.id for caller in callers]
    assert sorted(await stage.contents()) == sorted(map(str, range(12)))


async def test_rows_overtaken_by_a_device_are_written_before_the_answer(stage: Stage) -> None:
    device = await stage.device(stage.editor)
    gate = stage.node.log.before["commit"] = Gate()
    typed = device.submit(device.type("typed"))
    await gate.arrival()
    # It is made of the document before that, and lands behind it.
    writing = asyncio.create_task(stage.create(stage.ada))
    await asyncio.wait_for(_queued(stage, 1), SECONDS)
    gate.open()
    await device.ack(typed)
    made = await asyncio.wait_for(writing, SECONDS)
    assert await stage.thread() == [made]


async def test_attachments_are_the_callers_files(stage: Stage) -> None:
    mine = await add_file(stage.pool, stage.commenter.id)
    theirs = await add_file(stage.pool, stage.ada.id)
    error = await refusal(stage.create(stage.commenter, attachments=[mine, theirs]))
    assert error.code is ErrorCode.NOT_FOUND
    assert error.details == {"attachments": f"{theirs} is not one of your files"}
    taken = uuid4()
    for _ in range(2):
        made = await stage.create(stage.commenter, attachments=[mine], id=taken)
        assert made.attachments == [mine]
    row = await stage.pool.fetchrow("SELECT memory_id, message_id FROM files WHERE id = $1", mine)
    assert row is not None
    assert tuple(row) == (stage.memory, made.id)
    error = await refusal(stage.create(stage.commenter, attachments=[mine]))
    assert error.code is ErrorCode.CONFLICT
    error = await refusal(stage.update(stage.commenter, made.id, attachments=[theirs]))
    assert error.code is ErrorCode.NOT_FOUND


async def place(stage: Stage, file_id: UUID) -> tuple[UUID | None, UUID | None]:
    row = await stage.pool.fetchrow(
        "SELECT memory_id, message_id FROM files WHERE id = $1", file_id
    )
    assert row is not None
    return row[0], row[1]


async def test_a_message_that_its_authors_device_wrote_has_its_files(stage: Stage) -> None:
    hers, more = [await add_file(stage.pool, stage.editor.id) for _ in range(2)]
    device = await stage.device(stage.editor)
    made: list[UUID] = []

    def post(doc: Doc[Any]) -> None:
        made.append(Thread(doc).add("mine", user_id=stage.editor.id, attachments=[hers]))

    await device.ack(device.submit(written(device, post)))
    await stage.projector.project(stage.memory)
    assert await place(stage, hers) == (stage.memory, made[0])
    update = written(
        device, lambda doc: Thread(doc).put(made[0], "attachments", [str(hers), str(more)])
    )
    await device.ack(device.submit(update))
    await stage.projector.project(stage.memory)
    assert await place(stage, more) == (stage.memory, made[0])


async def test_nobody_else_puts_a_file_with_its_owners_message(stage: Stage) -> None:
    """An editor may write whatever into the document: the id of any file, too."""
    secret, known = [await add_file(stage.pool, stage.ada.id) for _ in range(2)]
    made = await stage.create(stage.ada, attachments=[known])
    await stage.update(stage.ada, made.id, attachments=None)
    device = await stage.device(stage.editor)

    def take(doc: Doc[Any]) -> None:
        Thread(doc).put(made.id, "attachments", [str(secret), str(known)])

    await device.ack(device.submit(written(device, take)))
    await stage.projector.project(stage.memory)
    assert (await stage.thread())[0].attachments == [secret, known]
    # Nor does her own change of something else.
    await stage.update(stage.ada, made.id, content="changed")
    for file_id in (secret, known):
        assert await place(stage, file_id) == (None, None)


async def test_a_file_that_was_taken_out_comes_back_by_its_owners_call_alone(stage: Stage) -> None:
    files = FileRows(stage.pool, 10_000)
    file_id = await add_file(stage.pool, stage.ada.id)
    made = await stage.create(stage.ada, attachments=[file_id])
    await files.update(file_id, stage.ada.id, memory_id=None)
    device = await stage.device(stage.editor)
    update = written(device, lambda doc: Thread(doc).edit(made.id, "hello!"))
    await device.ack(device.submit(update))
    await stage.projector.project(stage.memory)
    await stage.update(stage.ada, made.id, status="read")
    assert await place(stage, file_id) == (None, None)
    await stage.update(stage.ada, made.id, attachments=[file_id])
    assert await place(stage, file_id) == (stage.memory, made.id)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


async def test_metadata_that_cannot_be_kept_is_refused_by_name(stage: Stage) -> None:
    made = await stage.create(stage.ada, metadata=nested(31))
    refused: list[dict[str, Any]] = [
        {"a": 2**63},
        {"a": "x" * 20_000},
        {"list": [[]] * 10_001},
        nested(33),
        nested(900),
    ]
    for metadata in refused:
        for call in (
            stage.create(stage.ada, metadata=metadata),
            stage.update(stage.ada, made.id, metadata=metadata),
        ):
            error = await refusal(call)
            assert error.code is ErrorCode.INVALID_REQUEST
            assert list(error.details or ()) == ["metadata"]
    assert await stage.thread() == [made]


async def test_a_moment_that_is_none_is_refused_by_name(stage: Stage) -> None:
    far = "0001-01-01T00:00:00+23:59"
    for moment in ("", "yesterday", "2026-13-01T00:00:00Z", far, "12", "\x00"):
        for field in ("before", "after"):
            error = await refusal(stage.thread(stage.ada, **{field: moment}))
            assert error.code is ErrorCode.INVALID_REQUEST
            assert error.details == {field: "is no RFC 3339 time"}
        mark = MarkRead(memory_id=stage.memory, at=moment)
        assert (await refusal(stage.messages.mark_read(stage.ada, mark))).details is not None


async def test_a_read_mark_is_a_members_own_and_tells_only_their_devices(stage: Stage) -> None:
    made = [await stage.create(stage.commenter, str(number)) for number in range(3)]
    told: list[UUID] = []
    for caller in (stage.ada, stage.viewer):
        stage.node.broker.subscribe(
            account_topic(caller.id),
            lambda _, who=caller.id: told.append(who),  # type: ignore[misc]
        )

    async def mark(caller: Caller, **where: Any) -> int:
        request = MarkRead(memory_id=stage.memory, **where)
        answer = await stage.messages.mark_read(caller, request)
        memory = await MemoryRows(stage.pool).get(stage.memory, caller.id)
        assert (memory.last_read_at, memory.unread_count) == (
            answer.last_read_at,
            answer.unread_count,
        )
        return answer.unread_count

    assert await mark(stage.viewer, message_id=made[1].id) == 1
    assert await mark(stage.viewer, at=made[0].received_at) == 1
    assert told == [stage.viewer.id]
    assert await mark(stage.ada) == 0
    assert await mark(stage.commenter) == 0
    assert await mark(stage.viewer, at=made[2].received_at) == 0
    both = MarkRead(memory_id=stage.memory, message_id=made[0].id, at=made[0].received_at)
    assert (await refusal(stage.messages.mark_read(stage.ada, both))).code is (
        ErrorCode.INVALID_REQUEST
    )
    error = await refusal(
        stage.messages.mark_read(stage.stranger, MarkRead(memory_id=stage.memory))
    )
    assert error.code is ErrorCode.NOT_FOUND


async def test_a_change_of_the_memory_leaves_the_thread_as_it_is(stage: Stage) -> None:
    made = await stage.create(stage.ada)
    await stage.memories.update(stage.ada, UpdateMemory(id=stage.memory, title="new"))
    assert await stage.thread() == [made]
    await stage.memories.update(stage.editor, UpdateMemory(id=stage.memory, content="body"))
    await stage.projector.project(stage.memory)
    assert await stage.thread() == [made]


async def test_a_memory_that_was_deleted_is_gone(stage: Stage) -> None:
    made = await stage.create(stage.ada)
    await stage.memories.delete(stage.ada, DeleteMemory(id=stage.memory))
    for call in (
        stage.thread(),
        stage.create(stage.commenter),
        stage.update(stage.ada, made.id, content="x"),
        stage.delete(stage.ada, made.id),
        stage.messages.mark_read(stage.viewer, MarkRead(memory_id=stage.memory)),
    ):
        assert (await refusal(call)).code is ErrorCode.GONE


async def test_members_are_told_of_a_message(stage: Stage) -> None:
    told: list[Any] = []
    heard = asyncio.Event()

    def receive(message: bytes) -> None:
        told.extend(frames.decode_server(message))
        heard.set()

    stage.node.broker.subscribe(account_topic(stage.viewer.id), receive)
    await stage.create(stage.commenter)
    await asyncio.wait_for(heard.wait(), SECONDS)
    assert {event.name for event in told} == {"feed.changed"}


async def test_an_account_writes_on_two_nodes_at_once(pool: asyncpg.Pool) -> None:
    network = Network()
    async with staged(pool, network.join()) as one, staged(pool, network.join()) as other:
        one.ada = other.ada = Caller(await add_person(pool))
        guest = Caller(await add_person(pool))
        memory = (await one.memories.create(one.ada, CreateMemory(title="t"))).memory
        one.memory = other.memory = memory.id
        await add_member(pool, memory.id, guest.author, "commenter")
        device = await other.device(one.ada)
        first = await one.create(guest, "one two")
        async with asyncio.timeout(SECONDS):
            made = await asyncio.gather(
                *(node.create(guest, f"{number}") for number in range(4) for node in (one, other)),
                one.update(guest, first.id, content="zero one two"),
                other.update(guest, first.id, content="one two three"),
            )
        head = await one.node.log.head(memory.id)
        await device.reach(head)
        device.content()
        for node in (one, other):
            await node.projector.project(memory.id)
        listed = {message.id: message.content for message in await other.thread()}
        assert listed.keys() == {message.id for message in made}
        assert listed == {each.id: each.content for each in Thread(device.doc).list()}
        # Each node has an id of its own for the account.
        clients = "SELECT count(*) FROM document_clients WHERE account_id = $1"
        assert await pool.fetchval(clients, guest.id) == 2
