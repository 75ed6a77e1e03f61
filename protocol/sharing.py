"""Sharing: the members of a memory, invitations to it, and what ends both."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from protocol.accounts import Email
from protocol.memories import Role
from protocol.records import Body, Timestamp

# What a member may be made. There is one owner, whom `sharing.transfer` changes.
SharedRole = Literal["editor", "commenter", "viewer"]
InvitationStatus = Literal["pending", "accepted", "declined", "revoked", "expired", "used"]
Moment = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        description="RFC 3339, with an offset",
        examples=["2026-01-31T08:30:00.000Z"],
    ),
]


class Member(Body, frozen=True):
    """An account that a memory is shared with. Only the owner is told the e-mail address."""

    user_id: UUID
    role: Role
    first_name: str | None
    last_name: str | None
    username: str | None
    avatar_url: str | None
    joined_at: Timestamp
    email: str | None = None


class Invitation(Body, omit_defaults=True, frozen=True):
    """An invitation as the memory's owner sees it: of one `email` address, or a link for all who
    have its token.

    A link is `used` when `max_uses` accounts have joined by it. `token` and `url` come only with
    the answer of `sharing.link`: the server keeps no more than a digest.
    """

    id: UUID
    memory_id: UUID
    role: SharedRole
    status: InvitationStatus
    uses: int
    created_at: Timestamp
    email: str | None = None
    max_uses: int | None = None
    expires_at: Timestamp | None = None
    token: str | None = None
    url: str | None = None


class ReceivedInvitation(Body, frozen=True):
    """An invitation as the one it was sent to sees it."""

    id: UUID
    memory_id: UUID
    memory_title: str | None
    inviter_name: str
    role: SharedRole
    created_at: Timestamp


class ListMembers(Body, frozen=True):
    memory_id: UUID


class MemoryMembers(Body, frozen=True):
    """The owner comes first, then the others in the order they joined. Only the owner sees the
    pending `invitations`; others get an empty list."""

    members: list[Member]
    invitations: list[Invitation]


class InviteMember(Body, frozen=True):
    """`id` may be made by the client, so that a retry is harmless. An address that is invited
    already gets the new role in the invitation it has."""

    memory_id: UUID
    email: Email
    role: SharedRole
    id: UUID | None = None


class CreateInvitationLink(Body, frozen=True):
    """`id` may be made by the client; a retry answers the same link under a further token. Without
    `max_uses` and `expires_at` it works until it is revoked."""

    memory_id: UUID
    role: SharedRole
    id: UUID | None = None
    expires_at: Moment | None = None
    max_uses: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None


class OneInvitation(Body, frozen=True):
    invitation: Invitation


class RevokeInvitation(Body, frozen=True):
    memory_id: UUID
    invitation_id: UUID


class ReceivedInvitations(Body, frozen=True):
    invitations: list[ReceivedInvitation]


class AcceptInvitation(Body, frozen=True):
    """Either: the id of one that was sent to the account's e-mail address, or a link's token."""

    invitation_id: UUID | None = None
    token: Annotated[str, msgspec.Meta(max_length=100)] | None = None


class DeclineInvitation(Body, frozen=True):
    invitation_id: UUID


class SetMemberRole(Body, frozen=True):
    memory_id: UUID
    user_id: UUID
    role: SharedRole


class OneMember(Body, frozen=True):
    member: Member


class RemoveMember(Body, frozen=True):
    memory_id: UUID
    user_id: UUID


class LeaveMemory(Body, frozen=True):
    memory_id: UUID


class TransferMemory(Body, frozen=True):
    memory_id: UUID
    user_id: UUID


class Invited(Body, frozen=True):
    """The body of the event `sharing.invited`: `sharing.invitations` has one more."""

    invitation_id: UUID


class MembersChanged(Body, frozen=True):
    """The body of the event `members.changed`: a hint that `sharing.members` has news."""

    memory_id: UUID


class SharingChanged(Body, frozen=True):
    """The body of the event `sharing.changed`: the account's role in a memory that is open on
    this connection is another one now. `canWrite` of its channel is so from this event on."""

    memory_id: UUID
    role: Role
