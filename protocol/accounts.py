"""Accounts and login: the REST bodies of `/api/auth`, and `account.me`."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from protocol.operation import Operation
from protocol.records import Body, Empty, Timestamp

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
    """A session lasts 7 days from its last refresh, with `remember_me` 30 days. An account with
    two-factor on refuses with `two_factor_required` once the password is right: send the same with
    `code`, from the authenticator or a recovery code."""

    email: Email
    password: Password
    remember_me: bool = False
    code: TwoFactorCode | None = None


class Refresh(Body, frozen=True):
    refresh_token: str


class Logout(Body, frozen=True):
    refresh_token: str | None = None


class SignedIn(Body, frozen=True):
    """The access token lives 15 minutes; the refresh token 7 days (30 if the sign-in asked to be
    remembered), and works once."""

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


class UpdateAccount(Body, frozen=True):
    """Fields left out stay as they are; `null` clears one.

    `timezone` is an IANA name like `Europe/Lisbon`, `language` a tag of BCP 47 like `pt` or
    `zh-Hant-TW`, `phone_number` in E.164 like `+351912345678`. `avatar_url` is an http or https
    address, or `/api/files/{id}` of a file of one's own.
    """

    first_name: Name | UnsetType = UNSET
    last_name: Name | UnsetType = UNSET
    username: Username | None | UnsetType = UNSET
    avatar_url: Annotated[str, msgspec.Meta(max_length=2048)] | None | UnsetType = UNSET
    phone_number: Annotated[str, msgspec.Meta(max_length=20)] | None | UnsetType = UNSET
    timezone: Annotated[str, msgspec.Meta(max_length=50)] | UnsetType = UNSET
    language: Annotated[str, msgspec.Meta(max_length=35)] | UnsetType = UNSET
    theme_preference: Literal["light", "dark", "system"] | UnsetType = UNSET


class OneAccount(Body, frozen=True):
    user: User


SESSION_RENEW = Operation(
    "session.renew",
    RenewSession,
    RenewedSession,
    None,
    "Give this connection a fresh access token of the same session, without reconnecting.",
)
ACCOUNT_ME = Operation(
    "account.me",
    Empty,
    Me,
    None,
    "The signed-in account.",
)
ACCOUNT_UPDATE = Operation(
    "account.update",
    UpdateAccount,
    OneAccount,
    None,
    "Change the signed-in account's profile.",
)
