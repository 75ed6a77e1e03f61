"""The operation that changes what an account tells of itself."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import available_timezones

import msgspec
from msgspec import UNSET

from protocol.accounts import OneAccount, UpdateAccount
from protocol.errors import ErrorCode, MemoError
from server.auth import name_problem, username_problem
from server.dispatch import Call
from storage.accounts import Accounts
from storage.profiles import Profiles

OWN_FILES = "/api/files/"

_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")  # E.164
# The shape of RFC 5646, 2.1: language, script, region, variants, extensions, private use.
_LANGUAGE = re.compile(
    r"[a-z]{2,8}(-[a-z]{3}){0,3}(-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))?"
    r"(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(-[a-wy-z0-9](-[a-z0-9]{2,8})+)*(-x(-[a-z0-9]{1,8})+)?",
    re.IGNORECASE | re.ASCII,
)


class Changed(Protocol):
    """Tells the devices of an account that it has changed."""

    def account_changed(self, account_id: UUID) -> None: ...


class Profile:
    """Binds `account.update`."""

    def __init__(self, accounts: Accounts, profiles: Profiles, changed: Changed) -> None:
        self._accounts = accounts
        self._profiles = profiles
        self._changed = changed
        self._timezones: frozenset[str] | None = None

    async def update(self, call: Call, request: UpdateAccount) -> OneAccount:
        """Raises:
        MemoError: `invalid_request` with every field that is wrong, `conflict` naming `username`,
            `not_found` when the account has been deleted meanwhile.
        """
        account_id = call.principal.account_id
        given = msgspec.structs.asdict(request)
        fields = {name: _tidy(name, value) for name, value in given.items() if value is not UNSET}
        problems = self._problems(fields)
        if "timezone" in fields and fields["timezone"] not in await self._known_timezones():
            problems["timezone"] = "is not a time zone of the IANA, like Europe/Lisbon or UTC"
        avatar = fields.get("avatar_url")
        if "avatar_url" not in problems and not await self._may_show(account_id, avatar):
            problems["avatar_url"] = "is no file of yours"
        if problems:
            details = {_on_the_wire(name): problem for name, problem in problems.items()}
            first = next(iter(details.items()))
            raise MemoError(ErrorCode.INVALID_REQUEST, " ".join(first), details=details)
        if await self._profiles.update(account_id, fields):
            self._changed.account_changed(account_id)
        return OneAccount(user=await self._accounts.existing(account_id))

    @staticmethod
    def _problems(fields: Mapping[str, str | None]) -> dict[str, str]:
        """What is wrong with the fields that are there, by name."""
        checks: Mapping[str, Callable[[str], str | None]] = {
            "first_name": name_problem,
            "last_name": name_problem,
            "username": username_problem,
            "avatar_url": _avatar_problem,
            "phone_number": _phone_problem,
            "language": _language_problem,
        }
        found = {
            name: check(value)
            for name, check in checks.items()
            if (value := fields.get(name)) is not None
        }
        return {name: problem for name, problem in found.items() if problem}

    async def _may_show(self, account_id: UUID, avatar: str | None) -> bool:
        if avatar is None or not avatar.startswith(OWN_FILES):
            return True
        return await self._profiles.owns_file(account_id, UUID(avatar.removeprefix(OWN_FILES)))

    async def _known_timezones(self) -> frozenset[str]:
        if self._timezones is None:
            # It looks through the files of all of them.
            self._timezones = frozenset(await asyncio.to_thread(available_timezones))
        return self._timezones


def _tidy(name: str, value: Any) -> Any:
    return value.strip() if name in ("first_name", "last_name") else value


def _on_the_wire(name: str) -> str:
    return next(
        field.encode_name for field in msgspec.structs.fields(UpdateAccount) if field.name == name
    )


def _phone_problem(value: str) -> str | None:
    if _PHONE.fullmatch(value):
        return None
    return "is not a number in international form, like +351912345678"


def _language_problem(value: str) -> str | None:
    if _LANGUAGE.fullmatch(value):
        return None
    return "is not a language tag of BCP 47, like en or pt-BR"


def _avatar_problem(value: str) -> str | None:
    problem = f"has to be an http or https address, or {OWN_FILES}{{id}} of a file of yours"
    if not value.isprintable() or " " in value:
        return problem
    try:
        if value.startswith(OWN_FILES):
            UUID(value.removeprefix(OWN_FILES))
            return None
        parts = urlsplit(value)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return problem
    # A name and password in an address are for nobody else to see.
    return None if fits and "@" not in parts.netloc else problem
