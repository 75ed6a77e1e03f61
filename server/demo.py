"""`memo demo`: an account with memories in it, for a first look."""

from collections.abc import Mapping
from uuid import UUID, uuid5

import httpx
import msgspec

from protocol import rest
from protocol.accounts import Login, Register, SignedIn
from protocol.categories import CATEGORIES_LIST
from protocol.client import Client
from protocol.errors import ErrorCode, MemoError
from protocol.memories import MEMORIES_CREATE, CreateMemory
from protocol.messages import MESSAGES_CREATE, CreateMessage
from protocol.records import Empty
from server.auth import Auth
from server.passwords import Passwords
from server.samples import CATEGORIES, SAMPLES, Sample
from storage.accounts import Accounts

EMAIL = "demo@example.com"


async def ensure_account(
    auth: Auth, accounts: Accounts, passwords: Passwords, password: str
) -> None:
    """Make the demo account, or give the one that is there `password`.

    Raises:
        MemoError: `conflict`, when it is there and signs in without a password.
    """
    request = Register(email=EMAIL, password=password, first_name="Dana", last_name="Moreno")
    try:
        await auth.create_user(request)
    except MemoError as error:
        if error.code is not ErrorCode.CONFLICT:
            raise
        known = await accounts.credentials(EMAIL)
        if known is None or known.password_hash is None:
            raise MemoError(
                ErrorCode.CONFLICT, f"the account {EMAIL} has no password, so it is left alone"
            ) from None
        fresh = await passwords.hash(password)
        await accounts.replace_password_hash(known.user_id, known.password_hash, fresh)


async def fill(url: str, password: str) -> int:
    """Sign in to the server at `url` and make the samples; returns how many there are.

    Those made before are left as they are, with whatever has been written in them since.

    Raises:
        MemoError: the server refuses the account or a memory.
    """
    signed_in = await _sign_in(url, password)
    made = 0
    async with Client(f"ws{url.removeprefix('http')}/ws", signed_in.access_token) as client:
        listed = (await client.call(CATEGORIES_LIST, Empty())).categories
        categories = {category.name: category.id for category in listed}
        for sample in SAMPLES:
            try:
                await _make(client, sample, signed_in.user.id, categories)
                made += 1
            except MemoError as error:
                if error.code is not ErrorCode.GONE:  # deleted, and so it stays
                    raise
    return made


async def _make(
    client: Client, sample: Sample, account_id: UUID, categories: Mapping[str, UUID]
) -> None:
    names = (CATEGORIES[tag] for tag in sample.tags if tag in CATEGORIES)
    category_id = categories.get(next(names, ""))
    request = _request(sample, account_id, category_id)
    memory = (await client.call(MEMORIES_CREATE, request)).memory
    for text in sample.thread:
        message_id = uuid5(memory.id, text)
        await client.call(MESSAGES_CREATE, CreateMessage(memory.id, text, id=message_id))


async def _sign_in(url: str, password: str) -> SignedIn:
    body = msgspec.json.encode(Login(email=EMAIL, password=password))
    headers = {"Content-Type": "application/json"}
    try:
        async with httpx.AsyncClient(timeout=30) as client:
            response = await client.post(f"{url}/api/auth/login", content=body, headers=headers)
        if response.status_code == 200:
            return msgspec.json.decode(response.content, type=SignedIn)
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        raise MemoError(ErrorCode.UNAVAILABLE, f"the server at {url} fails: {error}") from error
    try:
        refusal = msgspec.json.decode(response.content, type=rest.Refused).error
    except msgspec.MsgspecError:
        raise MemoError(ErrorCode.UNAVAILABLE, f"what runs at {url} is no such server") from None
    raise MemoError(
        ErrorCode.UNAUTHORIZED,
        f"the server at {url} refuses the demo account: {refusal.message} "
        "Does it use another database?",
    )


def _request(sample: Sample, account_id: UUID, category_id: UUID | None) -> CreateMemory:
    title, _, text = sample.text.strip().partition("\n")
    return CreateMemory(
        id=uuid5(account_id, title),
        title=title,
        description=sample.description,
        category_id=category_id,
        content={**sample.data, "text": text.strip()},
        tags=list(sample.tags),
        is_favorite=sample.favorite,
    )
