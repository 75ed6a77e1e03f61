"""Imports: the operations."""

from uuid import uuid4

from protocol.imports import Import, ImportList, Skipped, StartedImport, StartImport
from protocol.records import Empty, timestamp
from server.dispatch import Call
from server.takeout.bringing import MAX_SKIPPED, brief
from server.takeout.importing import Importing
from storage.imports import ImportRow, ImportRows


class Imports:
    """Binds `account.import` and `account.imports`."""

    def __init__(self, rows: ImportRows, importing: Importing) -> None:
        self._rows = rows
        self._importing = importing

    async def start(self, call: Call, request: StartImport) -> StartedImport:
        """Raises:
        MemoError: `not_found`, `conflict`.
        """
        row = await self._rows.begin(
            call.principal.account_id, request.id or uuid4(), request.file_id
        )
        self._importing.jobs.look()
        return StartedImport(import_id=row.id, status=row.status)

    async def list(self, call: Call, request: Empty) -> ImportList:  # noqa: ARG002
        rows = await self._rows.of(call.principal.account_id)
        return ImportList(imports=[_import(row) for row in rows])


def _import(row: ImportRow) -> Import:
    tally = row.tally
    return Import(
        id=row.id,
        file_id=row.file_id,
        status=row.status,
        memories=tally.get("memories", 0),
        present=tally.get("present", 0),
        files=tally.get("files", 0),
        versions=tally.get("versions", 0),
        skipped=[
            Skipped(path=brief(path), reason=brief(reason))
            for path, reason in tally.get("skipped", ())[:MAX_SKIPPED]
        ],
        error=row.error,
        created_at=timestamp(row.created_at),
        finished_at=timestamp(row.finished_at) if row.finished_at else None,
    )
