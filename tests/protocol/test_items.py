"""What an array's items are, whatever they hold."""

from random import Random

import msgspec
import pytest

from protocol.items import MAX_VALUES, split
from tests.bodies import NO_JSON, Bodies

encode = msgspec.msgpack.encode


def test_items_are_told_apart_as_msgspec_does() -> None:
    bodies = Bodies(Random(3))
    for number in range(300):
        items = [bodies.anything() for _ in range(number % 20)]
        data = encode(items)
        assert [bytes(item) for item in split(data)] == [encode(item) for item in items]


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_sizes_of_every_width_are_read(size: int) -> None:
    values = ["x" * size, b"x" * size, msgspec.msgpack.Ext(5, b"x" * size)]
    assert [bytes(item) for item in split(encode(values))] == [encode(each) for each in values]
    if size < MAX_VALUES // 2:
        values = [[None] * size, dict.fromkeys(range(size))]
        assert [bytes(item) for item in split(encode(values))] == [encode(each) for each in values]


def test_depth_costs_nothing() -> None:
    deep = b"\x91" * 50_000 + b"\x90"
    assert [bytes(item) for item in split(b"\x93\x01" + deep + b"\x02")] == [b"\x01", deep, b"\x02"]


def test_the_first_items_are_told_without_a_look_at_the_others() -> None:
    assert [bytes(item) for item in split(b"\x93\x01\x02\xc1", 2)] == [b"\x01", b"\x02"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"\xa1a",
        b"\x91",
        b"\x92\x01",
        b"\x91\xa5abc",
        b"\x91\x01\x01",
        b"\x91\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\xff",
        b"\x91\xdf\xff\xff\xff\xff\x01",
    ],
)
def test_what_is_no_array_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"array|early|behind|begins"):
        split(data)


def test_values_are_bounded() -> None:
    with pytest.raises(ValueError, match="more than"):
        split(b"\x91" * (MAX_VALUES + 2) + b"\x90")


def test_what_msgspec_takes_for_a_value_is_one_here() -> None:
    for value in NO_JSON:
        assert [bytes(item) for item in split(b"\x91" + value)] == [value]
