"""`GET /api/files/{id}` and its thumbnail: bytes as they are, whole or a range of them."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from protocol import rest
from protocol.errors import ErrorCode, MemoError
from server.auth import Auth
from server.files.links import Links, Variant
from server.files.names import disposition
from server.files.pictures import MEDIA_TYPE
from server.files.ranges import Range, UnsatisfiableError, asked_for, unchanged
from server.files.types import is_shown
from server.metrics import Metrics
from server.rest import error_response, path_id, route, signed_in
from storage.blobs import Blob, Blobs
from storage.files import FileRows

SEND_SECONDS = 60.0  # for a client to take what was sent before

# Whatever is in a file, it is no page of this site: it runs nothing and loads nothing.
HARMLESS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "cross-origin",  # a link may be shown by the app's own site
    "Referrer-Policy": "no-referrer",
}


class Sending:
    """Answers with bytes of the store, all of them or the range that is asked for."""

    def __init__(self, blobs: Blobs, metrics: Metrics) -> None:
        self._blobs = blobs
        self._sent = metrics.file_bytes.labels("sent")

    def answer(
        self, request: Request, blob: Blob, sha256: str, headers: dict[str, str]
    ) -> Response:
        """The answer to a GET or HEAD of the blob, which has this digest in hexadecimal."""
        etag = f'"{sha256}"'
        headers = {**headers, "ETag": etag}
        if unchanged(request.headers, etag):
            return Response(status_code=304, headers=headers)
        size = blob.size
        try:
            part = asked_for(request.headers, size, etag)
        except UnsatisfiableError:
            return error_response(
                MemoError(
                    ErrorCode.INVALID_REQUEST,
                    f"the file has {size} bytes, and the range none of them",
                    details={"Range": f"the file has {size} bytes"},
                ),
                status=416,
                headers={"Content-Range": f"bytes */{size}"},
            )
        start, end = part or Range(0, size)
        headers |= {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        status = 200 if part is None else 206
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        return _Stream(self._counted(blob, start, end), status, headers)

    async def _counted(self, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
        async for chunk in self._blobs.read(blob, start, end):
            self._sent.inc(len(chunk))
            yield chunk


class Downloads:
    """Sends files to those who may see them."""

    def __init__(
        self, auth: Auth, links: Links, rows: FileRows, blobs: Blobs, metrics: Metrics
    ) -> None:
        self._auth = auth
        self._links = links
        self._rows = rows
        self._blobs = blobs
        self._sent = metrics.file_bytes.labels("sent")
        self._sending = Sending(blobs, metrics)

    def routes(self) -> list[Route]:
        """`GET` and `HEAD` of a file and of its thumbnail."""
        return [
            route(rest.FILE, self._file),
            route(rest.THUMBNAIL, self._thumbnail),
        ]

    async def _file(self, request: Request) -> Response:
        file_id = path_id(request)
        content = await self._rows.content(file_id, await self._reader(request, file_id, ""))
        file = content.file
        shown = disposition(file.filename, inline=is_shown(file.file_type))
        headers = self._headers(file.file_type, shown)
        return self._sending.answer(request, content.blob, file.sha256, headers)

    async def _thumbnail(self, request: Request) -> Response:
        file_id = path_id(request)
        account_id = await self._reader(request, file_id, "/thumbnail")
        content = await self._rows.content(file_id, account_id)
        if content.thumbnail is None:
            raise MemoError(ErrorCode.NOT_FOUND, "this file has no thumbnail, or none yet")
        etag = f'"{content.thumbnail.rpartition("/")[2]}"'
        headers = {**self._headers(MEDIA_TYPE, "inline"), "ETag": etag}
        if unchanged(request.headers, etag):
            return Response(status_code=304, headers=headers)
        body = b"".join([chunk async for chunk in self._blobs.read_object(content.thumbnail)])
        self._sent.inc(len(body))
        return Response(body, headers=headers)

    async def _reader(self, request: Request, file_id: UUID, variant: Variant) -> UUID:
        token = request.query_params.get("token")
        if token is not None:
            return await self._links.read(token, file_id, variant)
        principal = await signed_in(request, self._auth, rest.FILE.permission)
        return principal.account_id

    @staticmethod
    def _headers(media_type: str, shown: str) -> dict[str, str]:
        charset = "; charset=utf-8" if media_type.startswith("text/") else ""
        return {
            "Content-Type": media_type + charset,
            "Content-Disposition": shown,
            # Kept by the device, and asked for again: who may see a file changes.
            "Cache-Control": "private, no-cache",
            **HARMLESS,
        }


class _Stream(StreamingResponse):
    """A body that is sent as fast as the client takes it, and ends with a client that takes
    nothing any more."""

    def __init__(self, chunks: AsyncIterator[bytes], status: int, headers: dict[str, str]) -> None:
        super().__init__(chunks, status, headers)

    async def stream_response(self, send: Send) -> None:
        async def timed(message: object) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)  # type: ignore[arg-type]  # Starlette's own mapping

        await super().stream_response(timed)
