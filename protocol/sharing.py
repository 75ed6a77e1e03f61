"""Sharing: the members of a memory, invitations to it, and what ends both."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from protocol.accounts import Email
from protocol.limits import Limit
from protocol.memories import OneMemory, Role
from protocol.operation import Operation, Permission
from protocol.records import Body, Empty, Timestamp

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


SHARING_MEMBERS = Operation(
    "sharing.members",
    ListMembers,
    MemoryMembers,
    Permission.READ_MEMORIES,
    "The members of a memory, and to its owner the pending invitations.",
)
SHARING_INVITE = Operation(
    "sharing.invite",
    InviteMember,
    OneInvitation,
    Permission.WRITE_MEMORIES,
    "Invite whoever has an e-mail address. It makes no difference whether that has an account.",
    Limit.INVITE,
    creates=True,
)
SHARING_LINK = Operation(
    "sharing.link",
    CreateInvitationLink,
    OneInvitation,
    Permission.WRITE_MEMORIES,
    "Make a link by which accounts join a memory. Its token is told here and never again.",
    creates=True,
)
SHARING_REVOKE = Operation(
    "sharing.revoke",
    RevokeInvitation,
    OneInvitation,
    Permission.WRITE_MEMORIES,
    "Revoke an invitation. Who has joined by it stays a member.",
)
SHARING_INVITATIONS = Operation(
    "sharing.invitations",
    Empty,
    ReceivedInvitations,
    Permission.READ_MEMORIES,
    "The pending invitations that were sent to the account's e-mail address.",
)
SHARING_ACCEPT = Operation(
    "sharing.accept",
    AcceptInvitation,
    OneMemory,
    Permission.READ_MEMORIES,
    "Become a member by an invitation. It lets an account in once.",
)
SHARING_DECLINE = Operation(
    "sharing.decline",
    DeclineInvitation,
    Empty,
    Permission.READ_MEMORIES,
    "Decline an invitation that was sent to the account's e-mail address.",
)
SHARING_SET_ROLE = Operation(
    "sharing.setRole",
    SetMemberRole,
    OneMember,
    Permission.WRITE_MEMORIES,
    "Give a member another role, at once on all open sockets. A link of before gives no more than a"
    " role that was lowered. Only the owner may.",
)
SHARING_REMOVE = Operation(
    "sharing.remove",
    RemoveMember,
    Empty,
    Permission.WRITE_MEMORIES,
    "End a membership, at once on all open sockets. Invitations and links of before let the account"
    " in no more, new ones do. Only the owner may.",
)
SHARING_LEAVE = Operation(
    "sharing.leave",
    LeaveMemory,
    Empty,
    Permission.READ_MEMORIES,
    "End the account's own membership.",
)
SHARING_TRANSFER = Operation(
    "sharing.transfer",
    TransferMemory,
    OneMemory,
    Permission.WRITE_MEMORIES,
    "Make another member the owner, and the owner an editor.",
)
