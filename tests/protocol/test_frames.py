"""The codec: what goes in comes out, and what cannot be read costs its neighbours nothing."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import frames
from protocol.errors import ErrorCode, MemoError

CLIENT_FRAMES: list[frames.ClientFrame] = [
    frames.Hello(frames.HelloBody("token", "laptop", "tests")),
    frames.Request(7, "memories.get", msgspec.Raw(msgspec.msgpack.encode({"id": "x"}))),
    frames.Cancel(7),
    frames.Update(3, 12, b"\x00\x01"),
    frames.Awareness(3, b"\x01"),
]
SERVER_FRAMES: list[frames.ServerFrame] = [
    frames.Welcome(frames.WelcomeBody("session", "user", "cursor", "2026-01-31T08:30:00.000Z")),
    frames.Reply(7, {"memory": {"id": "x"}}),
    frames.Part(7, "so"),
    frames.Error(None, frames.ErrorBody("gone", "It is gone.", channel=3, client_seq=12)),
    frames.Error(7, frames.ErrorBody("busy", "Later.", retry_after=1.5, details={"a": "b"})),
    frames.Push(3, 8, [b"one", b"two"]),
    frames.Ack(3, 12, 10),
    frames.AwarenessRelay(3, b"\x01"),
    frames.Event("feed.changed", {}),
    frames.Goodbye(frames.GoodbyeBody("restart", 500)),
]
NESTED = b"\x91" * 100_000 + b"\xc0"


def named(frame: frames.Frame) -> str:
    return type(frame).__name__


def raw(*items: bytes) -> bytes:
    """A message of these encoded frames."""
    return bytes([0x90 + len(items)]) + b"".join(items)


@pytest.mark.parametrize("frame", CLIENT_FRAMES, ids=named)
def test_a_client_frame_comes_out_as_it_went_in(frame: frames.ClientFrame) -> None:
    assert frames.decode_client(frames.encode(frame)) == [frame]


@pytest.mark.parametrize("frame", SERVER_FRAMES, ids=named)
def test_a_server_frame_comes_out_as_it_went_in(frame: frames.ServerFrame) -> None:
    assert frames.decode_server(frames.encode(frame)) == [frame]


def test_every_frame_type_is_among_those_tested() -> None:
    tested = {type(frame) for frame in [*CLIENT_FRAMES, *SERVER_FRAMES]}
    assert tested == set(frames.Frame.__subclasses__())


def test_many_frames_share_one_message_in_their_order() -> None:
    assert frames.decode_client(frames.encode(*CLIENT_FRAMES)) == CLIENT_FRAMES
    assert frames.decode_server(frames.encode(*SERVER_FRAMES)) == SERVER_FRAMES


@pytest.mark.parametrize("kind", [5, 15, 25, 127, -1])
def test_a_frame_of_unknown_type_is_left_out(kind: int) -> None:
    unknown = msgspec.msgpack.encode([kind, {"of": "the future"}])
    ack = msgspec.msgpack.encode(frames.Ack(3, 12, 10))
    cancel = msgspec.msgpack.encode(frames.Cancel(7))
    assert frames.decode_server(raw(ack, unknown)) == [frames.Ack(3, 12, 10)]
    assert frames.decode_client(raw(unknown, cancel)) == [frames.Cancel(7)]


def test_an_item_that_a_newer_peer_appended_is_ignored() -> None:
    longer = msgspec.msgpack.encode([21, 3, 12, 10, "new"])
    assert frames.decode_server(raw(longer)) == [frames.Ack(3, 12, 10)]


@pytest.mark.parametrize(
    "bad",
    [
        msgspec.msgpack.encode([3, "three", 12, b""]),
        msgspec.msgpack.encode([3, 1]),
        msgspec.msgpack.encode({"a": "map"}),
        msgspec.msgpack.encode(None),
        b"\x91\xa1\x80",
        b"\x92\x02\xa1\x80",
    ],
    ids=["wrong type", "too short", "no array", "nil", "type not UTF-8", "field not UTF-8"],
)
def test_a_bad_frame_stands_as_an_error_between_its_neighbours(bad: bytes) -> None:
    neighbour = msgspec.msgpack.encode(frames.Cancel(7))
    before, error, after = frames.decode_client(raw(neighbour, bad, neighbour))
    assert before == after == frames.Cancel(7)
    assert isinstance(error, frames.Error)
    assert error.id is None
    assert error.body.code == ErrorCode.INVALID_MESSAGE.value


def test_a_bad_request_keeps_its_id() -> None:
    bad = msgspec.msgpack.encode([1, 42, 99, {}])
    (error,) = frames.decode_client(raw(bad))
    assert isinstance(error, frames.Error)
    assert error.id == 42


@pytest.mark.parametrize(
    "message",
    [b"", b"\xc1", b"\x91", b"\xa5hello", b"\x80", NESTED, b"\xdd\xff\xff\xff\xff"],
    ids=["empty", "no type", "cut off", "text", "map", "nested deeply", "a huge count"],
)
def test_a_message_that_is_no_array_of_frames_is_refused(message: bytes) -> None:
    for decode in (frames.decode_client, frames.decode_server):
        with pytest.raises(MemoError) as caught:
            decode(message)
        assert caught.value.code is ErrorCode.INVALID_MESSAGE


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_a_coded_error(message: bytes) -> None:
    for decode in (frames.decode_client, frames.decode_server):
        with suppress(MemoError):
            decode(message)


@given(
    st.lists(st.sampled_from([*CLIENT_FRAMES, *SERVER_FRAMES]), max_size=4),
    st.integers(min_value=0),
    st.integers(min_value=0, max_value=255),
)
def test_a_flipped_byte_raises_nothing_but_a_coded_error(
    sent: list[frames.Frame], place: int, byte: int
) -> None:
    message = bytearray(frames.encode(*sent))
    message[place % len(message)] = byte
    for decode in (frames.decode_client, frames.decode_server):
        with suppress(MemoError):
            decode(bytes(message))
