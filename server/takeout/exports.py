"""Exports: the operations, and `GET /api/exports/{id}`."""

from collections.abc import Sequence
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protocol import rest
from protocol.exports import Export, ExportList, StartedExport, StartExport
from protocol.records import Empty, timestamp
from server.auth import Auth
from server.dispatch import Call
from server.files.downloads import HARMLESS, Sending
from server.files.links import Links
from server.files.names import disposition
from server.rest import path_id, route, signed_in
from server.takeout.exporting import Exporting
from storage.exports import ExportRow, ExportRows


class Exports:
    """Binds `account.export` and `account.exports`."""

    def __init__(
        self, rows: ExportRows, exporting: Exporting, links: Links, auth: Auth, sending: Sending
    ) -> None:
        self._rows = rows
        self._exporting = exporting
        self._links = links
        self._auth = auth
        self._sending = sending

    async def start(self, call: Call, request: StartExport) -> StartedExport:
        """Raises:
        MemoError: `conflict`, `rate_limited`.
        """
        row = await self._rows.begin(call.principal.account_id, request.id or uuid4())
        self._exporting.jobs.look()
        return StartedExport(export_id=row.id, status=row.status)

    async def list(self, call: Call, request: Empty) -> ExportList:  # noqa: ARG002
        rows = await self._rows.of(call.principal.account_id)
        return ExportList(exports=[await self._export(call, row) for row in rows])

    async def _export(self, call: Call, row: ExportRow) -> Export:
        url = None
        if row.status == "ready":
            url, _ = await self._links.make(row.id, "export", call.principal.account_id)
        return Export(
            id=row.id,
            status=row.status,
            size=row.size,
            created_at=timestamp(row.created_at),
            expires_at=timestamp(row.expires_at),
            url=url,
        )

    # REST

    def routes(self) -> Sequence[Route]:
        """`GET` and `HEAD` of an archive."""
        return [route(rest.EXPORT, self._download)]

    async def _download(self, request: Request) -> Response:
        export_id = path_id(request)
        token = request.query_params.get("token")
        if token is not None:
            account_id = await self._links.read(token, export_id, "export")
        else:
            principal = await signed_in(request, self._auth, rest.EXPORT.permission)
            account_id = principal.account_id
        blob, digest, made_at = await self._rows.content(export_id, account_id)
        headers = {
            "Content-Type": "application/zip",
            "Content-Disposition": disposition(f"memo-{made_at:%Y-%m-%d}.zip", inline=False),
            "Cache-Control": "private, no-cache",
            **HARMLESS,
        }
        return self._sending.answer(request, blob, digest.hex(), headers)
