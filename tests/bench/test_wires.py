"""An update counts once for each reader that received it, whatever its server speaks."""

from random import Random

import pytest
from pycrdt import Doc, Text, create_update_message, merge_updates

from bench.edits import keystrokes
from bench.errors import BenchmarkFailed
from bench.wires import (
    Counter,
    Tally,
    hocuspocus_name,
    hocuspocus_saved,
    hocuspocus_updates,
    memo_acks,
    memo_frames,
    sized,
    yjs_updates,
)
from protocol import frames
from server.connection import MemoWire
from server.websocket import binary_message
from server.yjs import YjsWire

UPDATES = [b"\x00\x00", b"\x00\x00", b"\x00\x00"]
NAME = hocuspocus_name("a-document")


def test_updates_are_counted_on_both_wires_of_this_server() -> None:
    arrived: list[int] = []
    memo, yjs = Counter("/ws", arrived.append), Counter("/yjs", arrived.append)
    pushed = MemoWire().push(1, 1, UPDATES)
    for _ in range(2):  # the second time it is known
        assert memo(pushed) == b""
        assert yjs(YjsWire().push(1, 1, UPDATES)) == b""
    assert memo(binary_message(frames.encode(frames.Ack(1, 1, 1)))) == b""
    assert memo(pushed + pushed[:5]) == pushed[:5]
    assert arrived == [3, 3, 3, 3, 0, 3]


def test_acks_are_counted_and_pushes_are_not() -> None:
    assert memo_acks(frames.encode(frames.Ack(1, 1, 1), frames.Ack(1, 2, 2))) == 2
    assert memo_acks(frames.encode(frames.Push(1, 1, UPDATES))) == 0


def test_a_refusal_ends_the_benchmark() -> None:
    refused = frames.Error(None, frames.ErrorBody("gone", "It is gone."))
    with pytest.raises(BenchmarkFailed, match="gone: It is gone"):
        memo_frames(frames.encode(refused))


@pytest.mark.parametrize("count", [1, 2, 10])
def test_what_hocuspocus_merged_counts_as_what_it_was(count: int) -> None:
    merged = merge_updates(*keystrokes(count + 5, Random(1))[5:])
    assert hocuspocus_updates(NAME + b"\x00\x02" + sized(merged)) == count


def test_merged_and_single_updates_of_hocuspocus_add_up() -> None:
    typed = keystrokes(7, Random(2))
    tally = Tally("hocuspocus")
    sent = [NAME + b"\x00\x02" + sized(update) for update in (typed[0], merge_updates(*typed[1:]))]
    count, rest = tally.count(b"".join(map(binary_message, sent)))
    assert (count, rest) == (7, b"")


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\x00" + sized(b"\x00"),  # step 1
        b"\x00\x01" + sized(b"\x00\x00"),  # step 2
        b"\x01" + sized(b"\x00"),  # awareness
        b"\x02\x02" + sized(b"read-write"),  # authenticated
        b"\x08\x01",  # saved
    ],
)
def test_nothing_else_of_hocuspocus_is_a_delivery(body: bytes) -> None:
    assert hocuspocus_updates(NAME + body) == 0


def test_what_hocuspocus_did_not_save_is_not_counted_as_saved() -> None:
    assert hocuspocus_saved(NAME + b"\x08\x01") == 1
    assert hocuspocus_saved(NAME + b"\x08\x00") == 0
    assert hocuspocus_saved(NAME + b"\x00\x02" + sized(b"\x00\x00")) == 0


def test_an_update_of_hocuspocus_that_cannot_be_read_ends_the_benchmark() -> None:
    with pytest.raises(BenchmarkFailed, match="Hocuspocus sent what is no update"):
        hocuspocus_updates(NAME + b"\x00\x02" + sized(b"\xff"))


def test_updates_of_y_websocket_are_counted() -> None:
    document: Doc[Text] = Doc()
    [update] = keystrokes(1, Random(3))
    assert yjs_updates(create_update_message(update)) == 1
    assert yjs_updates(b"\x00\x01" + sized(document.get_update())) == 0


@pytest.mark.parametrize("size", [0, 127, 128, 20_000])
def test_lengths_are_written_as_yjs_writes_them(size: int) -> None:
    assert create_update_message(bytes(size)) == b"\x00\x02" + sized(bytes(size))
