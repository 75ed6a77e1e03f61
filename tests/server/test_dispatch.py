"""Every operation is bound once, guarded by its permission, and answered by id whatever comes."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from protocol import frames
from protocol.errors import ErrorCode, MemoError
from protocol.limits import Limit
from protocol.log import Author
from protocol.operation import Operation, Permission
from protocol.operations import OPERATIONS
from server.config import Rate
from server.dispatch import MAX_BODY_BYTES, Binding, Call, Dispatcher
from server.limits import Limiter
from server.metrics import Metrics
from server.tokens import Principal
from storage.counters import LocalCounters

EMPTY = msgspec.Raw(msgspec.msgpack.encode({}))


def call_with(*permissions: Permission) -> Call:
    principal = Principal(
        account_id=uuid4(),
        session_id=uuid4(),
        email="ada@example.com",
        role="user",
        permissions=frozenset(permissions),
        expires_at=time.time() + 60,
    )
    return Call(principal, Author(principal.account_id), "test")


async def nothing(call: Call, request: Any) -> Any:
    return request


def dispatcher(
    *bindings: Binding[Call, Any, Any],
    metrics: Metrics | None = None,
    limiter: Limiter | None = None,
) -> Any:
    return Dispatcher(
        OPERATIONS, bindings, metrics or Metrics(), limiter or Limiter({}, LocalCounters())
    )


def all_bound(
    handler: Any = nothing, metrics: Metrics | None = None, limiter: Limiter | None = None
) -> Any:
    bindings = (Binding(each, handler) for each in OPERATIONS)
    return dispatcher(*bindings, metrics=metrics, limiter=limiter)


def error_of(answer: Any) -> frames.ErrorBody:
    """The body of the error that the answer is, if it came encoded or as a frame."""
    if isinstance(answer, bytes):
        [answer] = frames.decode_server(answer)
    assert isinstance(answer, frames.Error), answer
    return answer.body


def test_an_operation_that_is_not_bound_stops_the_start_by_name() -> None:
    with pytest.raises(ValueError, match=r"no method in server/app.py: .*account\.me"):
        dispatcher(*(Binding(each, nothing) for each in OPERATIONS if each.name != "account.me"))


def test_an_operation_that_is_bound_twice_stops_the_start_by_name() -> None:
    with pytest.raises(ValueError, match=f"{OPERATIONS[0].name} is bound twice"):
        dispatcher(*(Binding(each, nothing) for each in (*OPERATIONS, OPERATIONS[0])))


def test_a_binding_of_nothing_declared_stops_the_start_by_name() -> None:
    first = OPERATIONS[0]
    other = Operation("no.such", first.request, first.response, None, "")
    with pytest.raises(ValueError, match=r"not in protocol\.operations\.OPERATIONS"):
        dispatcher(*(Binding(each, nothing) for each in (*OPERATIONS, other)))


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.permission], ids=lambda each: each.name
)
async def test_without_its_permission_an_operation_is_refused_before_its_body_is_read(
    operation: Operation[Any, Any],
) -> None:
    request = frames.Request(7, operation.name, msgspec.Raw(b"\xc1"))
    others = set(Permission) - {operation.permission}
    error = error_of(await all_bound().run(call_with(*others), request))
    assert error.code == ErrorCode.FORBIDDEN.value
    assert operation.permission is not None
    assert operation.permission.value in error.message


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
@pytest.mark.parametrize("body", [b"\xc1", b"\xa1x", b"\x91" * 100_000, b"\x81\xa2ab"])
async def test_a_malformed_body_is_an_error_with_the_requests_id(
    operation: Operation[Any, Any], body: bytes
) -> None:
    request = frames.Request(7, operation.name, msgspec.Raw(body))
    answer = await all_bound().run(call_with(*Permission), request)
    if isinstance(answer, bytes):
        [answer] = frames.decode_server(answer)
    assert answer.id == 7
    assert error_of(answer).code == ErrorCode.INVALID_REQUEST.value


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    operation: Operation[Any, Any],
) -> None:
    body = msgspec.msgpack.encode({"padding": "x" * MAX_BODY_BYTES})
    request = frames.Request(7, operation.name, msgspec.Raw(body))
    answer = await all_bound().run(call_with(*Permission), request)
    assert answer.id == 7
    assert error_of(answer).code == ErrorCode.TOO_LARGE.value


async def test_an_unknown_operation_is_named() -> None:
    error = error_of(await all_bound().run(call_with(), frames.Request(1, "memories.eat", EMPTY)))
    assert error.code == ErrorCode.UNKNOWN_OPERATION.value
    assert "memories.eat" in error.message


async def test_what_a_handler_refuses_is_the_answer_and_is_counted() -> None:
    async def refuse(call: Call, request: Any) -> Any:
        raise MemoError(ErrorCode.BUSY, "later", retry_after=3, details={"a": "b"})

    metrics = Metrics()
    error = error_of(
        await all_bound(refuse, metrics).run(call_with(), frames.Request(1, "account.me", EMPTY))
    )
    assert (error.code, error.message, error.retry_after) == ("busy", "later", 3)
    assert error.details == {"a": "b"}
    assert metrics.registry.get_sample_value("memo_refusals_total", {"code": "busy"}) == 1


async def test_a_handler_that_fails_tells_the_client_no_more_than_an_id_for_the_log() -> None:
    async def fail(call: Call, request: Any) -> Any:
        raise RuntimeError("secret reason")

    answer = await all_bound(fail).run(call_with(), frames.Request(1, "account.me", EMPTY))
    error = error_of(answer)
    assert error.code == ErrorCode.INTERNAL.value
    assert error.details is not None
    assert set(error.details) == {"requestId"}
    assert "secret" not in error.message


async def test_a_database_that_is_away_is_unavailable_and_says_when_to_try_again() -> None:
    async def away(call: Call, request: Any) -> Any:
        raise ConnectionRefusedError

    answer = await all_bound(away).run(call_with(), frames.Request(1, "account.me", EMPTY))
    error = error_of(answer)
    assert error.code == ErrorCode.UNAVAILABLE.value
    assert error.retry_after is not None


async def test_a_cancelled_call_is_cancelled_in_its_handler() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(call: Call, request: Any) -> Any:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(
        all_bound(wait).run(call_with(), frames.Request(1, "account.me", EMPTY))
    )
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_every_operation_trips_its_limit_before_its_body_is_read(
    operation: Operation[Any, Any],
) -> None:
    for limit in {Limit.SOCKET, operation.limit}:
        served = all_bound(limiter=Limiter({limit: Rate(1, 60)}, LocalCounters()))
        call, request = call_with(*Permission), frames.Request(7, operation.name, msgspec.Raw(b""))
        first = error_of(await served.run(call, request))
        assert first.code == ErrorCode.INVALID_REQUEST.value
        second = error_of(await served.run(call, request))
        assert second.code == ErrorCode.RATE_LIMITED.value
        assert second.retry_after is not None
        other = error_of(await served.run(call_with(*Permission), request))
        assert other.code == ErrorCode.INVALID_REQUEST.value


async def test_what_may_not_be_called_counts_against_nothing() -> None:
    served = all_bound(limiter=Limiter({Limit.SOCKET: Rate(1, 60)}, LocalCounters()))
    call = call_with()
    for operation in ("memories.delete", "memories.eat"):
        error = error_of(await served.run(call, frames.Request(7, operation, EMPTY)))
        assert error.code != ErrorCode.RATE_LIMITED.value
    assert not isinstance(
        await served.run(call, frames.Request(7, "account.me", EMPTY)), frames.Error
    )
