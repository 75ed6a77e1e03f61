"""Yjs client ids that devices show before they write with them, kept for their accounts.

A client id belongs to the account that first writes with it. Presence shows a device's id to all
who have the document open, and before the device's first edit that is nobody's yet. Were another
account to write with it then, the device's own edits, made offline perhaps, would name clocks that
are taken. So an id is reserved once it is shown where others may write.
"""

from collections.abc import Iterable
from typing import Protocol
from uuid import UUID

from protocol.errors import MemoError
from sync.interfaces import Log, Observer
from sync.tasks import Tasks

MOST = 4  # of one connection: a device shows one, whoever shows many has not written with them


class Claims(Protocol):
    """Whose ids are whose, and which of them have been written with."""

    def owner_known(self, client: int) -> bool: ...

    def used(self, client: int) -> bool: ...


class Reservations:
    """The reserved client ids of one document, as one node knows them.

    `stored` are those that the database has, of which some may have been used since.
    """

    def __init__(
        self,
        document_id: UUID,
        stored: Iterable[int],
        claims: Claims,
        *,
        log: Log,
        tasks: Tasks,
        observer: Observer,
    ) -> None:
        self._document_id = document_id
        self._stored = set(stored)
        self._claims = claims
        self._log = log
        self._tasks = tasks
        self._observer = observer
        self._shown: dict[int, UUID] = {}
        self._due: dict[int, UUID] = {}  # those of `_shown` that the database does not have
        self._storing = False

    def permits(self, client: int, account_id: UUID | None) -> bool:
        """Whether the account may be the first to write with this id, as far as this node knows:
        of those that the database has, the commit knows."""
        return self._shown.get(client, account_id) == account_id

    def show(self, clients: Iterable[int], account_id: UUID) -> None:
        """A device of the account, which may write, shows these ids."""
        for client in list(clients)[:MOST]:
            known = client in self._shown or client in self._stored
            if not known and not self._claims.owner_known(client):
                self._shown[client] = self._due[client] = account_id
        self.store()

    def store(self) -> None:
        """Keep what is not kept yet: others may see it now."""
        if self._due and not self._storing:
            self._storing = True
            self._tasks.start(self._store())

    def withdraw(self, clients: Iterable[int]) -> None:
        """A device that shows them is gone. What the database has stays reserved."""
        for client in clients:
            if client in self._due:
                del self._due[client], self._shown[client]

    async def _store(self) -> None:
        used = [client for client in self._stored if self._claims.used(client)]
        due = {each: owner for each, owner in self._due.items() if not self._claims.used(each)}
        try:
            stored = await self._log.reserve(self._document_id, due, used)
        except MemoError as error:
            # What is shown next tries again. Until then this node alone knows.
            self._observer.failed("reserve", self._document_id, error)
            return
        finally:
            self._storing = False
        self._stored.difference_update(used)
        if stored:
            self._stored.update(due)
            for client in due:
                self._due.pop(client, None)
                self._shown.pop(client, None)
