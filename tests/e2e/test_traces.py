"""Real editing sessions through real sockets: nothing acked is lost, everyone ends equal."""

import asyncio
from collections.abc import Sequence
from random import Random
from uuid import UUID, uuid4

import asyncpg
import pytest
from pycrdt import Doc, Text

from protocol.client import Client
from protocol.errors import ErrorCode, MemoError
from protocol.memories import MEMORIES_CREATE, CreateMemory
from protocol.replica import Document
from protocol.session import Backoff
from sync.update import decode_vector, scan
from tests.e2e.traces import Trace, typed_alone, typed_together
from tests.serving import Person, ServerProcess

BURST = 20  # transactions that a device types between two looks at the network
PATIENCE = 60.0


def device(server: ServerProcess, person: Person, name: str) -> Client:
    return Client(server.socket_url, person.token, device_id=name, backoff=Backoff(0.02, 0.2))


async def create_memory(client: Client) -> UUID:
    reply = await client.call(MEMORIES_CREATE, CreateMemory(id=uuid4(), title="Trace"))
    return reply.memory.id


async def log_of(database: str, memory_id: UUID) -> list[bytes]:
    """The document's log, after making sure that it has no hole."""
    connection = await asyncpg.connect(database)
    try:
        rows = await connection.fetch(
            "SELECT log_offset, payload FROM document_updates WHERE document_id = $1"
            " ORDER BY log_offset",
            memory_id,
        )
        head = await connection.fetchval("SELECT head FROM documents WHERE id = $1", memory_id)
    finally:
        await connection.close()
    assert [row[0] for row in rows] == list(range(1, head + 1))
    return [row[1] for row in rows]


def text_of(updates: Sequence[bytes]) -> str:
    doc: Doc[Text] = Doc()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("content", type=Text))


async def ends_as(document: Document, end: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while str(document.text) != end:
            await document.changed(PATIENCE)


@pytest.mark.parametrize("name", ["sveltecomponent", "automerge-paper"])
async def test_what_one_device_types_another_sees_and_a_third_finds(
    name: str, live_server: ServerProcess, database: str
) -> None:
    trace = typed_alone(name)
    person = Person(live_server, "one@example.com")
    async with (
        device(live_server, person, "typing") as typing,
        device(live_server, person, "watching") as watching,
    ):
        memory_id = await create_memory(typing)
        written = await typing.open(memory_id)
        watched = await watching.open(memory_id)
        await watched.synced()
        for number, update in enumerate(trace.updates):
            written.doc.apply_update(update)
            if number % BURST == 0:
                await asyncio.sleep(0)  # the device's network gets its turn
        await written.saved(PATIENCE)
        await ends_as(watched, trace.end)
        async with device(live_server, person, "late") as late:
            found = await late.open(memory_id)
            await found.synced(PATIENCE)
            assert str(found.text) == trace.end
            assert found.position == written.position == watched.position
    assert text_of(await log_of(database, memory_id)) == trace.end


async def test_two_devices_type_at_once_while_the_server_is_killed_and_started(
    live_server: ServerProcess, database: str
) -> None:
    trace = typed_together("friendsforever")
    person = Person(live_server, "two@example.com")
    async with (
        device(live_server, person, "first") as first,
        device(live_server, person, "second") as second,
    ):
        memory_id = await create_memory(first)
        documents = [await first.open(memory_id), await second.open(memory_id)]
        for document in documents:
            await document.synced()
        async with asyncio.TaskGroup() as group:
            typists = [
                group.create_task(type_own(trace, agent, document))
                for agent, document in enumerate(documents)
            ]
            group.create_task(disturb(live_server, typists, kills=4))
        for document in documents:
            await document.saved(PATIENCE)
        for document in documents:
            await ends_as(document, trace.end)
        assert documents[0].position == documents[1].position
    assert text_of(await log_of(database, memory_id)) == trace.end


async def type_own(trace: Trace, agent: int, document: Document) -> None:
    """Type one author's transactions, each as soon as what it was typed on is on the device."""
    for number, (author, update) in enumerate(zip(trace.agents, trace.updates, strict=True)):
        if author != agent:
            continue
        needs = scan(update).needs
        while any(clocks_of(document).get(client, 0) < clock for client, clock in needs.items()):
            await document.changed(PATIENCE)
        document.doc.apply_update(update)
        if number % BURST == 0:
            await asyncio.sleep(0.001)  # typing takes its time: the kills fall into the middle


def clocks_of(document: Document) -> dict[int, int]:
    return decode_vector(document.doc.get_state())


async def disturb(server: ServerProcess, typists: Sequence[asyncio.Task[None]], kills: int) -> None:
    for _ in range(kills):
        if all(typist.done() for typist in typists):
            raise AssertionError("the session was over before the server was killed")
        await asyncio.sleep(0.2)  # some typing in between
        server.kill()
        await asyncio.to_thread(server.start)


async def test_every_acked_update_is_in_the_log_at_its_offset_after_kills(
    live_server: ServerProcess, database: str
) -> None:
    trace = typed_alone("sveltecomponent")
    person = Person(live_server, "three@example.com")
    random = Random(3)
    acked: dict[int, bytes] = {}
    async with device(live_server, person, "typing") as typing:
        memory_id = await create_memory(typing)
        mirror = await typing.open(memory_id, replica=False)
        await mirror.synced()
        at = 0
        kill_at = sorted(random.sample(range(1000, 9000), 4))
        while at < 10_000:
            window = trace.updates[at : at + 30]
            if kill_at and at >= kill_at[0]:
                kill_at.pop(0)
                pending = [mirror.send(update) for update in window]
                live_server.kill()
                await asyncio.to_thread(live_server.start)
            else:
                pending = [mirror.send(update) for update in window]
            outcomes = await asyncio.gather(*pending, return_exceptions=True)
            for update, outcome in zip(window, outcomes, strict=True):
                if isinstance(outcome, int):
                    # Sent again after a loss, it may bring nothing; its ack names the head then.
                    acked.setdefault(outcome, update)
                    at += 1
                else:
                    assert isinstance(outcome, MemoError)
                    assert outcome.code is ErrorCode.UNAVAILABLE
                    await mirror.synced(PATIENCE)
                    break
    log = await log_of(database, memory_id)
    held = set(log)
    assert not [update for update in acked.values() if update not in held]
    assert text_of(log) == text_of(trace.updates[:at])
