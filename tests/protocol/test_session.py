"""One connection without a socket: its phases, its requests, and what goes into a message."""

from uuid import UUID

import msgspec
import pytest

from protocol import frames
from protocol.documents import (
    DOCUMENTS_CLOSE,
    DOCUMENTS_OPEN,
    CloseDocument,
    OpenDocument,
    OpenedDocument,
)
from protocol.errors import ErrorCode, MemoError
from protocol.session import (
    MAX_REQUESTS,
    Answered,
    Backoff,
    Refused,
    Session,
    SessionPhase,
    refusal,
)

MEMORY = UUID(int=1)
OPEN = OpenDocument(memory_id=MEMORY)
OPENED = {
    "channel": 3,
    "epoch": "e",
    "offset": 2,
    "format": "yjs-v1",
    "updates": [b"\x01"],
    "canWrite": True,
}


def welcome(max_message_bytes: int = frames.MAX_MESSAGE_BYTES) -> bytes:
    body = frames.WelcomeBody("s", "u", "c", "2026-01-31T08:30:00.000Z", max_message_bytes)
    return frames.encode(frames.Welcome(body))


def greeted(max_message_bytes: int = frames.MAX_MESSAGE_BYTES) -> Session:
    session = Session()
    session.hello("token", "laptop", "tests")
    session.data_to_send()
    session.receive(welcome(max_message_bytes))
    return session


def sent(session: Session) -> list[frames.ClientFrame | frames.Error]:
    return [frame for message in session.data_to_send() for frame in frames.decode_client(message)]


def test_hello_is_the_first_frame_and_the_welcome_opens_the_session() -> None:
    session = Session()
    session.hello("token", "laptop", "tests")
    assert sent(session) == [frames.Hello(frames.HelloBody("token", "laptop", "tests"))]
    (event,) = session.receive(welcome())
    assert isinstance(event, frames.Welcome)
    assert session.phase is SessionPhase.OPEN
    assert session.welcome == event.body


def test_a_request_before_the_welcome_is_a_mistake_of_the_caller() -> None:
    session = Session()
    with pytest.raises(RuntimeError, match="new"):
        session.request(DOCUMENTS_OPEN, OPEN)
    session.hello("token")
    with pytest.raises(RuntimeError, match="greeting"):
        session.request(DOCUMENTS_OPEN, OPEN)
    with pytest.raises(RuntimeError, match="greeting"):
        session.send(frames.Update(1, 1, b""))
    with pytest.raises(RuntimeError, match="greeting"):
        session.hello("again")


@pytest.mark.parametrize("frame", [frames.Push(1, 1, [b""]), frames.Event("feed.changed", {})])
def test_a_server_that_speaks_before_its_welcome_is_refused(frame: frames.Frame) -> None:
    session = Session()
    session.hello("token")
    with pytest.raises(MemoError, match="before its welcome") as caught:
        session.receive(frames.encode(frame))
    assert caught.value.code is ErrorCode.INVALID_MESSAGE


def test_a_second_welcome_is_refused() -> None:
    with pytest.raises(MemoError, match="second welcome"):
        greeted().receive(welcome())


def test_an_error_may_come_in_place_of_the_welcome() -> None:
    session = Session()
    session.hello("token")
    error = frames.Error(None, frames.ErrorBody("token_expired", "Refresh it."))
    assert session.receive(frames.encode(error)) == [error]
    assert session.phase is SessionPhase.GREETING


def test_an_answer_is_read_as_the_response_of_its_operation() -> None:
    session = greeted()
    request_id = session.request(DOCUMENTS_OPEN, OPEN)
    (request,) = sent(session)
    assert isinstance(request, frames.Request)
    assert (request.id, request.operation) == (request_id, "documents.open")
    assert msgspec.msgpack.decode(request.body)["memoryId"] == str(MEMORY)
    (event,) = session.receive(frames.encode(frames.Reply(request_id, OPENED)))
    assert event == Answered(request_id, msgspec.convert(OPENED, OpenedDocument))


def test_an_answer_that_does_not_fit_is_an_error_of_that_request_alone() -> None:
    session = greeted()
    first, second = (session.request(DOCUMENTS_OPEN, OPEN) for _ in range(2))
    bad, good = session.receive(
        frames.encode(frames.Reply(first, {"channel": "x"}), frames.Reply(second, OPENED))
    )
    assert isinstance(bad, Answered)
    assert isinstance(bad.result, MemoError)
    assert bad.result.code is ErrorCode.INVALID_MESSAGE
    assert isinstance(good, Answered)
    assert isinstance(good.result, OpenedDocument)


def test_a_refusal_keeps_what_the_server_said() -> None:
    session = greeted()
    request_id = session.request(DOCUMENTS_OPEN, OPEN)
    body = frames.ErrorBody("rate_limited", "Slowly.", retry_after=2.5, details={"a": "b"})
    (event,) = session.receive(frames.encode(frames.Error(request_id, body)))
    assert isinstance(event, Answered)
    error = event.result
    assert (error.code, error.message) == (ErrorCode.RATE_LIMITED, "Slowly.")
    assert (error.retry_after, error.details) == (2.5, {"a": "b"})


def test_a_code_of_a_newer_server_reads_as_internal_and_is_named() -> None:
    error = refusal(frames.ErrorBody("too_purple", "No."))
    assert error.code is ErrorCode.INTERNAL
    assert "too_purple" in error.message


def test_a_refused_update_names_its_channel() -> None:
    body = frames.ErrorBody("forbidden", "No.", channel=3, client_seq=9)
    (event,) = greeted().receive(frames.encode(frames.Error(None, body)))
    assert isinstance(event, Refused)
    assert (event.channel, event.client_seq, event.error.code) == (3, 9, ErrorCode.FORBIDDEN)


def test_the_answer_to_a_cancelled_request_is_left_out() -> None:
    session = greeted()
    request_id = session.request(DOCUMENTS_OPEN, OPEN)
    session.cancel(request_id)
    session.cancel(request_id)
    assert sent(session)[1:] == [frames.Cancel(request_id)]
    answers = frames.encode(
        frames.Reply(request_id, OPENED),
        frames.Error(request_id, frames.ErrorBody("cancelled", "")),
        frames.Reply(999, OPENED),
    )
    assert session.receive(answers) == []


def test_too_many_requests_at_once_are_refused() -> None:
    session = greeted()
    for _ in range(MAX_REQUESTS):
        session.request(DOCUMENTS_OPEN, OPEN)
    with pytest.raises(MemoError, match="await some") as caught:
        session.request(DOCUMENTS_OPEN, OPEN)
    assert caught.value.code is ErrorCode.BUSY
    session.receive(frames.encode(frames.Reply(1, OPENED)))
    session.request(DOCUMENTS_OPEN, OPEN)


def test_frames_share_a_message_as_far_as_it_holds_them() -> None:
    session = greeted(max_message_bytes=1000)
    updates = [frames.Update(1, number, bytes(300)) for number in range(7)]
    for update in updates:
        session.send(update)
    messages = session.data_to_send()
    assert [frame for message in messages for frame in frames.decode_client(message)] == updates
    assert all(len(message) <= 1000 for message in messages)
    assert len(messages) < len(updates)
    assert session.data_to_send() == []


def test_a_body_too_large_for_a_message_is_refused_by_name() -> None:
    session = greeted(max_message_bytes=1000)
    with pytest.raises(MemoError, match=r"documents\.open") as caught:
        session.request(DOCUMENTS_OPEN, OpenDocument(memory_id=MEMORY, epoch="e" * 1000))
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert session.data_to_send() == []


def test_goodbye_lets_running_requests_finish() -> None:
    session = greeted()
    request_id = session.request(DOCUMENTS_CLOSE, CloseDocument(channel=1))
    goodbye = frames.Goodbye(frames.GoodbyeBody("restart", 500))
    assert session.receive(frames.encode(goodbye)) == [goodbye]
    assert session.phase is SessionPhase.LEAVING
    (event,) = session.receive(frames.encode(frames.Reply(request_id, {})))
    assert isinstance(event, Answered)


def test_a_closed_session_says_which_requests_were_lost() -> None:
    session = greeted()
    request_id = session.request(DOCUMENTS_OPEN, OPEN)
    (lost,) = session.close()
    assert lost.id == request_id
    assert lost.result.code is ErrorCode.UNAVAILABLE
    assert "documents.open" in lost.result.message
    assert session.phase is SessionPhase.CLOSED
    assert session.data_to_send() == []
    with pytest.raises(RuntimeError, match="closed"):
        session.request(DOCUMENTS_OPEN, OPEN)


def test_backoff_doubles_up_to_its_longest_and_starts_over() -> None:
    backoff = Backoff(0.3, 30.0, spread=lambda _, ceiling: ceiling)
    delays = [backoff.next() for _ in range(9)]
    assert delays[:3] == [0.6, 1.2, 2.4]
    assert delays == sorted(delays)
    assert delays[-1] == 30.0
    assert [backoff.next() for _ in range(100)] == [30.0] * 100
    backoff.reset()
    assert backoff.next() == 0.6


def test_backoff_spreads_clients_between_the_shortest_and_the_ceiling() -> None:
    delays = {Backoff().next() for _ in range(50)}
    assert len(delays) > 40
    assert all(0.3 <= delay <= 0.6 for delay in delays)
