"""Access: a role that changes or ends takes effect on the channels that are open, on every node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID

import asyncpg
import pytest
from pycrdt import Awareness, Doc

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from protocol.memories import PrivacyLevel
from protocol.sharing import SharedRole
from storage.memberships import Memberships
from tests.rows import add_member, add_memory, add_person
from tests.sync.cluster import Network
from tests.sync.doubles import Device, Gate, Node, outage, running

NEVER = 3600.0


class Stage:
    """Ada's memory with Bob as its editor, on two nodes."""

    def __init__(self, pool: asyncpg.Pool, nodes: list[Node], network: Network) -> None:
        self.pool = pool
        self.here, self.there = nodes
        self.network = network
        self.memberships = Memberships(pool)
        self.ada: Author
        self.bob: Author
        self.memory: UUID

    async def set_role(self, role: SharedRole) -> None:
        await self.memberships.set_role(self.memory, self.ada.account_id, self.bob.account_id, role)
        self.here.access.changed(self.memory)

    async def remove(self) -> None:
        await self.memberships.remove(self.memory, self.ada.account_id, self.bob.account_id)
        self.here.access.changed(self.memory)

    async def set_privacy(self, level: PrivacyLevel) -> None:
        await self.memberships.set_privacy(self.memory, self.ada.account_id, level)
        self.here.access.changed(self.memory)

    async def device(self, who: Author, node: Node, name: str = "device") -> Device:
        device = Device(who, name)
        await device.open(node.hub, self.memory)
        return device


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def stage(pool: asyncpg.Pool, stack: AsyncExitStack) -> Stage:
    return await staged(pool, stack)


async def staged(pool: asyncpg.Pool, stack: AsyncExitStack, idle_seconds: float = NEVER) -> Stage:
    network = Network()
    nodes = [
        await stack.enter_async_context(
            running(pool, network.join(), idle_seconds=idle_seconds, down_seconds=NEVER)
        )
        for _ in range(2)
    ]
    stage = Stage(pool, nodes, network)
    stage.ada, stage.bob = await add_person(pool), await add_person(pool)
    stage.memory = await add_memory(pool, stage.ada, editor=stage.bob)
    return stage


async def told(device: Device, role: str) -> None:
    await device.news.until(lambda: device.roles[-1:] == [role])


async def settled(device: Device, updates: int) -> None:
    await device.news.until(lambda: len(device.acks) + len(device.refusals) == updates)


async def lost(device: Device) -> ErrorCode:
    await device.news.until(lambda: device.losses)
    [error] = device.losses
    return error.code


async def test_one_who_is_demoted_writes_no_more_on_any_node(stage: Stage) -> None:
    devices = [await stage.device(stage.bob, node) for node in (stage.here, stage.there)]
    ada = await stage.device(stage.ada, stage.here)
    await stage.set_role("viewer")
    for device in devices:
        await told(device, "viewer")
        assert await device.refusal(device.submit(device.type("no"))) is ErrorCode.FORBIDDEN
    # They read on.
    await ada.ack(ada.submit(ada.type("yes")))
    for device in devices:
        await device.reach(1)
    assert ada.roles == []


async def test_one_who_is_promoted_writes_from_the_event_on(stage: Stage) -> None:
    await stage.set_role("viewer")
    bob = await stage.device(stage.bob, stage.there)
    assert not bob.subscription.can_write
    await stage.set_role("commenter")
    await told(bob, "commenter")
    assert not bob.subscription.can_write
    await stage.set_role("editor")
    await told(bob, "editor")
    assert await bob.ack(bob.submit(bob.type("now"))) == 1


async def test_what_changes_nothing_is_told_to_nobody(stage: Stage) -> None:
    bob = await stage.device(stage.bob, stage.there)
    await stage.set_role("editor")
    await stage.set_role("viewer")
    await told(bob, "viewer")
    assert bob.roles == ["viewer"]


async def test_an_edit_under_way_of_one_who_is_demoted_is_refused(stage: Stage) -> None:
    bob = await stage.device(stage.bob, stage.here)
    gate = stage.here.log.before["commit"] = Gate()
    sent = bob.submit(bob.type("late"))
    await gate.arrival()
    await stage.set_role("viewer")
    await told(bob, "viewer")
    gate.open()
    assert await bob.refusal(sent) is ErrorCode.FORBIDDEN
    assert await stage.here.log.head(stage.memory) == 0


async def test_an_edit_under_way_of_another_is_none_the_worse(stage: Stage) -> None:
    bob, ada = await stage.device(stage.bob, stage.here), await stage.device(stage.ada, stage.here)
    gate = stage.here.log.before["commit"] = Gate()
    sent, stays = bob.submit(bob.type("late")), ada.submit(ada.type("mine"))
    await gate.arrival()
    await stage.set_role("viewer")
    gate.open()
    assert await bob.refusal(sent) is ErrorCode.FORBIDDEN
    assert await ada.ack(stays) == 1


async def test_one_who_is_removed_loses_the_channel_and_is_shown_nothing_more(
    stage: Stage,
) -> None:
    ada = await stage.device(stage.ada, stage.here)
    devices = [await stage.device(stage.bob, node) for node in (stage.here, stage.there)]
    await stage.remove()
    for device in devices:
        assert await lost(device) is ErrorCode.FORBIDDEN
    await ada.ack(ada.submit(ada.type("secret")))
    reader = await stage.device(stage.ada, stage.there)
    await ada.ack(ada.submit(ada.type("more")))
    await reader.reach(2)
    assert [device.pushed for device in devices] == [[], []]
    for node in (stage.here, stage.there):
        with pytest.raises(MemoError) as refused:
            await Device(stage.bob).open(node.hub, stage.memory)
        assert refused.value.code is ErrorCode.NOT_FOUND


async def test_the_presence_of_one_who_is_removed_goes(stage: Stage) -> None:
    ada = await stage.device(stage.ada, stage.here)
    bob = await stage.device(stage.bob, stage.there)
    awareness = Awareness(Doc(client_id=7))
    awareness.set_local_state({"name": "Bob"})
    bob.subscription.send_awareness(awareness.encode_awareness_update([7]))
    await ada.news.until(lambda: any(b"Bob" in shown for shown in ada.presence))
    await stage.remove()
    await ada.news.until(lambda: b"null" in ada.presence[-1])


async def test_the_watch_finds_a_change_that_was_not_heard_of(
    pool: asyncpg.Pool, stack: AsyncExitStack
) -> None:
    stage = await staged(pool, stack, idle_seconds=0.02)
    stage.network.fate = lambda topic, _: 0 if topic == "access" else 1
    eve = await add_person(pool)
    await add_member(pool, stage.memory, eve, "viewer")
    bob, reader = await stage.device(stage.bob, stage.there), await stage.device(eve, stage.there)
    await stage.memberships.remove(stage.memory, stage.ada.account_id, eve.account_id)
    await stage.set_role("viewer")
    await told(bob, "viewer")
    assert await lost(reader) is ErrorCode.FORBIDDEN


async def test_a_look_at_all_channels_takes_one_query(stage: Stage) -> None:
    others = [await add_memory(stage.pool, stage.bob) for _ in range(3)]
    for memory in (stage.memory, *others):
        await Device(stage.bob).open(stage.here.hub, memory)
    assert stage.here.log.calls["role"] == 4  # one for each opening
    await stage.here.access.check(False)
    assert stage.here.log.calls["roles"] == 1


async def test_roles_that_cannot_be_read_are_asked_for_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.access.RETRY_SECONDS", 0.0)
    bob = await stage.device(stage.bob, stage.there)
    stage.there.log.before["roles"] = outage
    await stage.set_role("viewer")
    await told(bob, "viewer")
    assert stage.there.watcher.counts["access failed"] == 1


async def test_a_role_that_changes_while_a_document_is_opened_holds(stage: Stage) -> None:
    gate = stage.there.log.after["content"] = Gate()
    bob = Device(stage.bob)
    opening = asyncio.create_task(bob.open(stage.there.hub, stage.memory))
    await gate.arrival()
    await stage.set_role("viewer")
    gate.open()
    assert not (await opening).subscription.can_write
    assert bob.roles == []


async def test_one_who_is_removed_while_they_open_is_let_in_no_more(stage: Stage) -> None:
    gate = stage.there.log.after["role"] = Gate()
    opening = asyncio.create_task(Device(stage.bob).open(stage.there.hub, stage.memory))
    await gate.arrival()
    await stage.remove()
    gate.open()
    with pytest.raises(MemoError) as refused:
        await opening
    assert refused.value.code is ErrorCode.NOT_FOUND
    assert stage.there.hub.subscriptions == 0


async def test_a_stranger_reads_a_memory_as_long_as_it_is_public(stage: Stage) -> None:
    eve = await add_person(stage.pool)
    with pytest.raises(MemoError):
        await stage.device(eve, stage.there)
    await stage.set_privacy("public")
    stranger = await stage.device(eve, stage.there)
    bob = await stage.device(stage.bob, stage.there)
    assert not stranger.subscription.can_write
    await bob.ack(bob.submit(bob.type("for all")))
    await stranger.reach(1)
    await stage.set_privacy("shared")
    assert await lost(stranger) is ErrorCode.FORBIDDEN
    assert bob.losses == []
    await stage.set_privacy("private")
    assert await lost(bob) is ErrorCode.FORBIDDEN


async def test_one_who_is_removed_from_a_public_memory_goes_on_as_a_viewer(stage: Stage) -> None:
    await stage.set_privacy("public")
    bob = await stage.device(stage.bob, stage.there)
    await stage.remove()
    await told(bob, "viewer")
    assert bob.losses == []


async def test_no_edit_lands_between_a_demotion_and_the_next_promotion(stage: Stage) -> None:
    for number in range(12):
        bob = await stage.device(stage.bob, stage.there, f"round {number}")
        sent = [bob.submit(bob.type("x")) for _ in range(5)]
        if number % 2:
            await bob.ack(sent[0])
        await stage.set_role("viewer")
        head = await stage.here.log.head(stage.memory)
        await settled(bob, len(sent))
        await told(bob, "viewer")
        assert await stage.here.log.head(stage.memory) == head
        assert all(offset <= head for offset in bob.acks.values())
        assert {refusal.code for refusal in bob.refusals} <= {
            ErrorCode.FORBIDDEN,
            ErrorCode.CHANNEL_CLOSED,
        }
        bob.subscription.close()
        await stage.set_role("editor")
