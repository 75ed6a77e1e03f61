"""Imports: archives that were exported, brought back into an account in the background."""

from typing import Literal
from uuid import UUID

from protocol.records import Body, Timestamp

ImportStatus = Literal["running", "done", "failed"]


class StartImport(Body, frozen=True):
    """`fileId` is a file of the account's: the archive, uploaded as any file is. `id` may be made
    by the client, so that a retry is harmless. One import of an account runs at a time."""

    file_id: UUID
    id: UUID | None = None


class StartedImport(Body, frozen=True):
    import_id: UUID
    status: ImportStatus


class Skipped(Body, frozen=True):
    """Something of the archive that was left out, and why."""

    path: str
    reason: str


class Import(Body, frozen=True):
    """What came of an archive so far. `present` are the memories that were there already, which
    are left as they are. `error` says why one `failed`; of what was `skipped`, the first thousand
    are here."""

    id: UUID
    file_id: UUID
    status: ImportStatus
    memories: int
    present: int
    files: int
    versions: int
    skipped: list[Skipped]
    error: str | None
    created_at: Timestamp
    finished_at: Timestamp | None


class ImportList(Body, frozen=True):
    """The newest first."""

    imports: list[Import]
