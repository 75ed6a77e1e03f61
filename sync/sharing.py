"""Sharing: the operations on members and invitations, and who is told of what they change."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid4

import msgspec

from protocol.errors import ErrorCode, MemoError
from protocol.memories import Memory, OneMemory, PrivacyLevel, Role
from protocol.records import Empty
from protocol.sharing import (
    AcceptInvitation,
    CreateInvitationLink,
    DeclineInvitation,
    Invitation,
    InviteMember,
    LeaveMemory,
    ListMembers,
    Member,
    MemoryMembers,
    OneInvitation,
    OneMember,
    ReceivedInvitation,
    ReceivedInvitations,
    RemoveMember,
    RevokeInvitation,
    SetMemberRole,
    SharedRole,
    TransferMemory,
)
from sync.access import Access
from sync.feed import Notices
from sync.interfaces import Caller, Observer

TOKEN_BYTES = 32
UNTITLED = "a memory"  # what letters call one without a title
JOIN_PATH = "/join#"  # what follows never reaches a log: browsers keep fragments to themselves


class Memberships(Protocol):
    """Who may do what in a memory."""

    async def members(self, memory_id: UUID, account_id: UUID) -> tuple[Role, list[Member]]: ...

    async def set_role(
        self, memory_id: UUID, account_id: UUID, user_id: UUID, role: SharedRole
    ) -> Member: ...

    async def remove(self, memory_id: UUID, account_id: UUID, user_id: UUID) -> bool: ...

    async def leave(self, memory_id: UUID, account_id: UUID) -> bool: ...

    async def transfer(
        self, memory_id: UUID, account_id: UUID, user_id: UUID
    ) -> Sequence[UUID]: ...

    async def set_privacy(
        self, memory_id: UUID, account_id: UUID, level: PrivacyLevel
    ) -> Sequence[UUID]: ...


class Invited(Protocol):
    """An invitation, and whether it has another role now; if it is `fresh`, what a letter about it
    needs."""

    @property
    def invitation(self) -> Invitation: ...
    @property
    def fresh(self) -> bool: ...
    @property
    def title(self) -> str | None: ...
    @property
    def inviter(self) -> str: ...
    @property
    def changed(self) -> bool: ...


class Accepted(Protocol):
    """The memory an invitation leads to, and whether the account has another role by it."""

    @property
    def memory_id(self) -> UUID: ...
    @property
    def changed(self) -> bool: ...


class Invitations(Protocol):
    """Invitations by e-mail address and by link."""

    async def pending(self, memory_id: UUID) -> list[Invitation]: ...

    async def invite(
        self, memory_id: UUID, account_id: UUID, invitation_id: UUID, email: str, role: SharedRole
    ) -> Invited: ...

    async def link(
        self,
        memory_id: UUID,
        account_id: UUID,
        invitation_id: UUID,
        role: SharedRole,
        token_hash: bytes,
        *,
        expires_at: datetime | None,
        max_uses: int | None,
    ) -> Invitation: ...

    async def revoke(
        self, memory_id: UUID, account_id: UUID, invitation_id: UUID
    ) -> Invitation: ...

    async def received(self, account_id: UUID) -> list[ReceivedInvitation]: ...

    async def addressees(self, email: str) -> Sequence[UUID]: ...

    async def accept(
        self, account_id: UUID, *, invitation_id: UUID | None = None, token_hash: bytes = b""
    ) -> Accepted: ...

    async def decline(self, account_id: UUID, invitation_id: UUID) -> UUID: ...


class MemoryReader(Protocol):
    """A memory as an account sees it, and the accounts that follow it."""

    async def get(self, memory_id: UUID, account_id: UUID) -> Memory: ...

    async def followers(self, document_id: UUID) -> Sequence[UUID]: ...


class Mailer(Protocol):
    """Takes letters to be sent."""

    async def invitation(
        self, email: str, inviter_name: str, memory_title: str, url: str
    ) -> None: ...


class Sharing:
    """Binds the operations `sharing.*`. `url` is where the web console is, for links; `normalize`
    gives an e-mail address the form that accounts have it in, or None when it is none. Without a
    `mailer` invitations are only found by their addressees' devices."""

    def __init__(
        self,
        memberships: Memberships,
        invitations: Invitations,
        memories: MemoryReader,
        access: Access,
        notices: Notices,
        *,
        observer: Observer,
        url: str,
        normalize: Callable[[str], str | None],
        mailer: Mailer | None = None,
    ) -> None:
        self._memberships = memberships
        self._invitations = invitations
        self._memories = memories
        self._access = access
        self._notices = notices
        self._observer = observer
        self._url = url
        self._normalize = normalize
        self._mailer = mailer

    async def members(self, caller: Caller, request: ListMembers) -> MemoryMembers:
        """Raises:
        MemoError: `not_found`, `gone`; `forbidden` for who reads a public memory.
        """
        role, members = await self._memberships.members(request.memory_id, caller.author.account_id)
        pending = await self._invitations.pending(request.memory_id) if role == "owner" else []
        return MemoryMembers(members=members, invitations=pending)

    async def invite(self, caller: Caller, request: InviteMember) -> OneInvitation:
        """Raises:
        MemoError: `forbidden`, `not_found`, `gone`, `conflict`, `too_large`; `invalid_request`
            when the address is none.
        """
        email = self._normalize(request.email)
        if email is None:
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                "`email` is not an e-mail address: write it as name@example.com",
                details={"email": "is not an e-mail address, like name@example.com"},
            )
        account_id = caller.author.account_id
        invited = await self._invitations.invite(
            request.memory_id, account_id, request.id or uuid4(), email, request.role
        )
        self._notices.members_changed([account_id], request.memory_id)
        if invited.fresh or invited.changed:
            # Neither the answer nor its cost tells whether the address has an account.
            self._notices.invited(await self._invitations.addressees(email), invited.invitation.id)
        if invited.fresh:
            self._notices.feed_changed([account_id], request.memory_id)
            await self._write_letter(invited)
        return OneInvitation(invitation=invited.invitation)

    async def link(self, caller: Caller, request: CreateInvitationLink) -> OneInvitation:
        """Raises:
        MemoError: `forbidden`, `not_found`, `gone`, `conflict`, `too_large`, `invalid_request`.
        """
        account_id = caller.author.account_id
        token = secrets.token_urlsafe(TOKEN_BYTES)
        invitation = await self._invitations.link(
            request.memory_id,
            account_id,
            request.id or uuid4(),
            request.role,
            _digest(token),
            expires_at=_moment(request.expires_at),
            max_uses=request.max_uses,
        )
        self._notices.feed_changed([account_id], request.memory_id)
        self._notices.members_changed([account_id], request.memory_id)
        if invitation.status == "pending":
            url = f"{self._url}{JOIN_PATH}{token}"
            invitation = msgspec.structs.replace(invitation, token=token, url=url)
        return OneInvitation(invitation=invitation)

    async def revoke(self, caller: Caller, request: RevokeInvitation) -> OneInvitation:
        """Raises:
        MemoError: `forbidden`, `not_found`, `gone`.
        """
        account_id = caller.author.account_id
        invitation = await self._invitations.revoke(
            request.memory_id, account_id, request.invitation_id
        )
        self._notices.members_changed([account_id], request.memory_id)
        return OneInvitation(invitation=invitation)

    async def invitations(self, caller: Caller, request: Empty) -> ReceivedInvitations:  # noqa: ARG002
        received = await self._invitations.received(caller.author.account_id)
        return ReceivedInvitations(invitations=received)

    async def accept(self, caller: Caller, request: AcceptInvitation) -> OneMemory:
        """Raises:
        MemoError: `not_found`, `gone`, `forbidden`, `too_large`; `invalid_request` unless there
            is one of the two.
        """
        account_id = caller.author.account_id
        if (request.invitation_id is None) == (request.token is None):
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                "name the invitation either by `invitationId` or by a link's `token`",
                details={"invitationId": "or `token`, one of the two"},
            )
        accepted = await self._invitations.accept(
            account_id,
            invitation_id=request.invitation_id,
            token_hash=_digest(request.token or ""),
        )
        if accepted.changed:
            await self._tell([account_id], accepted.memory_id)
        return OneMemory(memory=await self._memories.get(accepted.memory_id, account_id))

    async def decline(self, caller: Caller, request: DeclineInvitation) -> Empty:
        """Raises:
        MemoError: `not_found`, `forbidden`, `conflict`.
        """
        memory_id = await self._invitations.decline(caller.author.account_id, request.invitation_id)
        self._notices.members_changed(await self._memories.followers(memory_id), memory_id)
        return Empty()

    async def set_role(self, caller: Caller, request: SetMemberRole) -> OneMember:
        """Raises:
        MemoError: `forbidden`, `not_found`, `gone`, `conflict`.
        """
        member = await self._memberships.set_role(
            request.memory_id, caller.author.account_id, request.user_id, request.role
        )
        await self._tell([request.user_id], request.memory_id)
        return OneMember(member=member)

    async def remove(self, caller: Caller, request: RemoveMember) -> Empty:
        """Raises:
        MemoError: `forbidden`, `not_found`, `conflict`.
        """
        removed = await self._memberships.remove(
            request.memory_id, caller.author.account_id, request.user_id
        )
        await self._tell([request.user_id] if removed else [], request.memory_id)
        return Empty()

    async def leave(self, caller: Caller, request: LeaveMemory) -> Empty:
        """Whoever is no member has left.

        Raises:
            MemoError: `conflict`, when the owner would leave.
        """
        account_id = caller.author.account_id
        if await self._memberships.leave(request.memory_id, account_id):
            await self._tell([account_id], request.memory_id)
        return Empty()

    async def transfer(self, caller: Caller, request: TransferMemory) -> OneMemory:
        """Raises:
        MemoError: `forbidden`, `not_found`, `gone`.
        """
        account_id = caller.author.account_id
        followers = await self._memberships.transfer(request.memory_id, account_id, request.user_id)
        if followers:
            await self._tell(followers, request.memory_id)
        return OneMemory(memory=await self._memories.get(request.memory_id, account_id))

    async def set_privacy(self, memory_id: UUID, account_id: UUID, level: PrivacyLevel) -> None:
        """Set how far a memory is shared; for `memories.update`.

        Raises:
            MemoError: `forbidden`, `not_found`, `gone`.
        """
        followers = await self._memberships.set_privacy(memory_id, account_id, level)
        await self._tell(followers, memory_id)

    async def _tell(self, accounts: Iterable[UUID], memory_id: UUID) -> None:
        """Have roles take effect on open channels, those accounts ask the feed, and the members
        look who else is one."""
        self._access.changed(memory_id)
        self._notices.feed_changed(accounts, memory_id)
        self._notices.members_changed(await self._memories.followers(memory_id), memory_id)

    async def _write_letter(self, invited: Invited) -> None:
        invitation = invited.invitation
        if self._mailer is None or invitation.email is None:
            return
        url = f"{self._url}{JOIN_PATH}{invitation.id}"
        title = invited.title or UNTITLED
        try:
            await self._mailer.invitation(invitation.email, invited.inviter, title, url)
        except Exception as error:  # noqa: BLE001 (the invitation stands, and can be found without)
            self._observer.failed("invitation letter", invitation.memory_id, error)


def _digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def _moment(text: str | None) -> datetime | None:
    """Raises:
    MemoError: `invalid_request`, when it is no RFC 3339 time with an offset.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or moment.utcoffset() is None:
            raise ValueError(text)
        return moment.astimezone()
    except (ValueError, OverflowError):
        raise MemoError(
            ErrorCode.INVALID_REQUEST,
            "`expiresAt` is not a time: write it like 2026-01-31T08:30:00Z",
            details={"expiresAt": "is not an RFC 3339 time with an offset"},
        ) from None
