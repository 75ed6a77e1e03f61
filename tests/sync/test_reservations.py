"""A device's client id is its account's from when others can see it, before it has written."""

from uuid import UUID

import asyncpg
import pytest

from protocol.errors import ErrorCode
from protocol.log import Author
from sync.presence import encode
from sync.reservations import MOST
from tests.rows import add_member, add_memory, add_person
from tests.sync.doubles import Device, Gate, Node, device, outage, running


@pytest.fixture
async def bob(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


@pytest.fixture
async def shared(pool: asyncpg.Pool, ada: Author, bob: Author) -> UUID:
    return await add_memory(pool, ada, editor=bob)


async def present(node: Node, memory: UUID, author: Author, client_id: int = 77) -> Device:
    """A device that shows itself, and whose client id has been looked after."""
    shows = Device(author, "shows", client_id=client_id)
    await shows.open(node.hub, memory)
    looked_after = node.log.returns["reserve"]
    show(shows)
    await node.log.news.until(lambda: node.log.returns["reserve"] > looked_after)
    return shows


def show(shows: Device, *others: int) -> None:
    clients = (shows.doc.client_id, *others)
    shows.subscription.send_awareness(encode([(client, (1, b"{}")) for client in clients]))


async def rows(pool: asyncpg.Pool) -> list[tuple[int, UUID]]:
    found = await pool.fetch("""
        SELECT client, account_id FROM document_clients
        JOIN document_reservations USING (document_id, client) ORDER BY client""")
    return [tuple(row) for row in found]


async def test_nobody_else_writes_with_an_id_that_a_device_has_shown(
    pool: asyncpg.Pool, node: Node, shared: UUID, ada: Author, bob: Author
) -> None:
    hers = await present(node, shared, ada)
    written = hers.type("on the train")
    hers.subscription.close()
    his = Device(bob, "his", client_id=77)
    await his.open(node.hub, shared)
    assert await his.refusal(his.submit(his.type("z" * 50))) is ErrorCode.CLIENT_ID_TAKEN
    await hers.open(node.hub, shared)
    await hers.ack(hers.submit(written))
    reader = await device(node, shared, bob)
    assert reader.content() == "on the train"


async def test_another_node_and_one_that_opens_later_know_of_it(
    pool: asyncpg.Pool, node: Node, shared: UUID, ada: Author, bob: Author
) -> None:
    async with running(pool) as other:
        early = Device(bob, "early", client_id=77)
        await early.open(other.hub, shared)
        hers = await present(node, shared, ada)
        hers.subscription.close()
        assert await early.refusal(early.submit(early.type("z"))) is ErrorCode.CLIENT_ID_TAKEN
    async with running(pool) as later:
        late = Device(bob, "late", client_id=77)
        await late.open(later.hub, shared)
        assert await late.refusal(late.submit(late.type("z"))) is ErrorCode.CLIENT_ID_TAKEN


async def test_an_id_is_held_on_its_node_while_the_database_is_asked(
    node: Node, shared: UUID, ada: Author, bob: Author
) -> None:
    gate = node.log.before["reserve"] = Gate()
    hers = Device(ada, "hers", client_id=77)
    await hers.open(node.hub, shared)
    show(hers)
    await gate.arrival()
    his = Device(bob, "his", client_id=77)
    await his.open(node.hub, shared)
    assert await his.refusal(his.submit(his.type("z"))) is ErrorCode.CLIENT_ID_TAKEN
    await hers.ack(hers.submit(hers.type("a")))
    gate.open()


async def test_what_the_database_could_not_take_is_tried_again(
    pool: asyncpg.Pool, node: Node, shared: UUID, ada: Author, bob: Author
) -> None:
    node.log.before["reserve"] = outage
    hers = Device(ada, "hers", client_id=77)
    await hers.open(node.hub, shared)
    show(hers)
    await node.watcher.until("reserve failed")
    await device(node, shared, bob)
    await node.log.news.until(lambda: node.log.returns["reserve"] == 1)
    assert await rows(pool) == [(77, ada.account_id)]


async def test_a_memory_that_one_alone_writes_in_keeps_none_until_another_may(
    pool: asyncpg.Pool, node: Node, ada: Author, bob: Author
) -> None:
    memory = await add_memory(pool, ada, viewer=bob)
    hers = await present(node, memory, ada)
    assert await rows(pool) == []
    await add_member(pool, memory, await add_person(pool), "editor")
    asked = node.log.returns["reserve"]
    await device(node, memory, bob)
    await node.log.news.until(lambda: node.log.returns["reserve"] > asked)
    assert await rows(pool) == [(77, ada.account_id)]
    await hers.ack(hers.submit(hers.type("a")))


async def test_who_may_not_write_keeps_none(
    pool: asyncpg.Pool, node: Node, ada: Author, bob: Author
) -> None:
    memory = await add_memory(pool, ada, viewer=bob)
    his = Device(bob, "his", client_id=78)
    await his.open(node.hub, memory)
    show(his)
    hers = Device(ada, "hers", client_id=78)
    await hers.open(node.hub, memory)
    await hers.ack(hers.submit(hers.type("a")))


async def test_one_device_keeps_few(
    pool: asyncpg.Pool, node: Node, shared: UUID, ada: Author
) -> None:
    hers = Device(ada, "hers", client_id=1)
    await hers.open(node.hub, shared)
    show(hers, *range(2, 20))
    await node.log.news.until(lambda: node.log.returns["reserve"])
    assert await rows(pool) == [(client, ada.account_id) for client in range(1, MOST + 1)]


async def test_an_id_that_is_used_stays_and_one_that_is_not_is_free_again_after_a_while(
    pool: asyncpg.Pool, node: Node, shared: UUID, ada: Author, bob: Author
) -> None:
    used, unused = await present(node, shared, ada, 77), await present(node, shared, ada, 78)
    await used.ack(used.submit(used.type("a")))
    await pool.execute("UPDATE document_reservations SET reserved_at = now() - interval '31 days'")
    used.subscription.close()
    unused.subscription.close()
    async with running(pool) as later:
        await present(later, shared, ada, 79)
        assert await rows(pool) == [(79, ada.account_id)]
    async with running(pool) as last:
        his = Device(bob, "his", client_id=78)
        await his.open(last.hub, shared)
        await his.ack(his.submit(his.type("b" * 5)))
        his = Device(bob, "his", client_id=77)
        await his.open(last.hub, shared)
        assert await his.refusal(his.submit(his.type("b" * 5))) is ErrorCode.CLIENT_ID_TAKEN


async def test_many_devices_of_one_who_is_alone_cost_few_questions(
    pool: asyncpg.Pool, node: Node, memory: UUID, ada: Author
) -> None:
    await present(node, memory, ada, 1)
    asked = node.log.calls["reserve"]
    devices = [Device(ada, f"device {number}", client_id=number) for number in range(2, 50)]
    for each in devices:
        await each.open(node.hub, memory)
    assert node.log.calls["reserve"] == asked
    for each in devices:
        show(each)
    await node.log.news.until(lambda: node.log.returns["reserve"] > asked)
    assert node.log.calls["reserve"] <= asked + 2
    assert await rows(pool) == []
