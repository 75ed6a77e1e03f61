"""Forms with a file, read as they come: no more of one is held than what has just arrived."""

from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from protocol.errors import ErrorCode, MemoError
from server.files.bodies import chunks

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_FIELD_BYTES = 1000
MAX_FIELDS = 10
MAX_HEADER_BYTES = 4096
_BEHIND = len("\r\n----\r\n")  # the end of a form but for its boundary


class _Event(NamedTuple):
    kind: Literal["head", "data", "end"]
    data: bytes = b""


class Form:
    """A `multipart/form-data` body with one file, in `file_field`, and before and behind it fields
    whose `names` are known.

    Attributes:
        fields: those that have come so far.
    """

    def __init__(self, request: Request, file_field: str, names: frozenset[str]) -> None:
        """Raises:
        MemoError: `invalid_request`, when the body is no form.
        """
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                f"Send multipart/form-data with the file in the field {file_field!r}.",
                details={"Content-Type": "must be multipart/form-data"},
            )
        self.fields: dict[str, str] = {}
        self._file_field = file_field
        self._names = names
        self._chunks = chunks(request)
        self._events: deque[_Event] = deque()
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._seen = 0  # fields
        self._boundary_bytes = len(boundary)
        self._fed = 0  # bytes of the body
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary, self._callbacks(), max_header_size=MAX_HEADER_BYTES
            )
        except FormParserError as error:
            raise _malformed(str(error)) from None

    async def file(self) -> str:
        """Read up to the file; returns the name it was sent with.

        Raises:
            MemoError: `invalid_request`: the form is malformed, has a field that is not known, or
                no file; `StalledError`.
            ClientDisconnect: the client is gone.
        """
        filename = await self._read_fields()
        if filename is None:
            raise MemoError(
                ErrorCode.INVALID_REQUEST,
                f"the form has no file in the field {self._file_field!r}",
                details={self._file_field: "is missing"},
            )
        return filename

    async def content(self) -> AsyncIterator[bytes]:
        """The bytes of the file; then the fields behind it are there too.

        Raises:
            MemoError: as `file`.
            ClientDisconnect: the client is gone.
        """
        while (event := await self._next()) is not None and event.kind == "data":
            yield event.data
        if await self._read_fields() is not None:
            raise _malformed("it has two files")

    def expected(self, body_bytes: int) -> int:
        """About how many bytes the file has, now that it begins, if the body has `body_bytes`."""
        waiting = sum(len(event.data) for event in self._events)
        return max(body_bytes - self._fed + waiting - self._boundary_bytes - _BEHIND, 0)

    async def _read_fields(self) -> str | None:
        """Take fields up to the file, and return its name; None when there is none any more."""
        name, value = "", b""
        while (event := await self._next()) is not None:
            match event.kind:
                case "head":
                    name, filename = _head(event.data)
                    if name == self._file_field:
                        return filename or ""
                    self._check_field(name, filename)
                    value = b""
                case "data":
                    value += event.data
                    if len(value) > MAX_FIELD_BYTES:
                        raise _malformed(
                            f"the field {name!r} has more than {MAX_FIELD_BYTES} bytes"
                        )
                case "end":
                    self.fields[name] = value.decode("utf-8", "replace")
        return None

    def _check_field(self, name: str, filename: str | None) -> None:
        self._seen += 1
        if filename is not None:
            raise _malformed(f"its file is not in the field {self._file_field!r}")
        if name not in self._names:
            known = ", ".join(sorted(self._names))
            raise _malformed(f"{name[:50]!r} is none of its fields, which are {known}")
        if self._seen > MAX_FIELDS:
            raise _malformed(f"it has more than {MAX_FIELDS} fields")

    async def _next(self) -> _Event | None:
        """What comes next; None behind the end of the form."""
        while not self._events:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                if not self._complete:
                    raise _malformed("it breaks off before its end")
                return None
            self._fed += len(chunk)
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise _malformed(str(error)) from None
        return self._events.popleft()

    def _callbacks(self) -> "MultipartCallbacks":
        def begin_header() -> None:
            self._header_name = self._header_value = b""

        def header_name(data: bytes, start: int, end: int) -> None:
            self._header_name += data[start:end]

        def header_value(data: bytes, start: int, end: int) -> None:
            self._header_value += data[start:end]

        def end_header() -> None:
            if self._header_name.lower() == b"content-disposition":
                self._disposition = self._header_value

        def head() -> None:
            self._events.append(_Event("head", self._disposition))
            self._disposition = b""

        def data(data: bytes, start: int, end: int) -> None:
            self._events.append(_Event("data", data[start:end]))

        def part_end() -> None:
            self._events.append(_Event("end"))

        def form_end() -> None:
            self._complete = True

        return {
            "on_header_begin": begin_header,
            "on_header_field": header_name,
            "on_header_value": header_value,
            "on_header_end": end_header,
            "on_headers_finished": head,
            "on_part_data": data,
            "on_part_end": part_end,
            "on_end": form_end,
        }


def _head(disposition: bytes) -> tuple[str, str | None]:
    """The name of a part, and that of its file if it is one."""
    _, options = parse_options_header(disposition)
    name = options.get(b"name", b"").decode("utf-8", "replace")
    filename = options.get(b"filename")
    if filename is None:
        return name, None
    # Browsers write these three so, and nothing else.
    text = filename.decode("utf-8", "replace")
    return name, text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _malformed(reason: str) -> MemoError:
    return MemoError(
        ErrorCode.INVALID_REQUEST, f"the form cannot be read: {reason}", details={"body": reason}
    )
