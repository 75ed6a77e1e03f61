"""Accounts at the door: registering, signing in, staying signed in, signing out."""

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Literal
from uuid import UUID

import msgspec
import structlog

from protocol.accounts import Login, Me, Refreshed, Register, SignedIn, User
from protocol.errors import ErrorCode, MemoError
from protocol.operation import Permission
from server.passwords import Passwords, weakness
from server.tokens import ACCESS_SECONDS, Principal, Tokens, UnknownKeyError
from storage import outage
from storage.accounts import REFRESH_LIFETIME, REMEMBERED_LIFETIME, Accounts, Rotated

AccountRole = Literal["user", "premium", "admin"]

log = structlog.get_logger(__name__)

_LOCAL_PART = r"[^\s@\"(),:;<>\[\\\].]+(\.[^\s@\"(),:;<>\[\\\].]+)*"
_LABEL = r"[^\W_]([\w-]*[^\W_])?"
_EMAIL = re.compile(rf"{_LOCAL_PART}@({_LABEL}\.)+{_LABEL}")
_USERNAME = re.compile(r"[A-Za-z0-9]+")
_MAX_USER_AGENT = 400


class Auth:
    """Who may come in. `session_ended` is told of every session that ends, after the commit, so
    that its connections can be closed; it deals with its own failures. `registered` is told of
    every account that somebody registers. `second_factor` is asked for with the account and the
    code of a sign-in, once the password was right, and raises to refuse it."""

    def __init__(
        self,
        accounts: Accounts,
        tokens: Tokens,
        passwords: Passwords,
        session_ended: Callable[[UUID], Awaitable[None]],
        *,
        registered: Callable[[User], Awaitable[None]] | None = None,
        second_factor: Callable[[UUID, str | None], Awaitable[None]] | None = None,
    ) -> None:
        self._registered = registered
        self._second_factor = second_factor
        self._accounts = accounts
        self._tokens = tokens
        self._passwords = passwords
        self._session_ended = session_ended

    async def register(
        self, request: Register, *, address: str | None, user_agent: str | None
    ) -> SignedIn:
        """A new account, signed in.

        Raises:
            MemoError: `invalid_request` with every field that is wrong, `conflict` naming `email`
                or `username`, `busy`.
        """
        user = await self.create_user(request)
        if self._registered is not None:
            await self._registered(user)
        return await self._sign_in(user.id, address, user_agent)

    async def login(
        self, request: Login, *, address: str | None, user_agent: str | None
    ) -> SignedIn:
        """A new session for who knows the password.

        Raises:
            MemoError: `invalid_credentials`, in the same words and after the same work whether
                the address is unknown or the password wrong; `account_disabled` only to who
                knows the password, and so are `two_factor_required` and what is wrong with
                the code; `busy`.
        """
        email = normalize_email(request.email)
        known = await self._accounts.credentials(email) if email else None
        kept = known.password_hash if known else None
        if not await self._passwords.verify(request.password, kept) or not known or not kept:
            raise MemoError(ErrorCode.INVALID_CREDENTIALS)
        if self._passwords.outdated(kept):
            await self._renew_hash(known.user_id, kept, request.password)
        if self._second_factor is not None:
            await self._second_factor(known.user_id, request.code)
        lifetime = REMEMBERED_LIFETIME if request.remember_me else REFRESH_LIFETIME
        return await self._sign_in(known.user_id, address, user_agent, lifetime)

    async def sign_in(self, user_id: UUID, address: str | None, user_agent: str | None) -> SignedIn:
        """A new session for whom somebody else has made sure of.

        Raises:
            MemoError: `account_disabled`.
        """
        return await self._sign_in(user_id, address, user_agent)

    async def refresh(self, refresh_token: str) -> Refreshed:
        """New tokens of the same session. The refresh token handed in is spent.

        A spent one that comes again may be in a thief's hands, or its successor may: the whole
        session ends, for both. An app therefore sends each one once, and one at a time.

        Raises:
            MemoError: `unauthorized` for a token that is not ours, `session_ended` when the
                session is over or ends by this, `account_disabled`.
        """
        await self._tokens.reload()
        fresh = secrets.token_urlsafe(32)
        rotation = await self._accounts.rotate(_digest(refresh_token), _digest(fresh))
        match rotation.outcome:
            case Rotated.UNKNOWN:
                raise MemoError(
                    ErrorCode.UNAUTHORIZED, "The refresh token is not valid; sign in again."
                )
            case Rotated.OVER:
                raise MemoError(ErrorCode.SESSION_ENDED)
            case Rotated.DISABLED:
                raise MemoError(ErrorCode.ACCOUNT_DISABLED)
            case Rotated.REUSED:
                assert rotation.session_id is not None
                log.warning("auth.refresh_token_reused", session_id=str(rotation.session_id))
                await self._session_ended(rotation.session_id)
                raise MemoError(
                    ErrorCode.SESSION_ENDED,
                    "The refresh token was used before, so the session was ended; sign in again.",
                )
            case Rotated.FRESH:
                assert rotation.user is not None
                assert rotation.session_id is not None
                access, _ = self._tokens.issue_access(rotation.user, rotation.session_id)
                return Refreshed(
                    access_token=access, refresh_token=fresh, expires_in=ACCESS_SECONDS
                )

    async def logout(self, refresh_token: str | None, principal: Principal | None) -> None:
        """End the session of the refresh token, and that of `principal`. Again is harmless."""
        sessions = {principal.session_id} if principal else set()
        if refresh_token is not None:
            session_id = await self._accounts.session_of(_digest(refresh_token))
            if session_id is not None:
                sessions.add(session_id)
        for session_id in sessions:
            if await self._accounts.end_session(session_id, "signed out"):
                await self._session_ended(session_id)

    async def authenticate(self, token: str) -> Principal:
        """Whom an access token speaks for, as things stand now.

        Raises:
            MemoError: `unauthorized`, `token_expired`, `session_ended`, `account_disabled`;
                `unavailable` when the database cannot be asked.
        """
        with outage.reported():
            return await self._authenticate(lambda: self._tokens.verify(token))

    async def authenticate_document(self, token: str, memory_id: UUID) -> Principal:
        """Whom a token that opens this document on `/yjs` speaks for, as things stand now.

        A document token outlives a session that merely is not refreshed, up to its own expiry;
        signing out, or disabling the account, ends it.

        Raises:
            MemoError: as `authenticate`.
        """
        with outage.reported():
            return await self._authenticate(lambda: self._tokens.verify_document(token, memory_id))

    def rights(self, role: str) -> frozenset[Permission]:
        """The rights that a role brings here."""
        return self._tokens.rights(role)

    async def me(self, principal: Principal) -> Me:
        """The account that is signed in, and its rights.

        Raises:
            MemoError: `not_found`, when the account has been deleted meanwhile.
        """
        user = await self._accounts.existing(principal.account_id)
        permissions = sorted(permission.value for permission in principal.permissions)
        return Me(user=user, session_id=principal.session_id, permissions=permissions)

    async def create_user(self, request: Register, *, role: AccountRole = "user") -> User:
        """A new account with the default categories; nobody is signed in.

        Raises:
            MemoError: as `register`.
        """
        email = normalize_email(request.email)
        first_name, last_name = request.first_name.strip(), request.last_name.strip()
        found = {
            "email": None if email else "is not an e-mail address, like name@example.com",
            "password": weakness(request.password),
            "firstName": name_problem(first_name),
            "lastName": name_problem(last_name),
            "username": username_problem(request.username),
        }
        problems = {field: problem for field, problem in found.items() if problem}
        if problems or email is None:
            first = next(iter(problems.items()))
            raise MemoError(ErrorCode.INVALID_REQUEST, " ".join(first), details=problems)
        return await self._accounts.create(
            email=email,
            password_hash=await self._passwords.hash(request.password),
            first_name=first_name,
            last_name=last_name,
            username=request.username,
            role=role,
        )

    async def list_users(self, limit: int = 1000) -> Sequence[User]:
        """At most `limit` accounts, oldest first."""
        return await self._accounts.users(limit)

    async def disable_user(self, email: str) -> User:
        """Close an account to its owner, and end all its sessions.

        Raises:
            MemoError: `not_found`.
        """
        return await self._set_active(email, False)

    async def enable_user(self, email: str) -> User:
        """Open an account again. Its sessions stay ended.

        Raises:
            MemoError: `not_found`.
        """
        return await self._set_active(email, True)

    async def set_role(self, email: str, role: AccountRole) -> User:
        """Give an account another role.

        Raises:
            MemoError: `not_found`.
        """
        normalized = normalize_email(email)
        user = await self._accounts.set_role(normalized, role) if normalized else None
        if user is None:
            raise _no_account()
        return user

    async def _set_active(self, email: str, active: bool) -> User:
        normalized = normalize_email(email)
        changed = await self._accounts.set_active(normalized, active) if normalized else None
        if changed is None:
            raise _no_account()
        user, ended = changed
        for session_id in ended:
            await self._session_ended(session_id)
        return user

    async def _sign_in(
        self,
        user_id: UUID,
        address: str | None,
        user_agent: str | None,
        lifetime: timedelta = REFRESH_LIFETIME,
    ) -> SignedIn:
        await self._tokens.reload()
        refresh = secrets.token_urlsafe(32)
        signed_in = await self._accounts.sign_in(
            user_id,
            _digest(refresh),
            address=address,
            user_agent=user_agent and user_agent[:_MAX_USER_AGENT],
            lifetime=lifetime,
        )
        if signed_in is None:
            raise MemoError(ErrorCode.ACCOUNT_DISABLED)
        session_id, user = signed_in
        access, _ = self._tokens.issue_access(user, session_id)
        return SignedIn(
            user=user, access_token=access, refresh_token=refresh, expires_in=ACCESS_SECONDS
        )

    async def _renew_hash(self, user_id: UUID, kept: str, password: str) -> None:
        # The old hash is still good, so a busy moment is no reason to refuse the sign-in.
        with suppress(MemoError):
            fresh = await self._passwords.hash(password)
            await self._accounts.replace_password_hash(user_id, kept, fresh)

    async def _authenticate(self, verify: Callable[[], Principal]) -> Principal:
        await self._tokens.reload()
        try:
            principal = verify()
        except UnknownKeyError as error:
            # Another node may have signed with a key made a moment ago.
            await self._tokens.reload(error)
            principal = verify()
        standing = await self._accounts.standing(principal.session_id)
        if standing is None or standing.user_id != principal.account_id:
            raise MemoError(ErrorCode.SESSION_ENDED)
        if not standing.is_active:
            raise MemoError(ErrorCode.ACCOUNT_DISABLED)
        if standing.ended or (standing.expired and principal.document_id is None):
            raise MemoError(ErrorCode.SESSION_ENDED)
        # The role as it is now, whatever it was when the token was made.
        return msgspec.structs.replace(
            principal, role=standing.role, permissions=self._tokens.rights(standing.role)
        )


def _no_account() -> MemoError:
    return MemoError(
        ErrorCode.NOT_FOUND,
        "There is no account with this e-mail address.",
        details={"email": "has no account"},
    )


def normalize_email(text: str) -> str | None:
    """The address as it is kept (its case too, which does not tell accounts apart); None when
    `text` is not an e-mail address."""
    email = unicodedata.normalize("NFC", text.strip())
    if len(email) > 254 or not email.isprintable() or not _EMAIL.fullmatch(email):
        return None
    return email


def name_problem(name: str) -> str | None:
    if not name:
        return "needs at least one character"
    # PostgreSQL keeps no NUL, and nobody's name has control characters.
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "must not hold control characters"
    return None


def username_problem(username: str | None) -> str | None:
    # The protocol's pattern lets a line break at the end pass, as `$` does.
    if username is None or _USERNAME.fullmatch(username):
        return None
    return "may hold letters a to z and digits only"


def _digest(refresh_token: str) -> bytes:
    # Random enough to need neither salt nor stretching; and looked up by it, nothing is compared
    # byte by byte whose time could tell the token.
    return hashlib.sha256(refresh_token.encode()).digest()
