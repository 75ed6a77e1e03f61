"""What a device keeps between runs: its documents, the edits not acked yet, and the requests that
wait for a connection.

A store is a log of updates a document, and one line of requests. Local edits are recorded as
pending before they are sent and settled when the server acks them; updates of others are settled
from the start. One client uses a store at a time.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from uuid import UUID

import msgspec

from protocol.errors import ErrorCode, MemoError
from protocol.queue import QueuedRequest, RequestStore


class Kept(msgspec.Struct, frozen=True):
    """A document as the store has it. `updates` are all of them, pending ones included, in the
    order they were recorded; `pending` are ids and updates. With no epoch it was never opened."""

    epoch: str | None = None
    offset: int = 0
    updates: Sequence[bytes] = ()
    pending: Sequence[tuple[int, bytes]] = ()


class OfflineStore(RequestStore, Protocol):
    """What a client needs of a store.

    Every method is one transaction: the position never says more than the updates hold. They
    raise MemoError (`internal`) when the store cannot do its work.
    """

    def load(self, memory_id: UUID) -> Kept:
        """What is kept of a document; nothing, for one that is not known."""

    def record(self, memory_id: UUID, update: bytes) -> int:
        """Keep a local edit as pending. Its id is larger than every earlier one."""

    def settle(self, memory_id: UUID, ids: range, epoch: str, offset: int) -> None:
        """The pending edits with these ids are committed; the document stands at `offset`."""

    def receive(self, memory_id: UUID, updates: Sequence[bytes], epoch: str, offset: int) -> None:
        """Keep updates of others; with them the document stands at `offset`."""

    def compact(self, memory_id: UUID, state: bytes, epoch: str, offset: int) -> None:
        """Replace all settled updates by `state`, which has integrated them up to `offset`."""

    def forget(self, memory_id: UUID) -> None:
        """Keep nothing of a document, its pending edits included."""

    def close(self) -> None:
        """Let go of what the store holds open. It cannot be used afterwards."""


class MemoryStore:
    """A store that lives as long as the process: for tests, and clients without a disk."""

    def __init__(self) -> None:
        self._positions: dict[UUID, tuple[str, int]] = {}
        self._settled: dict[UUID, dict[int, bytes]] = {}
        self._pending: dict[UUID, dict[int, bytes]] = {}
        self._requests: dict[int, QueuedRequest] = {}
        self._last_id = 0

    def load(self, memory_id: UUID) -> Kept:
        epoch, offset = self._positions.get(memory_id, (None, 0))
        pending = self._pending.get(memory_id, {})
        everything = self._settled.get(memory_id, {}) | pending
        return Kept(
            epoch,
            offset,
            [everything[number] for number in sorted(everything)],
            sorted(pending.items()),
        )

    def record(self, memory_id: UUID, update: bytes) -> int:
        return self._append(self._pending, memory_id, update)

    def settle(self, memory_id: UUID, ids: range, epoch: str, offset: int) -> None:
        pending = self._pending.get(memory_id, {})
        for number in [number for number in pending if number in ids]:
            self._settled.setdefault(memory_id, {})[number] = pending.pop(number)
        self._positions[memory_id] = (epoch, offset)

    def receive(self, memory_id: UUID, updates: Sequence[bytes], epoch: str, offset: int) -> None:
        for update in updates:
            self._append(self._settled, memory_id, update)
        self._positions[memory_id] = (epoch, offset)

    def compact(self, memory_id: UUID, state: bytes, epoch: str, offset: int) -> None:
        self._settled[memory_id] = {}
        self.receive(memory_id, [state], epoch, offset)

    def forget(self, memory_id: UUID) -> None:
        self._positions.pop(memory_id, None)
        self._settled.pop(memory_id, None)
        self._pending.pop(memory_id, None)

    def enqueue(self, operation: str, body: bytes, queued_at: str) -> QueuedRequest:
        self._last_id += 1
        request = QueuedRequest(self._last_id, operation, body, queued_at)
        self._requests[request.number] = request
        return request

    def queued(self) -> Sequence[QueuedRequest]:
        return list(self._requests.values())

    def dequeue(self, number: int) -> bool:
        return self._requests.pop(number, None) is not None

    def close(self) -> None:
        """Nothing is held open."""

    def _append(self, updates: dict[UUID, dict[int, bytes]], memory_id: UUID, update: bytes) -> int:
        self._last_id += 1
        updates.setdefault(memory_id, {})[self._last_id] = update
        return self._last_id


_SCHEMA = """
CREATE TABLE IF NOT EXISTS positions (
    memory_id  TEXT PRIMARY KEY,
    epoch      TEXT NOT NULL,
    log_offset INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS updates (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    memory_id  TEXT NOT NULL,
    pending    INTEGER NOT NULL,
    payload    BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS updates_memory ON updates (memory_id, id);
CREATE TABLE IF NOT EXISTS requests (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    operation  TEXT NOT NULL,
    body       BLOB NOT NULL,
    queued_at  TEXT NOT NULL
);
"""


class SqliteStore:
    """A store in one SQLite file. What it has recorded survives the end of the process.

    Its methods block for as long as a small write takes, tens of microseconds.

    Raises:
        MemoError: `conflict`, when another process has the file open; `internal`, when it cannot
            be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
            # The lock is kept until close: two clients that move one position would lose updates.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise MemoError(
                    ErrorCode.CONFLICT,
                    f"another process uses the offline store {path.name}; give each its own",
                ) from None
            raise _failure(error) from None
        except sqlite3.Error as error:
            raise _failure(error) from None

    def load(self, memory_id: UUID) -> Kept:
        with self._transaction():
            position = self._database.execute(
                "SELECT epoch, log_offset FROM positions WHERE memory_id = ?", (str(memory_id),)
            ).fetchone()
            rows = self._database.execute(
                "SELECT id, payload, pending FROM updates WHERE memory_id = ? ORDER BY id",
                (str(memory_id),),
            ).fetchall()
        epoch, offset = position or (None, 0)
        return Kept(
            epoch,
            offset,
            [payload for _, payload, _ in rows],
            [(number, payload) for number, payload, pending in rows if pending],
        )

    def record(self, memory_id: UUID, update: bytes) -> int:
        with self._transaction():
            return self._append(memory_id, update, pending=True)

    def settle(self, memory_id: UUID, ids: range, epoch: str, offset: int) -> None:
        with self._transaction():
            self._database.execute(
                "UPDATE updates SET pending = 0 WHERE memory_id = ? AND id >= ? AND id < ?",
                (str(memory_id), ids.start, ids.stop),
            )
            self._move(memory_id, epoch, offset)

    def receive(self, memory_id: UUID, updates: Sequence[bytes], epoch: str, offset: int) -> None:
        with self._transaction():
            for update in updates:
                self._append(memory_id, update, pending=False)
            self._move(memory_id, epoch, offset)

    def compact(self, memory_id: UUID, state: bytes, epoch: str, offset: int) -> None:
        with self._transaction():
            self._database.execute(
                "DELETE FROM updates WHERE memory_id = ? AND NOT pending", (str(memory_id),)
            )
            self._append(memory_id, state, pending=False)
            self._move(memory_id, epoch, offset)

    def forget(self, memory_id: UUID) -> None:
        with self._transaction():
            for table in ("positions", "updates"):
                self._database.execute(
                    f"DELETE FROM {table} WHERE memory_id = ?", (str(memory_id),)
                )

    def enqueue(self, operation: str, body: bytes, queued_at: str) -> QueuedRequest:
        with self._transaction():
            number = self._database.execute(
                "INSERT INTO requests (operation, body, queued_at) VALUES (?, ?, ?)",
                (operation, body, queued_at),
            ).lastrowid
        assert number is not None
        return QueuedRequest(number, operation, body, queued_at)

    def queued(self) -> Sequence[QueuedRequest]:
        with self._transaction():
            rows = self._database.execute(
                "SELECT number, operation, body, queued_at FROM requests ORDER BY number"
            ).fetchall()
        return [QueuedRequest(*row) for row in rows]

    def dequeue(self, number: int) -> bool:
        with self._transaction():
            return (
                self._database.execute("DELETE FROM requests WHERE number = ?", (number,)).rowcount
                == 1
            )

    def close(self) -> None:
        self._database.close()

    def _append(self, memory_id: UUID, update: bytes, *, pending: bool) -> int:
        number = self._database.execute(
            "INSERT INTO updates (memory_id, pending, payload) VALUES (?, ?, ?)",
            (str(memory_id), pending, update),
        ).lastrowid
        assert number is not None
        return number

    def _move(self, memory_id: UUID, epoch: str, offset: int) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO positions (memory_id, epoch, log_offset) VALUES (?, ?, ?)",
            (str(memory_id), epoch, offset),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise _failure(error) from None


def _failure(error: sqlite3.Error) -> MemoError:
    return MemoError(ErrorCode.INTERNAL, f"the offline store failed: {error}")
