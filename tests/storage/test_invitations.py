"""Invitations: whom they let in, how often, and what comes of them when they are over."""

import asyncio
import hashlib
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from protocol.sharing import Invitation, SharedRole
from storage.feed import Feed
from storage.invitations import MAX_PENDING, MAX_TOKENS, Accepted, Invitations, Invited
from storage.memberships import MAX_MEMBERS, Memberships
from tests.rows import add_member, add_memory, add_person, delete_memory


class Stage:
    """Ada's private memory, and the invitations to it."""

    def __init__(self, pool: asyncpg.Pool, ada: Author, memory: UUID) -> None:
        self.pool = pool
        self.ada = ada
        self.memory = memory
        self.invitations = Invitations(pool, verified_only=False)
        self.memberships = Memberships(pool)

    async def invite(
        self, who: Author | str, role: SharedRole = "editor", chosen: UUID | None = None
    ) -> Invited:
        email = who if isinstance(who, str) else address(who)
        return await self.invitations.invite(
            self.memory, self.ada.account_id, chosen or uuid4(), email, role
        )

    async def link(
        self, token: bytes = b"t", role: SharedRole = "viewer", **options: Any
    ) -> Invitation:
        return await self.invitations.link(
            options.pop("memory", self.memory),
            self.ada.account_id,
            options.pop("id", None) or uuid4(),
            role,
            digest(token),
            **{"expires_at": None, "max_uses": None, **options},
        )

    async def accept(self, who: Author, by: Invitation | bytes) -> Accepted:
        if isinstance(by, bytes):
            return await self.invitations.accept(who.account_id, token_hash=digest(by))
        return await self.invitations.accept(who.account_id, invitation_id=by.id)

    async def role(self, who: Author) -> str | None:
        role: str | None = await self.pool.fetchval(
            "SELECT role FROM memberships WHERE memory_id = $1 AND user_id = $2",
            self.memory,
            who.account_id,
        )
        return role


def digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def address(who: Author) -> str:
    return f"{who.account_id}@example.com"


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> Stage:
    ada = await add_person(pool)
    return Stage(pool, ada, await add_memory(pool, ada))


@pytest.fixture
async def bob(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


@pytest.fixture
async def eve(pool: asyncpg.Pool) -> Author:
    return await add_person(pool)


async def code(call: Awaitable[Any]) -> ErrorCode:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value.code


async def test_an_invitation_is_for_the_account_of_its_address(
    stage: Stage, bob: Author, eve: Author
) -> None:
    invited = await stage.invite(address(bob).upper())
    assert invited.fresh
    assert (invited.invitation.status, invited.invitation.uses) == ("pending", 0)
    [received] = await stage.invitations.received(bob.account_id)
    assert (received.id, received.role) == (invited.invitation.id, "editor")
    assert await stage.invitations.received(eve.account_id) == []
    assert await stage.invitations.addressees(address(bob)) == [bob.account_id]
    assert await code(stage.accept(eve, invited.invitation)) is ErrorCode.NOT_FOUND
    assert await stage.accept(bob, invited.invitation) == Accepted(stage.memory, True)
    assert await stage.role(bob) == "editor"
    # A retry answers as the first time.
    assert await stage.accept(bob, invited.invitation) == Accepted(stage.memory, False)
    assert await stage.invitations.received(bob.account_id) == []
    assert await stage.invitations.pending(stage.memory) == []


async def test_the_first_invitation_makes_a_private_memory_a_shared_one(stage: Stage) -> None:
    level = "SELECT privacy_level FROM memories"
    feed = Feed(stage.pool)
    cursor = await feed.cursor()
    await stage.invite("nobody@example.com")
    assert await stage.pool.fetchval(level) == "shared"
    [item] = (await feed.changes(stage.ada.account_id, cursor, 10)).items
    assert item.memory is not None
    assert item.memory.privacy_level == "shared"
    await stage.memberships.set_privacy(stage.memory, stage.ada.account_id, "public")
    await stage.link()
    assert await stage.pool.fetchval(level) == "public"


async def test_a_new_members_feed_shows_a_memory_however_old_it_is(
    stage: Stage, bob: Author
) -> None:
    feed = Feed(stage.pool)
    invitation = (await stage.invite(bob)).invitation
    cursor = await feed.cursor()
    await stage.accept(bob, invitation)
    [item] = (await feed.changes(bob.account_id, cursor, 10)).items
    assert item.memory is not None
    assert (item.id, item.memory.role) == (stage.memory, "editor")


async def test_joining_again_takes_the_tombstone_away(stage: Stage, bob: Author) -> None:
    await stage.accept(bob, (await stage.invite(bob)).invitation)
    await stage.memberships.leave(stage.memory, bob.account_id)
    assert await stage.pool.fetchval("SELECT count(*) FROM tombstones") == 1
    cursor = await Feed(stage.pool).cursor()
    await stage.accept(bob, (await stage.invite(bob, "viewer")).invitation)
    assert await stage.role(bob) == "viewer"
    assert await stage.pool.fetchval("SELECT count(*) FROM tombstones") == 0
    [item] = (await Feed(stage.pool).changes(bob.account_id, cursor, 10)).items
    assert (item.id, item.deleted) == (stage.memory, False)


async def test_where_addresses_are_verified_one_that_is_not_is_nobodys(
    stage: Stage, bob: Author
) -> None:
    strict = Invitations(stage.pool, verified_only=True)
    invitation = (await stage.invite(bob)).invitation
    assert await strict.received(bob.account_id) == []
    assert await strict.addressees(address(bob)) == []
    for chosen in (invitation.id, uuid4()):  # it is no way to find out what there is
        accepting = strict.accept(bob.account_id, invitation_id=chosen)
        assert await code(accepting) is ErrorCode.FORBIDDEN
        assert await code(strict.decline(bob.account_id, chosen)) is ErrorCode.FORBIDDEN
    await stage.pool.execute("UPDATE users SET is_verified = true WHERE id = $1", bob.account_id)
    assert len(await strict.received(bob.account_id)) == 1
    assert (await strict.accept(bob.account_id, invitation_id=invitation.id)).changed


async def test_only_the_owner_invites_links_and_revokes(
    stage: Stage, bob: Author, eve: Author
) -> None:
    await add_member(stage.pool, stage.memory, bob, "editor")
    invitation = await stage.link()
    for who, expected in ((bob, ErrorCode.FORBIDDEN), (eve, ErrorCode.NOT_FOUND)):
        account, mine = who.account_id, stage.invitations
        for call in (
            mine.invite(stage.memory, account, uuid4(), "x@example.com", "viewer"),
            mine.revoke(stage.memory, account, invitation.id),
            mine.link(
                stage.memory, account, uuid4(), "editor", b"", expires_at=None, max_uses=None
            ),
        ):
            assert await code(call) is expected
    await delete_memory(stage.pool, stage.memory)
    assert await code(stage.invite("x@example.com")) is ErrorCode.GONE


async def test_inviting_again_is_harmless(stage: Stage, bob: Author) -> None:
    chosen = uuid4()
    first = await stage.invite(bob, "viewer", chosen)
    assert await stage.invite(bob, "viewer", chosen) == Invited(first.invitation, False)
    # The same id answers as the first time; the same address has one invitation.
    assert (await stage.invite(bob, "editor", chosen)).invitation.role == "viewer"
    again = await stage.invite(address(bob).upper(), "editor")
    assert (again.invitation.id, again.invitation.role, again.fresh) == (chosen, "editor", False)
    await stage.accept(bob, first.invitation)
    assert (await stage.invite(bob, "viewer", chosen)).invitation.status == "accepted"
    assert await code(stage.invite(bob)) is ErrorCode.CONFLICT  # a member's address
    assert await code(stage.invite(stage.ada)) is ErrorCode.CONFLICT


async def test_an_id_that_is_taken_is_a_conflict(stage: Stage, bob: Author) -> None:
    other = await add_memory(stage.pool, stage.ada)
    chosen = (await stage.invite(bob)).invitation.id
    assert await code(stage.link(id=chosen)) is ErrorCode.CONFLICT
    assert await code(stage.link(id=chosen, memory=other)) is ErrorCode.CONFLICT
    link = await stage.link()
    assert await code(stage.invite("x@example.com", chosen=link.id)) is ErrorCode.CONFLICT
    revoking = stage.invitations.revoke(other, stage.ada.account_id, chosen)
    assert await code(revoking) is ErrorCode.NOT_FOUND
    assert len(await stage.invitations.pending(stage.memory)) == 2


async def test_a_link_lets_in_who_has_its_token(stage: Stage, bob: Author, eve: Author) -> None:
    link = await stage.link(b"token", "commenter")
    assert await code(stage.accept(bob, b"guess")) is ErrorCode.NOT_FOUND
    assert await code(stage.accept(bob, link)) is ErrorCode.NOT_FOUND  # its id is no key
    for who in (bob, eve, bob):
        await stage.accept(who, b"token")
    assert (await stage.role(bob), await stage.role(eve)) == ("commenter", "commenter")
    [pending] = await stage.invitations.pending(stage.memory)
    assert pending.uses == 2


async def test_a_link_asked_for_again_has_a_further_token(stage: Stage, bob: Author) -> None:
    chosen = uuid4()
    first = await stage.link(b"0", id=chosen)
    for number in range(1, MAX_TOKENS):
        assert await stage.link(str(number).encode(), id=chosen) == first
    assert await code(stage.link(b"more", id=chosen)) is ErrorCode.TOO_LARGE
    await stage.accept(bob, b"3")
    assert (await stage.accept(bob, b"0")).changed is False
    [pending] = await stage.invitations.pending(stage.memory)
    assert pending.uses == 1
    await stage.invitations.revoke(stage.memory, stage.ada.account_id, chosen)
    assert (await stage.link(b"late", id=chosen)).status == "revoked"
    assert await code(stage.accept(await add_person(stage.pool), b"late")) is ErrorCode.NOT_FOUND


async def test_a_higher_role_is_taken_and_a_lower_one_is_not(stage: Stage, bob: Author) -> None:
    await stage.link(b"view", "viewer")
    await stage.link(b"edit", "editor")
    await stage.accept(bob, b"view")
    assert await stage.accept(bob, b"edit") == Accepted(stage.memory, True)
    assert await stage.role(bob) == "editor"
    assert await stage.accept(bob, b"view") == Accepted(stage.memory, False)
    assert await stage.accept(stage.ada, b"edit") == Accepted(stage.memory, False)
    assert (await stage.role(bob), await stage.role(stage.ada)) == ("editor", "owner")


@pytest.mark.parametrize("ending", ["revoked", "expired", "used"])
async def test_a_link_that_is_over_lets_nobody_in(stage: Stage, ending: str, bob: Author) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    link = await stage.link(b"token", expires_at=soon, max_uses=1)
    inside = await add_person(stage.pool)
    if ending == "revoked":
        await add_member(stage.pool, stage.memory, inside, "viewer")
        revoked = await stage.invitations.revoke(stage.memory, stage.ada.account_id, link.id)
        assert revoked.status == "revoked"
        # A retry answers as the first time.
        again = await stage.invitations.revoke(stage.memory, stage.ada.account_id, link.id)
        assert again == revoked
    elif ending == "expired":
        await add_member(stage.pool, stage.memory, inside, "viewer")
        await stage.pool.execute("UPDATE invitations SET expires_at = now()")
    else:
        await stage.accept(inside, b"token")
    assert await stage.invitations.pending(stage.memory) == []
    assert await code(stage.accept(bob, b"token")) is ErrorCode.GONE
    assert await stage.role(bob) is None
    assert await stage.accept(inside, b"token") == Accepted(stage.memory, False)


async def test_a_link_cannot_be_made_that_has_expired(stage: Stage) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    assert await code(stage.link(expires_at=past)) is ErrorCode.INVALID_REQUEST
    assert await stage.pool.fetchval("SELECT privacy_level FROM memories") == "private"


async def test_who_was_removed_does_not_come_back_by_what_is_left(
    stage: Stage, bob: Author
) -> None:
    await stage.link(b"token")
    letter = (await stage.invite(bob)).invitation
    await stage.accept(bob, b"token")
    await stage.memberships.remove(stage.memory, stage.ada.account_id, bob.account_id)
    assert await code(stage.accept(bob, b"token")) is ErrorCode.GONE
    assert await code(stage.accept(bob, letter)) is ErrorCode.GONE
    assert await stage.role(bob) is None
    # The owner may think again.
    await stage.accept(bob, (await stage.invite(bob)).invitation)
    assert await stage.role(bob) == "editor"


async def test_who_was_removed_is_let_in_by_no_link_of_before_and_by_any_new_one(
    stage: Stage, bob: Author, eve: Author
) -> None:
    await stage.link(b"used")
    unused = await stage.link(b"unused", "editor", max_uses=1)
    await stage.accept(bob, b"used")
    await stage.memberships.remove(stage.memory, stage.ada.account_id, bob.account_id)
    assert await code(stage.accept(bob, b"unused")) is ErrorCode.GONE
    # Nor under a further token; and it is as good as before for others.
    await stage.link(b"further", "editor", max_uses=1, id=unused.id)
    assert await code(stage.accept(bob, b"further")) is ErrorCode.GONE
    await stage.accept(eve, b"unused")
    assert await stage.role(eve) == "editor"
    await stage.link(b"new", "commenter")
    await stage.accept(bob, b"new")
    assert await stage.role(bob) == "commenter"


async def test_who_may_less_gets_no_more_by_a_link_of_before(stage: Stage, bob: Author) -> None:
    await stage.link(b"commenter", "commenter")
    await stage.link(b"editor", "editor")
    await stage.accept(bob, b"commenter")

    async def made(role: SharedRole) -> None:
        await stage.memberships.set_role(stage.memory, stage.ada.account_id, bob.account_id, role)

    await made("viewer")
    for token in (b"commenter", b"editor"):
        assert not (await stage.accept(bob, token)).changed
    assert await stage.role(bob) == "viewer"
    await stage.link(b"other", "editor")
    await made("commenter")  # which is more, and takes nothing away
    await stage.accept(bob, b"other")
    assert await stage.role(bob) == "editor"


async def test_accepted_twice_at_once_it_counts_once(stage: Stage, bob: Author) -> None:
    await stage.link(b"token", max_uses=2)
    answers = await asyncio.gather(*(stage.accept(bob, b"token") for _ in range(6)))
    assert sorted(answer.changed for answer in answers) == [False] * 5 + [True]
    [pending] = await stage.invitations.pending(stage.memory)
    assert pending.uses == 1


async def test_the_last_use_is_for_one_of_those_who_come_at_once(stage: Stage) -> None:
    people = [await add_person(stage.pool) for _ in range(6)]
    await stage.link(b"token", max_uses=1)
    answers = await asyncio.gather(
        *(stage.accept(who, b"token") for who in people), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, MemoError)]
    assert len(refused) == 5
    assert {error.code for error in refused} == {ErrorCode.GONE}
    members = "SELECT count(*) FROM memberships WHERE role = 'viewer'"
    assert await stage.pool.fetchval(members) == 1


async def test_an_invitation_is_declined_or_accepted(
    stage: Stage, bob: Author, eve: Author
) -> None:
    first = (await stage.invite(bob)).invitation
    decline = stage.invitations.decline
    assert await code(decline(eve.account_id, first.id)) is ErrorCode.NOT_FOUND
    assert await code(decline(bob.account_id, (await stage.link()).id)) is ErrorCode.NOT_FOUND
    for _ in range(2):
        await decline(bob.account_id, first.id)
    assert await code(stage.accept(bob, first)) is ErrorCode.GONE
    second = (await stage.invite(bob)).invitation
    assert second.id != first.id
    await stage.accept(bob, second)
    assert await code(decline(bob.account_id, second.id)) is ErrorCode.CONFLICT
    assert await stage.role(bob) == "editor"


async def test_a_deleted_memory_is_joined_by_nobody(stage: Stage, bob: Author) -> None:
    await stage.link(b"token")
    invitation = (await stage.invite(bob)).invitation
    await delete_memory(stage.pool, stage.memory)
    assert await stage.invitations.received(bob.account_id) == []
    assert await code(stage.accept(bob, b"token")) is ErrorCode.GONE
    assert await code(stage.accept(bob, invitation)) is ErrorCode.GONE


async def test_members_and_pending_invitations_are_bounded(stage: Stage, bob: Author) -> None:
    await stage.pool.execute(
        "INSERT INTO invitations (id, memory_id, invited_by, role, email)"
        " SELECT gen_random_uuid(), $1, $2, 'viewer', n || '@example.com'"
        " FROM generate_series(2, $3) n",
        stage.memory,
        stage.ada.account_id,
        MAX_PENDING,
    )
    await stage.link(b"token")
    assert await code(stage.link()) is ErrorCode.TOO_LARGE
    assert await code(stage.invite(bob)) is ErrorCode.TOO_LARGE
    assert (await stage.invite("7@example.com", "editor")).invitation.role == "editor"
    await stage.pool.execute(
        """
        WITH people AS (
            INSERT INTO users (email) SELECT n || '@crowd.example.com' FROM generate_series(2, $2) n
            RETURNING id
        )
        INSERT INTO memberships (memory_id, user_id, role) SELECT $1, id, 'viewer' FROM people
        """,
        stage.memory,
        MAX_MEMBERS,
    )
    assert await code(stage.accept(bob, b"token")) is ErrorCode.TOO_LARGE
    assert await stage.role(bob) is None


async def test_invitations_that_are_long_over_are_forgotten(stage: Stage, bob: Author) -> None:
    old, young = await stage.link(b"old"), await stage.link(b"young")
    for link in (old, young):
        await stage.invitations.revoke(stage.memory, stage.ada.account_id, link.id)
    await stage.pool.execute(
        "UPDATE invitations SET ended_at = now() - interval '31 days' WHERE id = $1", old.id
    )
    await stage.invite(bob)
    rows = await stage.pool.fetch("SELECT id FROM invitations")
    assert old.id not in {row["id"] for row in rows}
    assert len(rows) == 2
