"""tus 1.0 at `/api/uploads`: uploads that go on where they broke off.

An upload's address ends in the id of the file that it becomes. Extensions: creation,
creation-with-upload, termination, expiration, checksum.
"""

import base64
import binascii
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from email.utils import formatdate
from uuid import UUID, uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protocol import rest
from protocol.errors import ErrorCode, MemoError
from protocol.files import File, UploadForm
from server.auth import Auth
from server.files.bodies import chunks
from server.files.names import NAMELESS, kept
from server.files.uploads import Checksum, ChecksumMismatchError, HeldError, Uploads, expiry
from server.rest import error_response, invalid_request, path_id, signed_in
from storage import outage
from storage.uploads import Intake, Upload

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,expiration,checksum"
DIGESTS = {"sha1": 20, "sha256": 32, "md5": 16}

_SHARED = {"Tus-Resumable": VERSION, "Cache-Control": "no-store"}
_METADATA = re.compile(r"[!-+\--~]+( [A-Za-z0-9+/=]*)?", re.ASCII)
_MAX_METADATA = 4096

Handler = Callable[[Request], Awaitable[Response]]


class WrongVersionError(MemoError):
    """The client speaks another version of tus."""


class WrongTypeError(MemoError):
    """The body is not what tus sends."""


_STATUSES: Mapping[type[MemoError], int] = {
    ChecksumMismatchError: 460,
    HeldError: 423,
    WrongTypeError: 415,
    WrongVersionError: 412,
}


class Tus:
    """Takes files in, piece by piece."""

    def __init__(self, auth: Auth, uploads: Uploads) -> None:
        self._auth = auth
        self._uploads = uploads

    def routes(self) -> list[Route]:
        """`/api/uploads` and `/api/uploads/{id}`. A method that a client cannot send, it may name
        in the header X-HTTP-Method-Override of a POST."""
        return [
            _route(rest.UPLOADS, self._options),
            _route(rest.CREATE_UPLOAD, self._create),
            _route(rest.UPLOAD_STATE, self._head),
            _route(rest.CONTINUE_UPLOAD, self._patch),
            _route(rest.END_UPLOAD, self._delete),
            Route(rest.UPLOAD_STATE.path, _spoken(self._override), methods=["POST"]),
        ]

    async def _override(self, request: Request) -> Response:
        handlers: Mapping[str, Handler] = {
            "HEAD": self._head,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        handler = handlers.get(request.headers.get("x-http-method-override", "").upper())
        if handler is None:
            problem = "must be PATCH, DELETE or HEAD in a POST here"
            return error_response(
                _wrong("X-HTTP-Method-Override", problem),
                status=405,
                headers={"Allow": ", ".join(handlers)},
            )
        return await handler(request)

    async def _options(self, _: Request) -> Response:
        return Response(
            status_code=204,
            headers={
                **_SHARED,
                "Tus-Version": VERSION,
                "Tus-Extension": EXTENSIONS,
                "Tus-Max-Size": str(self._uploads.max_bytes),
                "Tus-Checksum-Algorithm": ",".join(DIGESTS),
            },
        )

    async def _create(self, request: Request) -> Response:
        principal = await signed_in(request, self._auth, rest.CREATE_UPLOAD.permission)
        if "upload-defer-length" in request.headers:
            raise _wrong("Upload-Length", "has to be known at once")
        length = _number(request, "Upload-Length")
        told = _metadata(request.headers.get("upload-metadata", ""))
        fields = {name: told[name] for name in ("id", "memoryId", "messageId") if told.get(name)}
        try:
            ids = msgspec.convert(fields, UploadForm)
        except msgspec.ValidationError as error:
            raise invalid_request(error) from None
        intake = Intake(
            ids.id or uuid4(),
            kept(told.get("filename") or told.get("name") or NAMELESS),
            length,
            ids.memory_id,
            ids.message_id,
        )
        account_id = principal.account_id
        upload = await self._uploads.create(account_id, intake)
        location = {"Location": f"/api/uploads/{upload.id}"}
        # The first bytes may come along; not to one that has some from an earlier try.
        if _brings_bytes(request) and isinstance(upload, Upload) and upload.received == 0:
            upload = await self._append(request, account_id, upload.id, 0)
        return Response(status_code=201, headers={**location, **_state(upload)})

    async def _head(self, request: Request) -> Response:
        principal = await signed_in(request, self._auth, rest.UPLOAD_STATE.permission)
        upload = await self._uploads.find(principal.account_id, path_id(request))
        return Response(status_code=200, headers=_state(upload, with_length=True))

    async def _patch(self, request: Request) -> Response:
        principal = await signed_in(request, self._auth, rest.CONTINUE_UPLOAD.permission)
        offset = _number(request, "Upload-Offset")
        upload = await self._append(request, principal.account_id, path_id(request), offset)
        return Response(status_code=204, headers=_state(upload))

    async def _delete(self, request: Request) -> Response:
        principal = await signed_in(request, self._auth, rest.END_UPLOAD.permission)
        await self._uploads.end(principal.account_id, path_id(request))
        return Response(status_code=204, headers=_SHARED)

    async def _append(
        self, request: Request, account_id: UUID, upload_id: UUID, offset: int
    ) -> Upload | File:
        if not _brings_bytes(request):
            raise WrongTypeError(
                ErrorCode.INVALID_REQUEST,
                f"Send the bytes with the header Content-Type: {rest.BYTES}.",
                details={"Content-Type": f"must be {rest.BYTES}"},
            )

        def body(wanted: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
            return chunks(request, wanted)

        return await self._uploads.append(account_id, upload_id, offset, body, _checksum(request))


def _route(endpoint: rest.Endpoint, handler: Handler) -> Route:
    return Route(endpoint.path, _spoken(handler), methods=[endpoint.method], name=endpoint.name)


def _spoken(handler: Handler) -> Handler:
    """`handler`, for requests that speak this version, with its refusals as tus has them."""

    async def handle(request: Request) -> Response:
        try:
            if request.method != "OPTIONS" and request.headers.get("tus-resumable") != VERSION:
                raise WrongVersionError(
                    ErrorCode.INVALID_REQUEST,
                    f"Speak tus {VERSION}, and say so in the header Tus-Resumable.",
                    details={"Tus-Resumable": f"must be {VERSION}"},
                )
            with outage.reported():
                return await handler(request)
        except MemoError as error:
            headers = {**_SHARED, "Tus-Version": VERSION}
            return error_response(error, status=_STATUSES.get(type(error)), headers=headers)

    return handle


def _state(upload: Upload | File, *, with_length: bool = False) -> dict[str, str]:
    """How far the upload has come, as headers; a file is one that has come to its end."""
    if isinstance(upload, File):
        received = length = upload.file_size
        headers = {**_SHARED, "Upload-Offset": str(received)}
    else:
        received, length = upload.received, upload.intake.length or 0
        expires = formatdate(expiry(upload), usegmt=True)
        headers = {**_SHARED, "Upload-Offset": str(received), "Upload-Expires": expires}
    return headers | ({"Upload-Length": str(length)} if with_length else {})


def _brings_bytes(request: Request) -> bool:
    content_type = request.headers.get("content-type", "").partition(";")[0]
    return content_type.strip().lower() == rest.BYTES


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise _wrong(name, "must be a number of bytes")
    return int(text)


def _metadata(header: str) -> dict[str, str]:
    """What Upload-Metadata says: pairs of a key and a value in base64, with commas."""
    if len(header) > _MAX_METADATA:
        raise _wrong("Upload-Metadata", f"may have {_MAX_METADATA} characters")
    told = {}
    for pair in filter(None, (item.strip() for item in header.split(","))):
        if not _METADATA.fullmatch(pair):
            raise _wrong("Upload-Metadata", "must be keys with values in base64")
        key, _, value = pair.partition(" ")
        try:
            told[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise _wrong("Upload-Metadata", f"{key} has no text in base64") from None
    return told


def _checksum(request: Request) -> Checksum | None:
    header = request.headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, value = header.strip().partition(" ")
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != DIGESTS.get(algorithm, -1):
        raise _wrong("Upload-Checksum", f"must be one of {', '.join(DIGESTS)}, and base64")
    return Checksum(algorithm, digest)


def _wrong(header: str, problem: str) -> MemoError:
    return MemoError(ErrorCode.INVALID_REQUEST, f"{header} {problem}", details={header: problem})
