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
        self._shown: dict[int, UUID] = {}  # and not in the database
        self._due: dict[int, UUID] = {}  # those of them that it is to have
        self._alone: dict[int, UUID] = {}  # and those that it need not: nobody else may write
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
        self._store()

    def seen_by(self, account_id: UUID | None) -> None:
        """Somebody has come who sees what is shown; None: people of another node."""
        seen = {client: owner for client, owner in self._alone.items() if owner != account_id}
        for client in seen:
            del self._alone[client]
        self._due |= seen
        self._store()

    def withdraw(self, clients: Iterable[int]) -> None:
        """A device that shows them is gone. What the database has stays reserved."""
        for client in clients:
            for each in (self._shown, self._due, self._alone):
                each.pop(client, None)

    def _store(self) -> None:
        if self._due and not self._storing:
            self._storing = True
            self._tasks.start(self._reserve())

    async def _reserve(self) -> None:
        try:
            while due := dict(self._due):
                used = [client for client in self._stored if self._claims.used(client)]
                shared = await self._log.reserve(self._document_id, due, used)
                self._stored.difference_update(used)
                for client, owner in due.items():
                    if shared:
                        self._stored.add(client)
                        self._shown.pop(client, None)
                    elif client in self._due:
                        self._alone[client] = owner
                    self._due.pop(client, None)
        except MemoError as error:
            # It is tried again with what is shown or seen next. Until then this node alone knows.
            self._observer.failed("reserve", self._document_id, error)
        finally:
            self._storing = False
