"""A room: what it admits, what it acks, and how it gets over outages and other nodes."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pycrdt import Doc, Text

from protocol.errors import ErrorCode
from protocol.log import Author, Entry, Snapshot
from sync.document import merge
from tests.rows import add_memory, add_person, delete_memory
from tests.sync.doubles import SECONDS, Device, Gate, Node, device, outage, running

EMPTY = b"\x00\x00"


async def test_an_update_is_seen_by_nobody_before_it_is_committed(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, reader = await device(node, memory, ada), await device(node, memory, ada)
    gate = node.log.before["commit"] = Gate()
    sent = writer.submit(writer.type("a"))
    await gate.arrival()
    assert writer.events == reader.events == []
    assert await node.log.head(memory) == 0
    gate.open()
    assert await writer.ack(sent) == 1
    await reader.reach(1)
    assert await node.log.head(memory) == 1
    assert reader.content() == "a"


async def test_acks_and_pushes_come_in_the_order_of_the_log(
    node: Node, memory: UUID, ada: Author
) -> None:
    first, second = await device(node, memory, ada), await device(node, memory, ada)
    gate = node.log.before["commit"] = Gate()
    plug = first.submit(first.type("1"))
    await gate.arrival()
    for number in range(2, 9):  # these share the next commit
        writer = first if number % 3 else second
        writer.submit(writer.type(str(number)))
    gate.open()
    await first.reach(8)
    await second.reach(8)
    assert first.acks[plug] == 1
    for here in (first, second):
        offsets: list[int] = []
        for kind, *rest in here.events:
            offsets += [rest[1]] if kind == "ack" else range(rest[0], rest[0] + len(rest[1]))
        assert offsets == list(range(1, 9))
    assert len(node.log.commits) == 2


async def test_an_update_that_changes_nothing_is_acked_at_the_head(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = await device(node, memory, ada)
    update = writer.type("a")
    await writer.ack(writer.submit(update))
    await writer.ack(writer.submit(writer.type("b")))
    assert await writer.ack(writer.submit(update)) == 2
    assert await writer.ack(writer.submit(EMPTY)) == 2
    assert await node.log.head(memory) == 2


async def test_a_repeated_update_is_not_acked_before_the_first_one_is_committed(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, other = await device(node, memory, ada), await device(node, memory, ada)
    update = writer.type("a")
    gate = node.log.before["commit"] = Gate()
    writer.submit(update)
    await gate.arrival()
    repeated = other.submit(update)
    twice = writer.submit(update)
    assert other.acks == writer.acks == {}
    gate.open()
    assert await other.ack(repeated) == 1
    assert await writer.ack(twice) == 1
    assert await node.log.head(memory) == 1


async def test_a_repeated_update_falls_with_the_one_it_repeats(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    """Bob may no longer write. Ada's tab has his edit and sends it along: it must be stored."""
    bob = await add_person(pool)
    await pool.execute(
        "INSERT INTO memberships (memory_id, user_id, role) VALUES ($1, $2, 'editor')",
        memory,
        bob.account_id,
    )
    his, hers = await device(node, memory, bob), await device(node, memory, ada)
    await pool.execute("UPDATE memberships SET role = 'viewer' WHERE user_id = $1", bob.account_id)
    gate = node.log.before["commit"] = Gate()
    plug = hers.submit(hers.type("x"))
    await gate.arrival()
    update = his.type("bob's")
    refused = his.submit(update)
    repeated = hers.submit(update)
    gate.open()
    assert await his.refusal(refused) is ErrorCode.FORBIDDEN
    assert await hers.ack(plug) == 1
    assert await hers.ack(repeated) == 2
    assert (await node.log.read(memory, 1))[0][1] == update


async def test_what_builds_on_a_refused_update_is_not_committed(
    pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    async with running(pool, hold_seconds=0.05) as node:
        writer, follower = await device(node, memory, ada), await device(node, memory, ada)
        await pool.execute("ALTER TABLE document_updates ADD CHECK (account_id IS NOT NULL)")
        await pool.execute(
            "ALTER TABLE document_updates ADD CHECK (position('bad'::bytea in payload) = 0)"
        )
        bad = writer.type("bad")
        follower.doc.apply_update(bad)
        on_top = follower.type("good")
        gate = node.log.before["commit"] = Gate()
        refused = writer.submit(bad)
        await gate.arrival()
        missing = follower.submit(on_top)
        gate.open()
        assert await writer.refusal(refused) is ErrorCode.INTERNAL
        assert await follower.refusal(missing) is ErrorCode.MISSING_DEPENDENCY
        third = await device(node, memory, ada)
        assert await third.ack(third.submit(third.type("sound"))) == 1


async def test_an_update_waits_for_the_part_it_builds_on(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, other = await device(node, memory, ada), await device(node, memory, ada)
    first, second, third = writer.type("a"), writer.type("b"), writer.type("c")
    late = [other.submit(third), other.submit(second)]
    sent = writer.submit(first)
    assert await writer.ack(sent) == 1
    assert [await other.ack(number) for number in late] == [3, 2]
    assert [row for _, row in await node.log.read(memory, 0)] == [first, second, third]


async def test_an_update_whose_part_never_comes_is_refused_and_names_it(
    pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    async with running(pool, hold_seconds=0.05) as node:
        writer = await device(node, memory, ada)
        writer.type("never sent")
        sent = writer.submit(writer.type("b"))
        assert await writer.refusal(sent) is ErrorCode.MISSING_DEPENDENCY
        details = writer.refusals[0].error.details
        assert details == {"needs": {str(writer.doc.client_id): len("never sent")}}
        assert writer.unreleased == 0
        writer.subscription.close()
        assert not node.room(memory).busy


async def test_no_more_than_so_many_updates_wait_for_what_they_build_on(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = await device(node, memory, ada)
    writer.type("never sent")
    update = writer.type("b")
    others = [await device(node, memory, ada, str(number)) for number in range(3)]
    for number in range(258):
        others[number % 3].submit(update)
    assert node.watcher.counts["missing_dependency"] == 2
    assert [len(other.refusals) for other in others] == [0, 1, 1]


async def test_the_missing_part_is_looked_for_in_what_another_node_committed(
    pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    async with running(pool, hold_seconds=SECONDS) as node:
        writer = await device(node, memory, ada)
        first, second = writer.type("a"), writer.type("b")
        await node.log.commit(
            [Entry(memory, ada, first, ((writer.doc.client_id, ada.account_id),))]
        )
        assert await writer.ack(writer.submit(second)) == 2
        await writer.reach(2)


async def test_the_missing_part_is_found_though_it_is_written_behind_a_commit_under_way(
    pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    """The look finds the room committing; what it saw must not be forgotten."""
    async with running(pool, hold_seconds=SECONDS) as node:
        plain, writer = await device(node, memory, ada), await device(node, memory, ada)
        first, second = writer.type("a"), writer.type("b")
        gate = node.log.after["commit"] = Gate()
        plain.submit(plain.type("x"))
        await gate.arrival()  # committed, and not yet known to the room
        await node.log.commit(
            [Entry(memory, ada, first, ((writer.doc.client_id, ada.account_id),))]
        )
        sent = writer.submit(second)
        await node.log.news.until(lambda: node.log.calls["head"])
        looked = Gate()
        node.log.before["read"] = looked
        gate.open()
        await looked.arrival()
        looked.open()
        assert await writer.ack(sent) == 3


async def test_a_channel_refuses_updates_until_it_is_opened_again(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = await device(node, memory, ada)
    malformed, behind = writer.submit(b"\xff"), writer.submit(writer.type("a"))
    assert await writer.refusal(malformed) is ErrorCode.MALFORMED_UPDATE
    assert await writer.refusal(behind) is ErrorCode.CHANNEL_CLOSED
    assert await node.log.head(memory) == 0
    await writer.open(node.hub, memory)
    assert await writer.ack(writer.submit(writer.doc.get_update())) == 1
    assert writer.unreleased == 0


async def test_another_accounts_client_id_is_refused(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    bob = await add_person(pool)
    shared = await add_memory(pool, ada, editor=bob)
    hers, his = Device(ada, "hers", client_id=77), Device(bob, "his", client_id=77)
    await hers.open(node.hub, shared)
    await his.open(node.hub, shared)
    update = hers.type("ada")
    await hers.ack(hers.submit(update))
    his.doc.apply_update(update)
    assert await his.refusal(his.submit(his.type("bob"))) is ErrorCode.CLIENT_ID_TAKEN
    # What it knows of hers it may send along.
    await his.open(node.hub, shared)
    assert await his.ack(his.submit(update)) == 1


async def test_a_client_id_taken_on_another_node_is_refused_by_the_commit(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    bob = await add_person(pool)
    shared = await add_memory(pool, ada, editor=bob)
    his = Device(bob, "his", client_id=77)
    await his.open(node.hub, shared)
    hers = Device(ada, "hers", client_id=77)
    await node.log.commit([Entry(shared, ada, hers.type("ada"), ((77, ada.account_id),))])
    assert await his.refusal(his.submit(his.type("bobby"))) is ErrorCode.CLIENT_ID_TAKEN
    reader = await device(node, shared, ada)
    assert reader.content() == "ada"


@pytest.mark.parametrize("role", ["viewer", "commenter"])
async def test_who_may_only_read_is_told_so_and_still_reads(
    pool: asyncpg.Pool, node: Node, ada: Author, role: str
) -> None:
    bob = await add_person(pool)
    shared = await add_memory(pool, ada, **{role: bob})
    reader, writer = await device(node, shared, bob), await device(node, shared, ada)
    assert await reader.refusal(reader.submit(reader.type("x"))) is ErrorCode.FORBIDDEN
    await writer.ack(writer.submit(writer.type("y")))
    await reader.reach(1)
    assert await node.log.head(shared) == 1


async def test_a_large_update_keeps_its_place_before_the_small_ones_behind_it(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, reader = await device(node, memory, ada), await device(node, memory, ada)
    updates = [writer.type("a"), writer.type("x" * 100_000), writer.type("b"), writer.type("c")]
    sent = [writer.submit(update) for update in updates]
    assert [await writer.ack(number) for number in sent] == [1, 2, 3, 4]
    await reader.reach(4)
    assert [payload for _, payload in await node.log.read(memory, 0)] == updates
    assert writer.unreleased == 0


async def test_a_large_update_that_is_malformed_refuses_those_behind_it(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = await device(node, memory, ada)
    sent = [writer.submit(b"\x01" * 50_000), writer.submit(writer.type("a"))]
    assert [await writer.refusal(number) for number in sent] == [
        ErrorCode.MALFORMED_UPDATE,
        ErrorCode.CHANNEL_CLOSED,
    ]
    assert writer.unreleased == 0


async def test_a_large_update_is_refused_when_too_much_document_work_waits(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = await device(node, memory, ada)
    node.workers._limit = 0
    sent = [writer.submit(writer.type("x" * 50_000)), writer.submit(writer.type("a"))]
    assert [await writer.refusal(number) for number in sent] == [
        ErrorCode.BUSY,
        ErrorCode.CHANNEL_CLOSED,
    ]
    assert writer.refusals[0].code.temporary
    assert writer.unreleased == 0


async def test_what_a_device_sent_behind_an_update_refused_by_the_commit_is_refused_too(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    await pool.execute(
        "ALTER TABLE document_updates ADD CHECK (position('bad'::bytea in payload) = 0)"
    )
    writer, other = await device(node, memory, ada), await device(node, memory, ada)
    gate = node.log.before["commit"] = Gate()
    bad = writer.submit(writer.type("bad"))
    await gate.arrival()
    behind, beside = writer.submit(writer.type("x")), other.submit(other.type("y"))
    gate.open()
    assert await writer.refusal(bad) is ErrorCode.INTERNAL
    assert await writer.refusal(behind) is ErrorCode.CHANNEL_CLOSED
    assert await other.ack(beside) == 1
    assert writer.unreleased == other.unreleased == 0


async def test_what_was_taken_is_committed_though_its_sender_left(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, reader = await device(node, memory, ada), await device(node, memory, ada)
    writer.submit(writer.type("a"))
    writer.submit(writer.type("x" * 50_000))
    writer.subscription.close()
    await reader.reach(2)
    assert writer.events == []
    assert writer.unreleased == 0


async def test_what_another_node_wrote_in_between_is_shown_before_the_own(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, reader = await device(node, memory, ada), await device(node, memory, ada)
    foreign = Device(ada, "on another node")
    claims = ((foreign.doc.client_id, ada.account_id),)
    await node.log.commit(
        [Entry(memory, ada, foreign.type("x"), claims), Entry(memory, ada, foreign.type("y"))]
    )
    assert await writer.ack(writer.submit(writer.type("a"))) == 3
    await reader.reach(3)
    await writer.reach(3)
    assert reader.pushed == [1, 2, 3]
    assert writer.pushed == [1, 2]
    assert reader.content() == writer.content()


async def test_what_another_node_wrote_and_trimmed_makes_everyone_open_again(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = await device(node, memory, ada)
    foreign = Device(ada, "on another node")
    updates = [foreign.type("x"), foreign.type("y")]
    await node.log.commit([Entry(memory, ada, update) for update in updates])
    await node.log.save_snapshot(memory, Snapshot(2, *merge(None, None, updates)))
    await node.log.trim(memory, 2, [])
    writer.submit(writer.type("a"))
    await writer.news.until(lambda: writer.losses)
    await writer.open(node.hub, memory)
    assert await writer.ack(writer.submit(writer.type("b"))) == 4
    assert sorted(writer.content()) == ["a", "b", "x", "y"]


async def test_a_commit_whose_fate_is_unknown_is_acked_once_and_stored_once(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer, reader = await device(node, memory, ada), await device(node, memory, ada)
    node.log.after["commit"] = outage  # committed, but the answer was lost
    node.log.before["standing"] = outage  # and the database stays away for a moment
    updates = [writer.type("a"), writer.type("b"), writer.type("c")]
    sent = [writer.submit(update) for update in updates]
    acks = [await writer.ack(number) for number in sent]
    await reader.reach(3)
    rows = await node.log.read(memory, 0)
    assert [payload for _, payload in rows] == updates
    assert acks[0] >= 1
    assert acks == sorted(acks)
    assert reader.content() == "abc"
    assert not reader.losses


async def test_a_commit_that_did_not_happen_is_made_once_the_database_is_back(
    node: Node, memory: UUID, ada: Author
) -> None:
    writer = await device(node, memory, ada)
    node.log.before["commit"] = outage
    node.log.before["standing"] = outage
    assert await writer.ack(writer.submit(writer.type("a"))) == 1
    assert writer.refusals == []


@pytest.mark.parametrize("call", ["standing", "read"])
async def test_an_outage_while_a_gap_is_filled_is_waited_out(
    node: Node, memory: UUID, ada: Author, call: str
) -> None:
    writer, reader = await device(node, memory, ada), await device(node, memory, ada)
    foreign = Device(ada, "on another node")
    await node.log.commit([Entry(memory, ada, foreign.type("x"))])
    node.log.before[call] = outage
    assert await writer.ack(writer.submit(writer.type("a"))) == 2
    await reader.reach(2)
    assert await writer.ack(writer.submit(writer.type("b"))) == 3


async def test_a_document_deleted_elsewhere_ends_its_channels_at_the_next_commit(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    writer, reader = await device(node, memory, ada), await device(node, memory, ada)
    await delete_memory(pool, memory)
    assert await writer.refusal(writer.submit(writer.type("a"))) is ErrorCode.GONE
    await reader.news.until(lambda: reader.losses)
    assert reader.losses[0].code is ErrorCode.GONE
    assert not reader.subscription.open


async def test_a_deletion_answers_everything_that_was_on_its_way(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    """One update is held, one waits for the state to be read again, one is being committed."""
    writer, other = await device(node, memory, ada), await device(node, memory, ada)
    other.type("never sent")
    other.submit(other.type("held"))
    await node.log.news.until(lambda: node.log.calls["head"])
    node.log.before["commit"] = outage
    gate = node.log.before["standing"] = Gate()
    writer.submit(writer.type("a"))
    await gate.arrival()
    writer.submit(writer.type("b"))
    await delete_memory(pool, memory)
    node.hub.announce_deleted(memory)
    assert [error.code for error in (*writer.losses, *other.losses)] == [ErrorCode.GONE] * 2
    gate.open()
    await node.watcher.until("gone", 3)
    assert writer.unreleased == other.unreleased == 0
    assert await node.log.head(memory) == 0


async def test_a_look_for_a_missing_part_that_fails_leaves_the_update_waiting(
    pool: asyncpg.Pool, memory: UUID, ada: Author
) -> None:
    async with running(pool, hold_seconds=SECONDS) as node:
        writer, other = await device(node, memory, ada), await device(node, memory, ada)
        first, second = writer.type("a"), writer.type("b")
        node.log.before["head"] = outage
        held = other.submit(second)
        await node.watcher.until("look for more failed")
        writer.submit(first)
        assert await other.ack(held) == 2


async def test_a_database_restarted_under_load_loses_no_acked_update(
    database: str, node: Node, memory: UUID, ada: Author
) -> None:
    """Every backend is terminated, several times, while four devices write."""
    writers = [await device(node, memory, ada, str(number)) for number in range(4)]
    reader = await device(node, memory, ada)
    sent: dict[tuple[str, int], bytes] = {}

    async def write(writer: Device) -> None:
        for number in range(30):
            update = writer.type("x")
            sequence = writer.submit(update)
            sent[writer.id, sequence] = update
            if number % 5 == 4:
                await writer.ack(sequence)

    async def terminate() -> None:
        ours = await asyncpg.connect(database)
        for threshold in (10, 40, 70):
            await node.watcher.until("committed", threshold)
            await ours.fetch(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                """
            )
        await ours.close()

    async with asyncio.timeout(60):
        await asyncio.gather(terminate(), *(write(writer) for writer in writers))
        for writer in writers:
            for sequence in range(1, 31):
                await writer.ack(sequence)
    head = await node.log.head(memory)
    await reader.reach(head)
    stored = [payload for _, payload in await node.log.read(memory, 0)]
    assert set(stored) == set(sent.values())
    doc: Doc[Any] = Doc()
    for payload in stored:
        doc.apply_update(payload)
    assert len(str(doc.get("content", type=Text))) == 4 * 30
    for writer in writers:
        own = [stored.index(sent[writer.id, sequence]) for sequence in range(1, 31)]
        assert own == sorted(own)
