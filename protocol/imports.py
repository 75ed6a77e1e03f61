"""Imports: archives that were exported, brought back into an account in the background."""

from typing import Literal
from uuid import UUID

from protocol.operation import Operation, Permission
from protocol.records import Body, Empty, Timestamp

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
    """Something of the archive that was left out, and why; both are cut to 200 characters."""

    path: str
    reason: str


class Import(Body, frozen=True):
    """What came of an archive so far. `present` are the memories that were there already, which
    are left as they are; `files` and `versions` are those that came. `error` says why one `failed`:
    what was brought before stays. Of what was `skipped`, the first five hundred are here."""

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


ACCOUNT_IMPORT = Operation(
    "account.import",
    StartImport,
    StartedImport,
    Permission.WRITE_MEMORIES,
    "Bring an archive of `account.export`, of this or another server, into the account: its own"
    " memories with their documents as they were, messages, files, versions and categories. What is"
    " there already stays as it is, so that nothing is doubled.",
    creates=True,
)
ACCOUNT_IMPORTS = Operation(
    "account.imports",
    Empty,
    ImportList,
    None,
    "How far the account's imports have come, and what was left out.",
)
