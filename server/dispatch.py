"""From a request frame to the operation's handler, and back to a reply or an error."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID, uuid4

import msgspec
import structlog

from protocol.errors import ErrorCode, MemoError
from protocol.frames import Error, ErrorBody, Reply, Request
from protocol.limits import Limit
from protocol.log import Author
from protocol.operation import Operation, Permission
from protocol.records import Body
from server.metrics import Metrics
from server.rest import invalid_request
from server.tokens import Principal
from storage import outage

REQUEST_SECONDS = 30.0
MAX_BODY_BYTES = 1 << 20  # of a request: large content travels as updates

logger = structlog.get_logger("dispatch")

C = TypeVar("C", bound="Call")
Req = TypeVar("Req", bound=Body)
Res = TypeVar("Res", bound=Body)


class Call:
    """Who calls an operation, and over which connection (`connection` is its id, for logs)."""

    __slots__ = ("author", "connection", "principal")

    def __init__(self, principal: Principal, author: Author, connection: str) -> None:
        self.principal = principal
        self.author = author
        self.connection = connection

    @property
    def permissions(self) -> frozenset[Permission]:
        return self.principal.permissions


class Encoded(Generic[Res]):
    """An answer that is encoded already, perhaps for others too."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body


class Binding(NamedTuple, Generic[C, Req, Res]):
    """An operation and the method that carries it out."""

    operation: Operation[Req, Res]
    handler: Callable[[C, Req], Awaitable[Res | Encoded[Res]]]


class Gate(Protocol):
    """Counts operations, and refuses those that are too many."""

    async def admit(self, limit: Limit, user_id: UUID) -> None: ...


class Dispatcher(Generic[C]):
    """Decodes requests, checks permissions and limits, runs handlers, within a time limit.

    Raises:
        ValueError: at start, unless each operation is bound exactly once.
    """

    def __init__(
        self,
        operations: Iterable[Operation[Any, Any]],
        bindings: Iterable[Binding[C, Any, Any]],
        metrics: Metrics,
        gate: Gate,
    ) -> None:
        bound: dict[str, Binding[C, Any, Any]] = {}
        for binding in bindings:
            if binding.operation.name in bound:
                raise ValueError(f"{binding.operation.name} is bound twice")
            bound[binding.operation.name] = binding
        declared = {operation.name for operation in operations}
        if unbound := sorted(declared - bound.keys()):
            raise ValueError(f"declared, but bound to no method in server/app.py: {unbound}")
        if undeclared := sorted(bound.keys() - declared):
            raise ValueError(f"bound, but not in protocol.operations.OPERATIONS: {undeclared}")
        self._metrics = metrics
        self._gate = gate
        self._routes = {
            name: (binding, msgspec.msgpack.Decoder(binding.operation.request))
            for name, binding in bound.items()
        }

    async def run(self, call: C, request: Request) -> Reply | Error:
        """The answer to one request. Never raises but when cancelled."""
        started = time.perf_counter()
        code = "ok"
        name = request.operation if request.operation in self._routes else "unknown"
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return Reply(request.id, await self._run(call, request))
        except MemoError as error:
            code = error.code.value
            return refusal(request.id, error)
        except TimeoutError:
            code = ErrorCode.TIMEOUT.value
            return refusal(request.id, MemoError(ErrorCode.TIMEOUT))
        except asyncio.CancelledError:
            code = ErrorCode.CANCELLED.value
            raise
        except Exception:
            code = ErrorCode.INTERNAL.value
            failure = uuid4().hex
            logger.exception(
                "operation failed", operation=name, connection=call.connection, request_id=failure
            )
            return refusal(
                request.id, MemoError(ErrorCode.INTERNAL, details={"requestId": failure})
            )
        finally:
            if code != "ok":
                self._metrics.refusals.labels(code).inc()
            seconds = time.perf_counter() - started
            self._metrics.operation_duration.labels(name, code).observe(seconds)
            logger.debug(
                "operation",
                operation=name,
                code=code,
                seconds=round(seconds, 6),
                connection=call.connection,
                request_id=request.id,
            )

    async def _run(self, call: C, request: Request) -> msgspec.Raw:
        route = self._routes.get(request.operation)
        if route is None:
            raise MemoError(
                ErrorCode.UNKNOWN_OPERATION, f"there is no operation {request.operation[:100]!r}"
            )
        binding, decoder = route
        permission = binding.operation.permission
        if permission is not None and permission not in call.principal.permissions:
            raise MemoError(ErrorCode.FORBIDDEN, f"this needs the permission {permission.value}")
        await self._gate.admit(binding.operation.limit, call.principal.account_id)
        if memoryview(request.body).nbytes > MAX_BODY_BYTES:
            raise MemoError(
                ErrorCode.TOO_LARGE, details={"body": f"may have {MAX_BODY_BYTES} bytes"}
            )
        try:
            body = decoder.decode(request.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise invalid_request(error) from None
        with outage.reported():
            answer: Body | Encoded[Any] = await binding.handler(call, body)
        if isinstance(answer, Encoded):
            return msgspec.Raw(answer.body)
        # Encoded here, so that an answer that cannot be is this request's failure alone.
        return msgspec.Raw(msgspec.msgpack.encode(answer))


def refusal(
    request_id: int | None,
    error: MemoError,
    channel: int | None = None,
    client_seq: int | None = None,
) -> Error:
    """The frame that carries an error; `channel` and `client_seq` name a refused update."""
    return Error(
        request_id,
        ErrorBody(
            error.code.value,
            error.message,
            retry_after=error.retry_after,
            details=error.details,
            channel=channel,
            client_seq=client_seq,
        ),
    )
