"""A device that writes all the while, moves between the nodes, and notes what it is told."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import httpx
from pycrdt import Map

from protocol.channel import Phase
from protocol.client import Client, Status
from protocol.errors import CloseCode, ErrorCode, MemoError
from protocol.frames import Ack, Awareness, Push, Update
from protocol.offline import SqliteStore
from protocol.replica import Document
from protocol.session import Backoff, SessionEvent
from protocol.signal import Signal
from tests.faults.ledger import Ledger, Told
from tests.faults.node import Node

# The client's own remedy against a server that owes an answer would hide that it does.
NO_HEARTBEAT = 3600.0
WRITE_SECONDS = (0.02, 0.2)  # between two edits of a device
MAX_CHARACTERS = 400  # of a document's text; then more is deleted than written

# How many edits each device (as it is called in the documents) has made in each document.
Counts = dict[tuple[UUID, str], int]


class Witness(Client):
    """A client that tells the ledger what it is told."""

    def __init__(
        self,
        url: str,
        token: Callable[[], Awaitable[str]],
        *,
        name: str,
        node: str,
        ledger: Ledger,
        refused: Callable[[], None],
        random: Random,
        store: SqliteStore | None,
    ) -> None:
        super().__init__(
            url,
            token,
            device_id=name,
            store=store,
            backoff=Backoff(0.05, 1.0, random.uniform),
            heartbeat=NO_HEARTBEAT,
        )
        self._name = name
        self._node = node
        self._ledger = ledger
        self._refused = refused
        self._number = ledger.connection()
        self._sent: dict[tuple[int, int], bytes] = {}  # not acked on this connection
        self._own: set[tuple[UUID, bytes]] = set()
        self._acked: set[tuple[UUID, bytes]] = set()  # on this connection

    async def ended(self) -> None:
        """Return when the client has given up or was closed."""
        assert self._task is not None
        await asyncio.wait([self._task])

    def send(self, frame: Update | Awareness) -> None:
        if isinstance(frame, Update):
            self._sent[frame.channel, frame.client_seq] = frame.update
            self._own.add((self._channels[frame.channel].memory_id, frame.update))
        super().send(frame)

    def _happened(self, event: SessionEvent) -> None:
        document = self._channels.get(event.channel) if isinstance(event, Ack | Push) else None
        if document is not None:
            if isinstance(event, Ack):
                self._note_ack(event, document.memory_id, document.position[0])
            elif isinstance(event, Push):
                self._note_push(event, document.memory_id)
        super()._happened(event)

    def _note_ack(self, ack: Ack, document_id: UUID, epoch: str | None) -> None:
        update = self._sent.pop((ack.channel, ack.client_seq), None)
        if update is None:
            self._ledger.wrong.append(f"{self._name} was acked what it has not sent: {ack}")
            return
        self._acked.add((document_id, update))
        self._ledger.acked(
            Told(
                self._name,
                self._number,
                self._node,
                ack.channel,
                ack.client_seq,
                document_id,
                epoch,
                ack.offset,
                update,
                time.time(),
            )
        )

    def _note_push(self, push: Push, document_id: UUID) -> None:
        for update in push.updates:
            if (key := (document_id, update)) in self._own:
                self._ledger.came_back(self._name, document_id, update, acked=key in self._acked)

    def _disconnected(self) -> None:
        self._number = self._ledger.connection()
        self._sent.clear()
        self._acked.clear()
        super()._disconnected()

    def _meaning(self, code: CloseCode) -> MemoError:
        if code is CloseCode.UNAUTHORIZED:
            self._refused()
        return super()._meaning(code)


class Device:
    """An app on a device. `keep` runs it, on the first of `nodes` to begin with.

    With a `store` what was typed survives the app; without, `name` changes with each start,
    because what had not been acked is gone.
    """

    def __init__(
        self,
        name: str,
        nodes: Sequence[Node],
        *,
        login: dict[str, str],
        documents: Sequence[UUID],
        ledger: Ledger,
        random: Random,
        store: Path | None,
    ) -> None:
        self.node = nodes[0]
        self.documents: dict[UUID, Document] = {}
        self.store = store
        self._given_name = name
        self._nodes = nodes
        self._login = login
        self._document_ids = documents
        self._ledger = ledger
        self._random = random
        self._client: Witness | None = None
        self._token: str | None = None
        self._starts = 0
        self._counts: dict[UUID, int] = {}
        self._restart = asyncio.Event()
        self._started = Signal()
        self._calm = False

    @property
    def name(self) -> str:
        return self._given_name if self.store else f"{self._given_name}.{self._starts}"

    # Its life

    async def keep(self) -> None:
        """Run the app, start it again when it is asked to or when the server has sent it away,
        until cancelled.

        Raises:
            AssertionError: the client gave up for a reason that starting again does not mend.
        """
        while True:
            store = SqliteStore(self.store) if self.store else None
            self._starts += 1
            if store is None:
                self._counts.clear()
            try:
                async with Witness(
                    self.node.socket_url,
                    self._access,
                    name=self.name,
                    node=self.node.name,
                    ledger=self._ledger,
                    refused=self._forget_token,
                    random=self._random,
                    store=store,
                ) as client:
                    self._client = client
                    self.documents = {
                        document_id: await client.open(document_id)
                        for document_id in self._document_ids
                    }
                    self._restart.clear()
                    self._started.notify()
                    await self._until_over(client)
                    error = client.error if client.status is Status.CLOSED else None
            finally:
                self.documents = {}
                if store is not None:
                    store.close()
            if error is not None:
                # While its clock is off a node refuses tokens that are good, and the client then
                # takes no second try to be of use.
                if error.code is not ErrorCode.UNAUTHORIZED:
                    raise AssertionError(f"{self.name} gave up: {error!r}")
                await asyncio.sleep(0.2)

    async def _until_over(self, client: Witness) -> None:
        over = [asyncio.create_task(client.ended()), asyncio.create_task(self._restart.wait())]
        try:
            await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in over:
                task.cancel()

    async def restart(self, timeout: float = 30.0) -> None:
        """Close the app and start it again, on the node that `move` chose."""
        starts = self._starts
        self._restart.set()
        await self._started.until(
            lambda: self._starts > starts and bool(self.documents),
            timeout,
            lambda: f"{self.name} was not started again",
        )

    def move(self) -> None:
        """From the next start on, use another node."""
        self.node = self._random.choice(self._nodes)

    async def _access(self) -> str:
        """The access token at hand, or a new one."""
        if self._token is None:
            try:
                async with httpx.AsyncClient(base_url=self.node.url, timeout=8) as client:
                    reply = await client.post("/api/auth/login", json=self._login)
            except httpx.TransportError as error:
                raise MemoError(ErrorCode.UNAVAILABLE, f"no login: {error!r}") from None
            if reply.status_code != 200:
                raise MemoError(ErrorCode.UNAVAILABLE, f"no login: {reply.text}")
            token: str = reply.json()["accessToken"]
            self._token = token
        return self._token

    def _forget_token(self) -> None:
        self._token = None
        self._ledger.refusals += 1

    # Writing

    async def write(self) -> None:
        """Edit the documents, one after the other by chance, until cancelled."""
        while True:
            await asyncio.sleep(self._random.uniform(*WRITE_SECONDS))
            if not self._calm:
                self.edit(self._random.choice(self._document_ids))

    def rest(self, calm: bool = True) -> None:
        """Write no more of itself; or go on."""
        self._calm = calm

    def edit(self, document_id: UUID, words: str | None = None) -> None:
        """Insert `words` somewhere, or something short; or delete a little. Counts the edit.
        Without the document, nothing happens."""
        document, random = self.documents.get(document_id), self._random
        if document is None or document.channel.phase is Phase.CLOSED:
            return  # nobody sees it any more
        text, length = document.text, len(document.text)
        number = self._counts.get(document_id, 0) + 1
        with document.doc.transaction():
            if words is None and random.random() < (0.3 if length < MAX_CHARACTERS else 0.8):
                start = random.randrange(length + 1)
                del text[start : min(length, start + random.randint(1, 20))]
            else:
                text.insert(random.randint(0, length), words or f"<{self.name}:{number}>")
            counts(document)[self.name] = number
        self._counts[document_id] = number

    def erase(self, document_id: UUID) -> None:
        """Delete all of a document's text."""
        document = self.documents.get(document_id)
        if document is not None and document.channel.phase is not Phase.CLOSED:
            del document.text[0 : len(document.text)]
            self.edit(document_id, ".")

    def written(self) -> Counts:
        """What it has written so far."""
        return {(document_id, self.name): n for document_id, n in self._counts.items()}

    def lacks(self, counts_of_all: Counts) -> Iterator[str]:
        """What it does not have of what was written, in words."""
        if not self.documents:
            yield f"{self.name} on {self.node.name} is not started"
        for document_id, document in self.documents.items():
            if document.error is not None:
                raise AssertionError(
                    f"{self.name} cannot go on with {document_id}: {document.error}"
                )
            seen = counts(document)
            behind = [
                f"{int(seen.get(name, 0))} of {number} by {name}"
                for (of, name), number in counts_of_all.items()
                if of == document_id and seen.get(name, 0) < number
            ]
            if behind:
                yield f"{self.describe(document)}: has {', '.join(behind)}"

    def unsaved(self) -> Iterator[str]:
        """What of its own is not acked, in words."""
        for document in self.documents.values():
            if document.pending:
                yield f"{self.describe(document)}: {document.pending} updates are not acked"

    def describe(self, document: Document) -> str:
        """Where it stands with a document: what the watchdog says of one that hangs."""
        client, channel = self._client, document.channel
        assert client is not None
        return (
            f"{self.name} on {self.node.name}, {client.status.value} ({client.error}), document "
            f"{document.memory_id} {channel.phase.value} at {channel.offset}, "
            f"awaiting {channel.awaited}"
        )

    def transport(self) -> asyncio.Transport | None:
        """Its socket, if it has one."""
        connection = self._client._connection if self._client else None
        return connection._socket.transport if connection else None


def counts(document: Document) -> "Map[Any]":
    """In a document: how many edits each device has made in it."""
    found: Map[Any] = document.doc.get("edits", type=Map)
    return found
