"""Files of shared memories: who is told of them, what their feed has, and what it never has."""

import asyncio
from collections.abc import Awaitable
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.feed import Change
from protocol.log import Author
from storage.departures import Departures
from storage.feed import Feed
from storage.files import FileRows
from storage.memberships import Memberships, join, locked
from storage.trash import TrashRows
from tests.rows import add_memory, add_person

QUOTA = 1 << 20


class Reader:
    """A device that follows an account's feed, and what it holds of files."""

    def __init__(self, feed: Feed, who: Author, cursor: str | None = None) -> None:
        self.files: dict[UUID, Any] = {}
        self._feed = feed
        self._who = who
        self._cursor = cursor

    async def news(self) -> list[tuple[UUID, str]]:
        """What has come of files since: `deleted`, or the name."""
        seen: list[Change] = []
        while True:
            page = await self._feed.changes(self._who.account_id, self._cursor, 3, brief=True)
            assert not page.reset
            self._cursor = page.cursor
            seen += [item for item in page.items if item.kind == "file"]
            if not page.more:
                break
        for item in seen:
            if item.file is None:
                self.files.pop(item.id, None)
            else:
                self.files[item.id] = item.file
        return [(item.id, item.file.filename if item.file else "deleted") for item in seen]


class Stage:
    """Ada's memory with Bob as editor and Cyd as viewer; Eve is nobody in it."""

    def __init__(self, pool: asyncpg.Pool, people: list[Author], memory: UUID) -> None:
        self.pool = pool
        self.ada, self.bob, self.cyd, self.eve = people
        self.memory = memory
        self.rows = FileRows(pool, QUOTA)
        self.memberships = Memberships(pool)
        self.feed = Feed(pool)

    async def add(self, owner: Author, memory: UUID | None = None, name: str = "a") -> UUID:
        file_id, path = uuid4(), uuid4().hex
        await self.pool.execute(
            """
            INSERT INTO files (id, user_id, memory_id, filename, original_filename, file_type,
                file_size, sha256, storage_path)
            VALUES ($1, $2, $3, $4, $4, 'image/png', 1, '', $5)
            """,
            file_id,
            owner.account_id,
            memory,
            name,
            path,
        )
        return file_id

    async def readers(self, *who: Author) -> list[Reader]:
        return [Reader(self.feed, each, await self.feed.cursor()) for each in who]

    async def join(self, who: Author) -> None:
        async with locked(self.pool, self.memory) as connection:
            await join(connection, self.memory, who.account_id, "viewer")


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> Stage:
    people = [await add_person(pool) for _ in range(4)]
    memory = await add_memory(pool, people[0], editor=people[1], viewer=people[2])
    return Stage(pool, people, memory)


async def code(call: Awaitable[Any]) -> ErrorCode:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value.code


async def test_members_follow_each_others_files_from_first_to_last(stage: Stage) -> None:
    readers = ada, bob, cyd, eve = await stage.readers(stage.ada, stage.bob, stage.cyd, stage.eve)
    file = await stage.add(stage.bob, stage.memory, "first")
    for reader in (ada, bob, cyd):
        assert await reader.news() == [(file, "first")]
        assert reader.files[file].user_id == stage.bob.account_id
    updated = await stage.rows.update(file, stage.bob.account_id, filename="second")
    assert {**updated.told} == {
        stage.memory: sorted(each.account_id for each in (stage.ada, stage.bob, stage.cyd))
    }
    for reader in (ada, bob, cyd):
        assert await reader.news() == [(file, "second")]
    [path] = await stage.rows.unprocessed(-1, 10)
    told = await stage.rows.processed(path, {"width": 1}, None)
    assert sorted(told[stage.memory]) == sorted(updated.told[stage.memory])
    assert not await stage.rows.processed(path, {"width": 1}, None)
    for reader in (ada, bob, cyd):
        assert await reader.news() == [(file, "second")]
        assert reader.files[file].metadata == {"width": 1}
    deleted = await stage.rows.delete(file, stage.bob.account_id)
    assert deleted.told == updated.told
    for reader in (ada, bob, cyd):
        assert await reader.news() == [(file, "deleted")]
    again = await stage.rows.delete(file, stage.bob.account_id)
    assert again.at == deleted.at
    assert await eve.news() == []
    for reader in readers:
        assert await reader.news() == []


async def test_a_fresh_device_reads_what_one_that_followed_holds(stage: Stage) -> None:
    [following] = await stage.readers(stage.cyd)
    files = [await stage.add(who, stage.memory) for who in (stage.ada, stage.bob, stage.cyd) * 2]
    private = await stage.add(stage.ada)
    await stage.rows.delete(files[0], stage.ada.account_id)
    fresh = Reader(stage.feed, stage.cyd)
    await following.news()
    await fresh.news()
    assert fresh.files == following.files
    assert fresh.files.keys() == {*files[1:]}
    assert private not in fresh.files


async def test_only_who_put_a_file_there_changes_it(stage: Stage) -> None:
    file = await stage.add(stage.bob, stage.memory)
    for other in (stage.ada, stage.cyd):
        who = other.account_id
        assert await code(stage.rows.update(file, who, filename="x")) is ErrorCode.FORBIDDEN
        assert await code(stage.rows.delete(file, who)) is ErrorCode.FORBIDDEN
    eve = stage.eve.account_id
    assert await code(stage.rows.update(file, eve, filename="x")) is ErrorCode.NOT_FOUND
    assert await code(stage.rows.delete(file, eve)) is ErrorCode.NOT_FOUND


async def test_who_is_removed_forgets_the_files_of_others_and_learns_no_more(stage: Stage) -> None:
    theirs = await stage.add(stage.ada, stage.memory)
    own = await stage.add(stage.bob, stage.memory)
    [bob] = await stage.readers(stage.bob)
    assert await stage.memberships.remove(stage.memory, stage.ada.account_id, stage.bob.account_id)
    assert await bob.news() == [(theirs, "deleted")]
    await stage.add(stage.ada, stage.memory)
    updated = await stage.rows.update(theirs, stage.ada.account_id, filename="secret")
    assert stage.bob.account_id not in updated.told[stage.memory]
    deleted = await stage.rows.delete(theirs, stage.ada.account_id)
    assert stage.bob.account_id not in deleted.told[stage.memory]
    assert await bob.news() == []
    # What was never theirs to delete is not deleted by asking again.
    kept = await stage.add(stage.cyd, stage.memory)
    assert await code(stage.rows.delete(kept, stage.bob.account_id)) is ErrorCode.NOT_FOUND
    # Their own file they keep.
    assert (await stage.rows.get(own, stage.bob.account_id)).id == own
    fresh = Reader(stage.feed, stage.bob)
    await fresh.news()
    assert fresh.files.keys() == {own}


async def test_who_joins_gets_the_files_that_are_there(stage: Stage) -> None:
    files = {await stage.add(who, stage.memory) for who in (stage.ada, stage.bob)}
    [eve, ada, cyd] = await stage.readers(stage.eve, stage.ada, stage.cyd)
    await stage.join(stage.eve)
    assert {each for each, _ in await eve.news()} == files
    assert eve.files.keys() == files
    assert await ada.news() == await cyd.news() == []  # they have them already
    await stage.memberships.leave(stage.memory, stage.eve.account_id)
    assert await eve.news() == [(file, "deleted") for file in sorted(files)]
    await stage.join(stage.eve)
    await eve.news()
    assert eve.files.keys() == files


async def test_a_mark_of_a_members_own_brings_no_files_again(stage: Stage) -> None:
    await stage.add(stage.ada, stage.memory)
    [bob] = await stage.readers(stage.bob)
    await stage.pool.execute(
        """
        UPDATE memberships SET is_favorite = true, changed_xid = pg_current_xact_id()
        WHERE user_id = $1
        """,
        stage.bob.account_id,
    )
    assert await bob.news() == []


async def test_a_file_that_is_moved_goes_for_those_who_do_not_see_it_any_more(
    stage: Stage,
) -> None:
    elsewhere = await add_memory(stage.pool, stage.bob, viewer=stage.eve, commenter=stage.cyd)
    file = await stage.add(stage.bob, stage.memory)
    ada, bob, cyd, eve = await stage.readers(stage.ada, stage.bob, stage.cyd, stage.eve)
    moved = await stage.rows.update(file, stage.bob.account_id, memory_id=elsewhere)
    assert await ada.news() == [(file, "deleted")]
    assert await bob.news() == await cyd.news() == await eve.news() == [(file, "a")]
    # Who saw it before is not told where it is now.
    assert moved.told[stage.memory] == [stage.ada.account_id]
    assert stage.ada.account_id not in moved.told[elsewhere]
    await stage.rows.update(file, stage.bob.account_id, memory_id=stage.memory)
    assert await ada.news() == await bob.news() == await cyd.news() == [(file, "a")]
    assert await eve.news() == [(file, "deleted")]
    await stage.rows.update(file, stage.bob.account_id, memory_id=None)
    assert await ada.news() == await cyd.news() == [(file, "deleted")]
    assert await bob.news() == [(file, "a")]
    assert await eve.news() == []


async def test_the_files_of_others_are_gone_while_their_memory_is_in_the_trash(
    stage: Stage,
) -> None:
    trash = TrashRows(stage.pool)
    ours, theirs = [await stage.add(who, stage.memory) for who in (stage.ada, stage.bob)]
    ada, bob = await stage.readers(stage.ada, stage.bob)
    await trash.delete(stage.ada.account_id, [stage.memory])
    for reader in (ada, bob):
        await reader.news()
    assert ada.files.keys() == {ours}
    assert bob.files.keys() == {theirs}
    await trash.restore(stage.ada.account_id, [stage.memory])
    for reader in (ada, bob):
        await reader.news()
        assert reader.files.keys() == {ours, theirs}
    await trash.delete(stage.ada.account_id, [stage.memory])
    away, *_ = await stage.readers(stage.cyd)
    [fate] = await trash.purge(stage.ada.account_id, [stage.memory])
    assert {*fate.followers} == {each.account_id for each in (stage.ada, stage.bob, stage.cyd)}
    for reader in (ada, bob, away):
        assert {what for _, what in await reader.news()} == {"deleted"}
        assert not reader.files


async def test_an_owner_of_before_and_the_new_one_go_on_seeing_files(stage: Stage) -> None:
    ada, bob = await stage.readers(stage.ada, stage.bob)
    await stage.memberships.transfer(stage.memory, stage.ada.account_id, stage.bob.account_id)
    file = await stage.add(stage.cyd, stage.memory)
    assert await ada.news() == await bob.news() == [(file, "a")]


async def test_the_files_of_an_account_that_ends_are_forgotten_by_those_who_saw_them(
    stage: Stage,
) -> None:
    file = await stage.add(stage.bob, stage.memory)
    await stage.memberships.leave(stage.memory, stage.bob.account_id)
    ada, cyd = await stage.readers(stage.ada, stage.cyd)
    departed = await Departures(stage.pool).remove(stage.bob.account_id)
    assert departed is not None
    assert {*departed.showed} == {stage.ada.account_id, stage.cyd.account_id}
    assert await ada.news() == await cyd.news() == [(file, "deleted")]


async def test_news_of_files_are_news_of_all_who_see_them(stage: Stage) -> None:
    everybody = [each.account_id for each in (stage.ada, stage.bob, stage.cyd, stage.eve)]
    since = await stage.feed.floor()
    await stage.add(stage.bob, stage.memory)
    changed = {*await stage.feed.changed(everybody, since)}
    assert changed == {*everybody} - {stage.eve.account_id}


class Life:
    """Files that come, move and go, members who come and go, and memories in and out of the trash,
    by chance."""

    def __init__(self, stage: Stage, other: UUID, chance: Random) -> None:
        self.stage = stage
        self.people = [stage.ada, stage.bob, stage.cyd, stage.eve]
        self.owners = {stage.memory: stage.ada.account_id, other: stage.bob.account_id}
        self.chance = chance
        self.files: dict[UUID, UUID] = {}  # and whose they are

    async def act(self) -> None:
        """Do something; what cannot be done as things stand is refused."""
        actions = (self.add, self.add, self.move, self.move, self.delete, self.remove, self.join)
        memory = self.chance.choice([*self.owners])
        await self.chance.choice([*actions, self.trash])(memory)

    async def add(self, memory: UUID) -> None:
        who = self.chance.choice(self.people)
        role = "SELECT role FROM memberships WHERE memory_id = $1 AND user_id = $2"
        if await self.stage.pool.fetchval(role, memory, who.account_id):
            self.files[await self.stage.add(who, memory)] = who.account_id

    async def move(self, memory: UUID) -> None:
        if self.files:
            file, who = self.chance.choice([*self.files.items()])
            there = self.chance.choice([memory, memory, None])
            await self.stage.rows.update(file, who, memory_id=there)

    async def delete(self, _: UUID) -> None:
        if self.files:
            await self.stage.rows.delete(*self.chance.choice([*self.files.items()]))

    async def remove(self, memory: UUID) -> None:
        who = self.chance.choice(self.people).account_id
        await self.stage.memberships.remove(memory, self.owners[memory], who)

    async def join(self, memory: UUID) -> None:
        who = self.chance.choice(self.people).account_id
        async with locked(self.stage.pool, memory) as connection:
            await join(connection, memory, who, "editor")

    async def trash(self, memory: UUID) -> None:
        rows = TrashRows(self.stage.pool)
        change = self.chance.choice([rows.delete, rows.restore, rows.restore])
        await change(self.owners[memory], [memory])


async def test_devices_that_follow_end_with_what_fresh_ones_read(stage: Stage) -> None:
    other = await add_memory(stage.pool, stage.bob, editor=stage.cyd)
    chance = Random(5)
    life = Life(stage, other, chance)
    readers = await stage.readers(*life.people)
    for _ in range(150):
        acts = [life.act() for _ in range(chance.randrange(1, 4))]
        for outcome in await asyncio.gather(*acts, return_exceptions=True):
            refused = isinstance(outcome, MemoError | asyncpg.UniqueViolationError)
            assert outcome is None or refused, outcome
        for reader in readers:
            if chance.random() < 0.3:
                await reader.news()
    for who, reader in zip(life.people, readers, strict=True):
        await reader.news()
        fresh = Reader(stage.feed, who)
        await fresh.news()
        assert reader.files == fresh.files
        assert reader.files
