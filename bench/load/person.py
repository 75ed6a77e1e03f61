"""What somebody does with the app on one device."""

import asyncio
import string
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, TypeVar
from uuid import UUID, uuid4

from bench.load.account import Account, Accounts
from bench.load.stopwatch import Kind, Sample, Stopwatch
from protocol.accounts import SESSION_RENEW, RenewSession
from protocol.client import Client, Status
from protocol.documents import DOCUMENTS_OPEN
from protocol.errors import ErrorCode, MemoError
from protocol.feed import FEED_CHANGES, GetChanges
from protocol.memories import (
    MEMORIES_CREATE,
    MEMORIES_DELETE,
    MEMORIES_GET,
    MEMORIES_LIST,
    MEMORIES_UPDATE,
    CreateMemory,
    DeleteMemory,
    GetMemory,
    ListMemories,
    UpdateMemory,
)
from protocol.operation import Operation
from protocol.records import Body
from protocol.replica import Document
from protocol.rest import LOGIN, REFRESH, REGISTER
from protocol.session import Backoff

# Names of operations that the protocol does not name.
CONNECT = "connect"
EDIT = "edit"

FIRST_MEMORIES = 3
KEYSTROKES = (5, 25)  # at a stretch
KEYSTROKE_SECONDS = (0.1, 0.3)
PRESENCE_KEYSTROKES = 5  # between two announcements of the cursor
OTHER_DOCUMENT_SHARE = 0.3  # of the times that somebody begins to type
REFRESH_SECONDS = 600.0  # well before the token's end
CLOSE_SECONDS = 5.0

LETTERS = string.ascii_lowercase + "     "

Req = TypeVar("Req", bound=Body)
Res = TypeVar("Res", bound=Body)


class Person:
    """One device of an account. Every second one is the second device of the account before.

    The methods of MIX are what the person does, one at a time, between `arrive` and `leave`. A
    refusal is in the samples and ends only what was being done. `host` is the server's address,
    like `http://127.0.0.1:8000`. It is used from one event loop.
    """

    def __init__(self, host: str, accounts: Accounts, random: Random) -> None:
        self._url = f"ws{host.removeprefix('http')}/ws"
        self._accounts = accounts
        self._random = random
        self._stopwatch = Stopwatch()
        self._account = Account()
        self._access_token = ""
        self._refresh_token = ""
        self._signed_in_at = 0.0
        self._client: Client | None = None
        self._cursor: str | None = None
        self._memories: dict[UUID, None] = {}
        self._document: Document | None = None

    def samples(self) -> list[Sample]:
        """What was done since the last time."""
        return self._stopwatch.take()

    async def arrive(self) -> None:
        """Sign in, connect, and show what there is. What the server has no time for is asked
        again, for as long as it takes."""
        await self._insist(self._sign_in)
        await self._insist(self._connect)
        await self._insist(self._catch_up)
        await self._insist(self._look)
        while len(self._memories) < FIRST_MEMORIES:
            await self._insist(self._create)

    async def leave(self) -> None:
        """Say goodbye."""
        client, self._client, self._document = self._client, None, None
        if client is not None:
            async with asyncio.timeout(CLOSE_SECONDS):
                await client.close()

    async def write(self) -> None:
        """Type for a while, each keystroke an edit that is waited for."""
        await self._unless_refused(self._write)

    async def catch_up(self) -> None:
        """Ask what changed on other devices."""
        await self._unless_refused(self._catch_up)

    async def look(self) -> None:
        """List the memories."""
        await self._unless_refused(self._look)

    async def read(self) -> None:
        """Read a memory."""
        await self._unless_refused(self._read)

    async def create(self) -> None:
        """Make a memory."""
        await self._unless_refused(self._create)

    async def rename(self) -> None:
        """Give a memory another title."""
        await self._unless_refused(self._rename)

    async def favour(self) -> None:
        """Make a memory a favourite, or no longer."""
        await self._unless_refused(self._favour)

    async def delete(self) -> None:
        """Delete a memory, if there are enough."""
        await self._unless_refused(self._delete)

    async def reconnect(self) -> None:
        """Come back with the cursor, as from a tunnel."""
        await self._unless_refused(self._reconnect)

    # Signing in.

    async def _sign_in(self) -> None:
        account = self._accounts.find()
        if account is None:
            with self._timing("REST", REGISTER.path):
                self._account, signed_in = await self._accounts.sign_up()
        else:
            with self._timing("REST", LOGIN.path):
                signed_in = await self._accounts.sign_in(account)
            self._account = account
        self._keep(signed_in.access_token, signed_in.refresh_token)

    async def _stay_signed_in(self) -> None:
        if time.monotonic() - self._signed_in_at < REFRESH_SECONDS:
            return
        with self._timing("REST", REFRESH.path):
            fresh = await self._accounts.refresh(self._refresh_token)
        self._keep(fresh.access_token, fresh.refresh_token)
        await self._call(SESSION_RENEW, RenewSession(fresh.access_token))

    def _keep(self, access_token: str, refresh_token: str) -> None:
        self._access_token = access_token
        self._refresh_token = refresh_token
        self._signed_in_at = time.monotonic()

    # The connection.

    async def _connect(self) -> None:
        await self.leave()
        self._client = Client(self._url, self._token)
        with self._timing("socket", CONNECT):
            await self._client.__aenter__()
            await self._client.connected()

    async def _token(self) -> str:
        return self._access_token

    async def _reconnect(self) -> None:
        await self._connect()
        await self._catch_up()

    async def _call(
        self, operation: Operation[Req, Res], body: Req, memory_id: UUID | None = None
    ) -> Res:
        assert self._client is not None
        with self._timing("socket", operation.name, memory_id):
            return await self._client.call(operation, body)

    # Memories.

    async def _catch_up(self) -> None:
        more = True
        while more:
            changes = await self._call(FEED_CHANGES, GetChanges(self._cursor))
            for item in changes.items:
                if item.kind != "memory":
                    continue
                if item.memory is None:
                    self._forget(item.id)
                else:
                    self._memories[item.id] = None
            self._cursor, more = changes.cursor, changes.more

    async def _look(self) -> None:
        page = await self._call(MEMORIES_LIST, ListMemories())
        self._memories.update((memory.id, None) for memory in page.memories)

    async def _read(self) -> None:
        memory_id = self._any_memory()
        await self._call(MEMORIES_GET, GetMemory(memory_id), memory_id)

    async def _create(self) -> None:
        memory_id = uuid4()
        text = self._words(200)
        body = CreateMemory(memory_id, title=self._words(20), content={"text": text}, tags=["load"])
        await self._call(MEMORIES_CREATE, body)
        self._memories[memory_id] = None

    async def _rename(self) -> None:
        memory_id = self._any_memory()
        change = UpdateMemory(memory_id, title=self._words(20))
        await self._call(MEMORIES_UPDATE, change, memory_id)

    async def _favour(self) -> None:
        memory_id = self._any_memory()
        change = UpdateMemory(memory_id, is_favorite=self._random.random() < 0.5)
        await self._call(MEMORIES_UPDATE, change, memory_id)

    async def _delete(self) -> None:
        if len(self._memories) <= FIRST_MEMORIES:
            return
        memory_id = self._any_memory()
        self._account.deleted.add(memory_id)
        await self._call(MEMORIES_DELETE, DeleteMemory(memory_id), memory_id)
        self._forget(memory_id)

    def _any_memory(self) -> UUID:
        return self._random.choice(list(self._memories))

    def _forget(self, memory_id: UUID) -> None:
        self._memories.pop(memory_id, None)
        if self._document is not None and self._document.memory_id == memory_id:
            self._put_away()

    # Documents.

    async def _write(self) -> None:
        document = await self._opened()
        try:
            for keystroke in range(self._random.randint(*KEYSTROKES)):
                if keystroke % PRESENCE_KEYSTROKES == 0:
                    document.set_presence({"name": "Load Test", "cursor": len(document.text)})
                with self._timing("socket", EDIT, document.memory_id):
                    document.text += self._random.choice(LETTERS)
                    await document.saved()
                await asyncio.sleep(self._random.uniform(*KEYSTROKE_SECONDS))
            document.set_presence(None)
        except MemoError:
            self._put_away()  # a document that was refused an edit takes no more
            raise

    async def _opened(self) -> Document:
        """The document to write in: the one that is open, or now and then another."""
        if self._document is not None:
            if self._random.random() >= OTHER_DOCUMENT_SHARE:
                return self._document
            self._put_away()
        assert self._client is not None
        memory_id = self._any_memory()
        with self._timing("socket", DOCUMENTS_OPEN.name, memory_id):
            document = await self._client.open(memory_id)
            try:
                await document.synced()
            except MemoError:
                document.close()
                raise
        self._document = document
        return document

    def _put_away(self) -> None:
        if self._document is not None:
            self._document.close()
            self._document = None

    def _words(self, length: int) -> str:
        return "".join(self._random.choices(LETTERS, k=length))

    # Refusals.

    async def _unless_refused(self, action: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._stay_signed_in()
            if self._client is None or self._client.status is Status.CLOSED:
                await self._connect()
            if not self._memories:
                await self._create()
            await action()
        except (MemoError, _Deleted):
            pass

    async def _insist(self, action: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff()
        while True:
            try:
                return await action()
            except MemoError as error:
                wait = backoff.next() if error.retry_after is None else error.retry_after
                await asyncio.sleep(wait)

    @contextmanager
    def _timing(self, kind: Kind, name: str, memory_id: UUID | None = None) -> Iterator[None]:
        """Time what is done within.

        Raises:
            MemoError: as raised within.
            _Deleted: that was the right answer. It gives no sample, as it may come at once.
        """
        with self._stopwatch.timing(kind, name):
            try:
                yield
            except MemoError as error:
                missing = error.code in (ErrorCode.GONE, ErrorCode.NOT_FOUND)
                if memory_id is None or not missing or memory_id not in self._account.deleted:
                    raise
                self._forget(memory_id)
                raise _Deleted from None


class _Deleted(Exception):
    """What was asked for had been deleted on the account's other device."""


Action = Callable[[Person], Coroutine[Any, Any, None]]

# How often each is done, in relation to the others.
MIX: tuple[tuple[Action, int], ...] = (
    (Person.write, 24),
    (Person.catch_up, 12),
    (Person.look, 12),
    (Person.read, 12),
    (Person.create, 4),
    (Person.rename, 4),
    (Person.favour, 4),
    (Person.delete, 1),
    (Person.reconnect, 2),
)
