"""The committer: what shares a transaction, and what must not hold the others up."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import asyncpg
import pytest

from protocol.errors import ErrorCode
from protocol.log import Author, Committed, Entry, Outcome
from tests.rows import add_memory
from tests.sync.doubles import SECONDS, Device, Gate, Node, outage, running


async def devices(pool: asyncpg.Pool, node: Node, ada: Author, count: int) -> list[Device]:
    """So many devices, each on a document of its own."""
    made = []
    for number in range(count):
        device = Device(ada, str(number))
        await device.open(node.hub, await add_memory(pool, ada))
        made.append(device)
    return made


def memory_of(device: Device) -> UUID:
    return device.subscription.room.document_id


async def test_what_gathers_during_a_commit_shares_the_next_one(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    plug, *others = await devices(pool, node, ada, 6)
    gate = node.log.before["commit"] = Gate()
    plug.submit(plug.type("x"))
    await gate.arrival()
    sent = [(device, device.submit(device.type("y"))) for device in others for _ in range(3)]
    gate.open()
    for device, number in sent:
        await device.ack(number)
    assert [len(commit) for commit in node.log.commits] == [1, 15]
    assert node.watcher.commit_sizes == [1, 15]


async def test_a_commit_takes_a_bounded_number_of_updates(
    pool: asyncpg.Pool, node: Node, ada: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.committer.MAX_UPDATES", 4)
    plug, *others = await devices(pool, node, ada, 5)
    gate = node.log.before["commit"] = Gate()
    plug.submit(plug.type("x"))
    await gate.arrival()
    sent = [(device, device.submit(device.type("y"))) for device in others for _ in range(2)]
    gate.open()
    for device, number in sent:
        await device.ack(number)
    assert [len(commit) for commit in node.log.commits] == [1, 4, 4]


async def test_a_room_with_much_to_write_commits_beside_the_others(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    heavy, light = await devices(pool, node, ada, 2)
    gate = node.log.before["commit"] = Gate()
    large = heavy.submit(heavy.type("x" * 200_000))
    await gate.arrival()
    assert await light.ack(light.submit(light.type("y"))) == 1
    assert heavy.acks == {}
    gate.open()
    assert await heavy.ack(large) == 1


async def test_a_room_is_not_taken_from_again_while_its_commit_is_under_way(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    heavy, light = await devices(pool, node, ada, 2)
    gate = node.log.before["commit"] = Gate()
    sent = [heavy.submit(heavy.type("x" * 200_000))]
    await gate.arrival()
    sent.append(heavy.submit(heavy.type("behind")))
    node.hub._committer.wake(heavy.subscription.room)  # as a late retry does
    await light.ack(light.submit(light.type("y")))
    assert heavy.acks == {}
    gate.open()
    assert [await heavy.ack(number) for number in sent] == [1, 2]


async def test_a_document_locked_elsewhere_lands_after_its_release_and_delays_no_other(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    stuck, free = await devices(pool, node, ada, 2)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT 1 FROM documents WHERE id = $1 FOR UPDATE", memory_of(stuck)
        )
        first = stuck.submit(stuck.type("1"))
        await node.log.news.until(lambda: node.log.calls["locked"] >= 2)
        second = stuck.submit(stuck.type("2"))
        for number in range(5):
            assert await free.ack(free.submit(free.type("x"))) == number + 1
        assert stuck.events == []
    assert [await stuck.ack(first), await stuck.ack(second)] == [1, 2]


async def test_an_update_that_the_database_refuses_refuses_only_itself(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    await pool.execute(
        "ALTER TABLE document_updates ADD CHECK (position('bad'::bytea in payload) = 0)"
    )
    plug, beside = await devices(pool, node, ada, 2)
    others = [Device(ada, name) for name in ("before", "bad", "behind")]
    shared = await add_memory(pool, ada)
    for device in others:
        await device.open(node.hub, shared)
    before, bad, behind = others
    gate = node.log.before["commit"] = Gate()
    plug.submit(plug.type("x"))
    await gate.arrival()
    sent = [device.submit(device.type(device.id)) for device in others]
    elsewhere = beside.submit(beside.type("y"))
    gate.open()
    assert await bad.refusal(sent[1]) is ErrorCode.INTERNAL
    assert await before.ack(sent[0]) == 1
    assert await behind.ack(sent[2]) == 2
    assert await beside.ack(elsewhere) == 1
    await bad.reach(2)
    assert before.content() == behind.content()
    assert sorted(before.content()) == sorted("beforebehind")


async def test_what_another_node_writes_between_single_commits_is_shown_in_its_place(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    """One update is refused by the database, so those beside it go one by one; then the offsets
    of one batch need not follow each other."""
    await pool.execute(
        "ALTER TABLE document_updates ADD CHECK (position('bad'::bytea in payload) = 0)"
    )
    async with running(pool) as elsewhere:
        [writer] = await devices(pool, node, ada, 1)
        memory = memory_of(writer)
        bad, reader, foreign = [Device(ada, name) for name in ("bad", "reader", "foreign")]
        await bad.open(node.hub, memory)
        await reader.open(node.hub, memory)
        await foreign.open(elsewhere.hub, memory)
        plug = node.log.before["commit"] = Gate()
        sent = [writer.submit(writer.type("0"))]
        await plug.arrival()
        sent += [writer.submit(writer.type("1")), writer.submit(writer.type("2"))]
        refused = bad.submit(bad.type("bad"))

        async def write_elsewhere() -> None:
            await foreign.ack(foreign.submit(foreign.type("f")))

        async def arm() -> None:
            """Before the common commit, which fails; so this follows the first single one."""
            node.log.after["commit"] = write_elsewhere

        node.log.before["commit"] = arm
        plug.open()
        assert await bad.refusal(refused) is ErrorCode.INTERNAL
        assert [await writer.ack(number) for number in sent] == [1, 2, 4]
        await reader.reach(4)
        await writer.reach(4)
        assert reader.pushed == [1, 2, 3, 4]
        rows = dict(await node.log.read(memory, 0))
        assert reader.updates == rows


async def test_a_database_away_holds_acks_back_and_loses_none(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    first, second = await devices(pool, node, ada, 2)
    node.log.before["commit"] = outage
    sent = [device.submit(device.type("x")) for device in (first, second)]
    assert [await first.ack(sent[0]), await second.ack(sent[1])] == [1, 1]
    assert node.watcher.counts["commit failed"] == 1
    assert first.refusals == second.refusals == []


async def test_single_commits_survive_an_outage_between_them(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    await pool.execute(
        "ALTER TABLE document_updates ADD CHECK (position('bad'::bytea in payload) = 0)"
    )
    writer, bad = Device(ada, "writer"), Device(ada, "bad")
    memory = await add_memory(pool, ada)
    await writer.open(node.hub, memory)
    await bad.open(node.hub, memory)
    sent = writer.submit(writer.type("good"))
    refused = bad.submit(bad.type("bad"))

    async def then_cut() -> None:
        node.log.before["commit"] = outage

    node.log.before["commit"] = then_cut
    assert await writer.ack(sent) == 1
    assert await bad.refusal(refused) is ErrorCode.INTERNAL
    assert [row[0] for row in await node.log.read(memory, 0)] == [1]


async def test_flush_waits_for_a_locked_document_and_for_nothing_once_it_landed(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    [device] = await devices(pool, node, ada, 1)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT 1 FROM documents WHERE id = $1 FOR UPDATE", memory_of(device)
        )
        sent = device.submit(device.type("x"))
        await node.log.news.until(lambda: node.log.calls["locked"])
        flushing = asyncio.create_task(node.hub.stop(SECONDS))
        await node.log.news.until(lambda: node.log.calls["locked"] >= 3)
        assert not flushing.done()
    await flushing
    assert device.acks == {sent: 1}
    assert not node.watcher.failures


async def test_flush_ends_though_a_locked_document_met_an_outage_or_was_deleted(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    cut, gone = await devices(pool, node, ada, 2)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM documents FOR UPDATE")
        sent = cut.submit(cut.type("x"))
        gone.submit(gone.type("x"))
        await node.log.news.until(lambda: node.log.calls["locked"] >= 2)
        node.hub.announce_deleted(memory_of(gone))
        node.log.before["commit"] = outage
        await node.watcher.until("commit failed")
    assert await cut.ack(sent) == 1
    await node.hub.stop(SECONDS)
    assert {what for what, _, _ in node.watcher.failures} == {"commit"}


def answering(outcome: Outcome) -> Callable[[Sequence[Entry]], Awaitable[list[Committed]]]:
    async def commit(entries: Sequence[Entry]) -> list[Committed]:
        return [Committed(outcome) for _ in entries]

    return commit


async def test_every_outcome_of_a_commit_has_its_answer(
    pool: asyncpg.Pool, node: Node, ada: Author
) -> None:
    """A room that does not know an outcome would keep its device waiting for ever."""
    [device] = await devices(pool, node, ada, 1)
    for outcome in Outcome:
        if outcome in (Outcome.COMMITTED, Outcome.LOCKED, Outcome.AGAIN):
            continue
        other = Device(ada, outcome.value)
        await other.open(node.hub, memory_of(device))
        submission = other.submit(other.type("x"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(node.log, "commit", answering(outcome))
            code = await other.refusal(submission)
        assert code.value == {"not_found": "gone", "failed": "internal"}.get(
            outcome.value, outcome.value
        )
