"""The operations on members and invitations: who is told, and what a request may say."""

from collections.abc import AsyncIterator, Awaitable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from protocol import frames
from protocol.errors import ErrorCode, MemoError
from protocol.log import Author
from protocol.memories import PrivacyLevel, UpdateMemory
from protocol.records import Empty
from protocol.sharing import (
    AcceptInvitation,
    CreateInvitationLink,
    DeclineInvitation,
    InviteMember,
    LeaveMemory,
    ListMembers,
    RemoveMember,
    RevokeInvitation,
    SetMemberRole,
    TransferMemory,
)
from storage.invitations import Invitations
from storage.memberships import Memberships
from storage.memories import MemoryRows
from sync.broker import LocalBroker
from sync.feed import Notices, account_topic
from sync.memories import Memories
from sync.projection import Projector
from sync.sharing import Sharing
from tests.rows import add_memory, add_person
from tests.sync.doubles import Node, running

URL = "https://memo.example.com"


class Caller:
    """Who calls, without a connection."""

    def __init__(self, author: Author) -> None:
        self.author = author
        self.id = author.account_id
        self.email = f"{author.account_id}@example.com"


class Post:
    """A mailer that keeps its letters, or fails."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, str, str, str]] = []
        self.broken = False

    async def invitation(self, email: str, inviter_name: str, memory_title: str, url: str) -> None:
        if self.broken:
            raise OSError("no post today")
        self.letters.append((email, inviter_name, memory_title, url))


class Stage:
    """A node with the operations bound, and the events that accounts were told."""

    def __init__(self, pool: asyncpg.Pool, node: Node, broker: LocalBroker) -> None:
        rows, notices = MemoryRows(pool), Notices(broker)
        self.pool = pool
        self.node = node
        self.post = Post()
        self.sharing = Sharing(
            Memberships(pool),
            Invitations(pool, verified_only=False),
            rows,
            node.access,
            notices,
            observer=node.watcher,
            url=URL,
            normalize=lambda email: email.strip() if "@" in email else None,
            mailer=self.post,
        )
        projector = Projector(
            node.log, rows, node.workers, notices, observer=node.watcher, tasks=node.tasks
        )
        self.memories = Memories(
            rows, node.hub, projector, node.workers, notices, privacy=self.sharing
        )
        self.told: list[tuple[UUID, str]] = []
        self._broker = broker

    async def person(self) -> Caller:
        caller = Caller(await add_person(self.pool))

        def receive(message: bytes) -> None:
            [event] = frames.decode_server(message)
            assert isinstance(event, frames.Event)
            self.told.append((caller.id, event.name))

        self._broker.subscribe(account_topic(caller.id), receive)
        return caller

    async def joined(self, memory: UUID, owner: Caller, caller: Caller) -> None:
        """Make somebody an editor by an invitation."""
        invite = InviteMember(memory_id=memory, email=caller.email, role="editor")
        invitation = (await self.sharing.invite(owner, invite)).invitation
        await self.sharing.accept(caller, AcceptInvitation(invitation_id=invitation.id))

    def heard(self, event: str) -> list[UUID]:
        """Who was told of it, in order."""
        return [account_id for account_id, name in self.told if name == event]

    async def set_privacy(self, owner: Caller, memory: UUID, level: PrivacyLevel) -> None:
        await self.memories.update(owner, UpdateMemory(id=memory, privacy_level=level))


@pytest.fixture
async def stage(pool: asyncpg.Pool) -> AsyncIterator[Stage]:
    broker = LocalBroker()
    async with running(pool, broker) as node:
        yield Stage(pool, node, broker)


@pytest.fixture
async def ada(stage: Stage) -> Caller:
    return await stage.person()


@pytest.fixture
async def bob(stage: Stage) -> Caller:
    return await stage.person()


@pytest.fixture
async def memory(stage: Stage, ada: Caller) -> UUID:
    return await add_memory(stage.pool, ada.author)


async def refusal(call: Awaitable[Any]) -> MemoError:
    with pytest.raises(MemoError) as refused:
        await call
    return refused.value


async def test_an_invitation_is_written_to_its_address_once(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    await stage.pool.execute("UPDATE memories SET title = 'Lisbon'")
    await stage.pool.execute(
        "UPDATE users SET first_name = 'Ada', last_name = 'Byron' WHERE id = $1", ada.id
    )
    request = InviteMember(memory_id=memory, id=uuid4(), email=f" {bob.email}", role="viewer")
    for _ in range(2):
        answer = await stage.sharing.invite(ada, request)
    letter = (bob.email, "Ada Byron", "Lisbon", f"{URL}/join#{request.id}")
    assert stage.post.letters == [letter]
    assert stage.heard("feed.changed") == [ada.id]
    assert stage.heard("sharing.invited") == [bob.id]
    assert stage.heard("members.changed") == [ada.id, ada.id]
    assert (answer.invitation.token, answer.invitation.url) == (None, None)
    [received] = (await stage.sharing.invitations(bob, Empty())).invitations
    assert (received.inviter_name, received.memory_title) == ("Ada Byron", "Lisbon")


async def test_another_role_in_an_invitation_is_told_to_whom_it_is_for(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    for role in ("viewer", "editor", "editor"):
        request = InviteMember(memory_id=memory, email=bob.email, role=role)
        await stage.sharing.invite(ada, request)
    assert stage.heard("sharing.invited") == [bob.id, bob.id]
    assert len(stage.post.letters) == 1
    [received] = (await stage.sharing.invitations(bob, Empty())).invitations
    assert received.role == "editor"


async def test_an_address_without_an_account_makes_no_difference(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    answers = [
        await stage.sharing.invite(ada, InviteMember(memory_id=memory, email=email, role="viewer"))
        for email in (bob.email, "nobody@example.com")
    ]
    known, unknown = (answer.invitation for answer in answers)
    assert (known.status, known.role) == (unknown.status, unknown.role)
    assert len(stage.post.letters) == 2
    listed = await stage.sharing.members(ada, ListMembers(memory_id=memory))
    assert listed.invitations == [known, unknown]
    assert [member.user_id for member in listed.members] == [ada.id]


async def test_a_letter_that_cannot_be_sent_does_not_undo_the_invitation(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    stage.post.broken = True
    await stage.joined(memory, ada, bob)
    assert stage.node.watcher.counts["invitation letter failed"] == 1


async def test_what_is_no_address_is_named(stage: Stage, ada: Caller, memory: UUID) -> None:
    request = InviteMember(memory_id=memory, email="not one", role="viewer")
    error = await refusal(stage.sharing.invite(ada, request))
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details is not None
    assert "email" in error.details


async def test_a_links_token_is_in_the_fragment_of_its_address_and_told_once(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    request = CreateInvitationLink(
        memory_id=memory, role="editor", expires_at="2126-01-31T08:30:00+02:00", max_uses=3
    )
    link = (await stage.sharing.link(ada, request)).invitation
    assert link.token is not None
    assert link.url == f"{URL}/join#{link.token}"
    assert (link.expires_at, link.max_uses) == ("2126-01-31T06:30:00.000Z", 3)
    [pending] = (await stage.sharing.members(ada, ListMembers(memory_id=memory))).invitations
    assert (pending.id, pending.token, pending.url) == (link.id, None, None)
    stage.told.clear()
    answer = await stage.sharing.accept(bob, AcceptInvitation(token=link.token))
    assert (answer.memory.id, answer.memory.role) == (memory, "editor")
    assert stage.heard("feed.changed") == [bob.id]
    assert set(stage.heard("members.changed")) == {ada.id, bob.id}
    seen = await stage.sharing.members(bob, ListMembers(memory_id=memory))
    assert seen.invitations == []
    revoke = RevokeInvitation(memory_id=memory, invitation_id=link.id)
    assert (await stage.sharing.revoke(ada, revoke)).invitation.status == "revoked"
    again = CreateInvitationLink(memory_id=memory, role="editor", id=link.id)
    assert (await stage.sharing.link(ada, again)).invitation.token is None


@pytest.mark.parametrize(
    "moment", ["", "tomorrow", "2126-01-31", "2126-01-31T08:30:00", "0001-01-01T00:00:00+14:00"]
)
async def test_what_is_no_time_is_named(
    stage: Stage, ada: Caller, memory: UUID, moment: str
) -> None:
    request = CreateInvitationLink(memory_id=memory, role="viewer", expires_at=moment)
    error = await refusal(stage.sharing.link(ada, request))
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details is not None
    assert "expiresAt" in error.details


@pytest.mark.parametrize(
    "request_", [AcceptInvitation(), AcceptInvitation(invitation_id=uuid4(), token="t")]
)
async def test_an_invitation_is_named_one_way(
    stage: Stage, bob: Caller, request_: AcceptInvitation
) -> None:
    error = await refusal(stage.sharing.accept(bob, request_))
    assert error.code is ErrorCode.INVALID_REQUEST


async def test_a_token_that_is_none_is_an_invitation_that_is_none(
    stage: Stage, bob: Caller
) -> None:
    for token in ("", "x", "ü" * 100, "\x00"):
        error = await refusal(stage.sharing.accept(bob, AcceptInvitation(token=token)))
        assert error.code is ErrorCode.NOT_FOUND


async def test_members_come_and_go_and_are_told(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    await stage.joined(memory, ada, bob)
    change = SetMemberRole(memory_id=memory, user_id=bob.id, role="commenter")
    assert (await stage.sharing.set_role(ada, change)).member.role == "commenter"
    stage.told.clear()
    remove = RemoveMember(memory_id=memory, user_id=bob.id)
    for _ in range(2):
        assert await stage.sharing.remove(ada, remove) == Empty()
    assert stage.heard("feed.changed") == [bob.id]
    assert set(stage.heard("members.changed")) == {ada.id}
    await stage.joined(memory, ada, bob)
    stage.told.clear()
    for _ in range(2):
        assert await stage.sharing.leave(bob, LeaveMemory(memory_id=memory)) == Empty()
    assert stage.heard("feed.changed") == [bob.id]
    assert stage.heard("members.changed") == [ada.id]


async def test_a_transfer_answers_as_the_first_time(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    await stage.joined(memory, ada, bob)
    for _ in range(2):
        answer = await stage.sharing.transfer(ada, TransferMemory(memory_id=memory, user_id=bob.id))
        assert (answer.memory.user_id, answer.memory.role) == (bob.id, "editor")
    assert (await refusal(stage.sharing.leave(bob, LeaveMemory(memory_id=memory)))).code is (
        ErrorCode.CONFLICT
    )
    # What the old owner could do is the new one's.
    await stage.set_privacy(bob, memory, "private")
    listed = await stage.sharing.members(bob, ListMembers(memory_id=memory))
    assert [member.user_id for member in listed.members] == [bob.id]


async def test_declining_tells_the_owner(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    invite = InviteMember(memory_id=memory, email=bob.email, role="editor")
    invitation = (await stage.sharing.invite(ada, invite)).invitation
    stage.told.clear()
    for _ in range(2):
        await stage.sharing.decline(bob, DeclineInvitation(invitation_id=invitation.id))
    assert stage.heard("members.changed") == [ada.id, ada.id]
    assert (await stage.sharing.members(ada, ListMembers(memory_id=memory))).invitations == []


async def test_the_privacy_level_is_the_owners_to_set(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    await stage.joined(memory, ada, bob)
    request = UpdateMemory(id=memory, privacy_level="private", title="not changed either")
    error = await refusal(stage.memories.update(bob, request))
    assert error.code is ErrorCode.FORBIDDEN
    stage.told.clear()
    made = await stage.memories.update(ada, request)
    assert (made.memory.privacy_level, made.memory.title) == ("private", "not changed either")
    assert bob.id in stage.heard("feed.changed")


async def test_a_reader_of_a_public_memory_marks_nothing(
    stage: Stage, ada: Caller, bob: Caller, memory: UUID
) -> None:
    await stage.set_privacy(ada, memory, "public")
    for request in (
        UpdateMemory(id=memory, is_favorite=True),
        UpdateMemory(id=memory, category_id=None),
        UpdateMemory(id=memory, title="mine"),
        UpdateMemory(id=memory, privacy_level="private"),
    ):
        assert (await refusal(stage.memories.update(bob, request))).code is ErrorCode.FORBIDDEN
    assert await stage.sharing.leave(bob, LeaveMemory(memory_id=memory)) == Empty()
