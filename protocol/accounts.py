"""Accounts and login: the REST bodies of `/api/auth`, and `account.me`."""

from typing import Annotated
from uuid import UUID

import msgspec

from protocol.records import Body, Timestamp

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Email = Annotated[str, msgspec.Meta(min_length=3, max_length=255)]
Username = Annotated[str, msgspec.Meta(min_length=3, max_length=30, pattern="^[A-Za-z0-9]+$")]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
TwoFactorCode = Annotated[str, msgspec.Meta(min_length=6, max_length=40)]


class User(Body, frozen=True):
    """An account as its owner sees it."""

    id: UUID
    email: str
    username: str | None
    first_name: str | None
    last_name: str | None
    avatar_url: str | None
    phone_number: str | None
    timezone: str
    language: str
    theme_preference: str
    role: str
    is_verified: bool
    is_active: bool
    last_login_at: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp


class Register(Body, frozen=True):
    """The password needs 8 characters with a lower- and an upper-case letter, a digit and one
    of `@$!%*?&`."""

    email: Email
    password: Password
    first_name: Name
    last_name: Name
    username: Username | None = None


class Login(Body, frozen=True):
    """`remember_me` is taken and changes nothing yet: every session lasts 7 days from its last
    refresh. An account with two-factor on refuses with `two_factor_required` once the password is
    right: send the same with `code`, from the authenticator or a recovery code."""

    email: Email
    password: Password
    remember_me: bool = False
    code: TwoFactorCode | None = None


class Refresh(Body, frozen=True):
    refresh_token: str


class Logout(Body, frozen=True):
    refresh_token: str | None = None


class SignedIn(Body, frozen=True):
    """The access token lives 15 minutes; the refresh token 7 days, and works once."""

    user: User
    access_token: str
    refresh_token: str
    expires_in: int


class Refreshed(Body, frozen=True):
    access_token: str
    refresh_token: str
    expires_in: int


class Me(Body, frozen=True):
    user: User
    session_id: UUID
    permissions: list[str]


class RenewSession(Body, frozen=True):
    token: str


class RenewedSession(Body, frozen=True):
    expires_at: Timestamp
