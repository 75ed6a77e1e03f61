"""Exports: archives of all that an account has, made in the background and kept for a week."""

from typing import Literal
from uuid import UUID

from protocol.operation import Operation
from protocol.records import Body, Empty, Timestamp

ExportStatus = Literal["preparing", "ready", "failed"]


class StartExport(Body, frozen=True):
    """`id` may be made by the client, so that a retry is harmless. While one is being prepared,
    that one is answered."""

    id: UUID | None = None


class StartedExport(Body, frozen=True):
    export_id: UUID
    status: ExportStatus


class Export(Body, frozen=True):
    """One archive. When it is `ready` it has its `size` in bytes, and a `url`: a path of this
    server with a token in it, good for an hour; list again for a fresh one."""

    id: UUID
    status: ExportStatus
    size: int | None
    created_at: Timestamp
    expires_at: Timestamp
    url: str | None = None


class ExportList(Body, frozen=True):
    """The newest first."""

    exports: list[Export]


ACCOUNT_EXPORT = Operation(
    "account.export",
    StartExport,
    StartedExport,
    None,
    "Have an archive made of all that the account has: memories as Markdown, JSON and Yjs"
    " documents, with their messages, files and versions. It is kept for a week; `exports.changed`"
    " tells when it is ready.",
    creates=True,
)
ACCOUNT_EXPORTS = Operation(
    "account.exports",
    Empty,
    ExportList,
    None,
    "The account's archives, those being made included.",
)
