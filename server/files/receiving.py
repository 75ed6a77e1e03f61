"""`POST /api/files`: a form with a file."""

from typing import Any
from uuid import UUID, uuid4

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from protocol import rest
from protocol.errors import ErrorCode, MemoError
from protocol.files import OneFile, UploadForm
from server.auth import Auth
from server.files.forms import Form
from server.files.names import kept
from server.files.uploads import Uploads
from server.rest import invalid_request, route, signed_in, write_json
from storage.uploads import Intake

_FIELDS = frozenset({"id", "memoryId", "messageId"})
_FORM_BYTES = 64 << 10  # what a form may have around its file


class Receiving:
    """Takes files in one request each."""

    def __init__(self, auth: Auth, uploads: Uploads) -> None:
        self._auth = auth
        self._uploads = uploads

    def routes(self) -> list[Route]:
        """`POST /api/files`."""
        # How long it may take is for the body's own pace to say.
        return [route(rest.UPLOAD_FILE, self._receive, seconds=None)]

    async def _receive(self, request: Request) -> Response:
        principal = await signed_in(request, self._auth, rest.UPLOAD_FILE.permission)
        body_bytes = self._length(request)
        form = Form(request, "file", _FIELDS)
        filename = await form.file()
        told = _read(form.fields)
        intake = Intake(
            told.id or uuid4(),
            kept(filename),
            None,
            told.memory_id,
            told.message_id,
            expected=form.expected(body_bytes),
        )

        async def late() -> UUID | None:
            """What stands behind the file; only its id may."""
            more = _read(form.fields)
            if (more.memory_id, more.message_id) != (told.memory_id, told.message_id):
                raise MemoError(
                    ErrorCode.INVALID_REQUEST,
                    "memoryId and messageId have to come before the file",
                    details={"memoryId": "comes behind the file"},
                )
            return more.id

        file = await self._uploads.receive(principal.account_id, intake, form.content(), late)
        return write_json(OneFile(file=file), 201)

    def _length(self, request: Request) -> int:
        """The bytes of the body; 0 if it does not say. What is too large is not waited for."""
        text = request.headers.get("content-length", "")
        length = int(text) if text.isdecimal() else 0
        if length > self._uploads.max_bytes + _FORM_BYTES:
            raise self._uploads.too_large()
        return length


def _read(fields: dict[str, str]) -> UploadForm:
    given: dict[str, Any] = {name: value for name, value in fields.items() if value}
    try:
        return msgspec.convert(given, UploadForm)
    except msgspec.ValidationError as error:
        raise invalid_request(error) from None
