"""The scanner by itself: what it reads out of updates, and what it refuses."""

import pickle
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText, merge_updates

from sync.update import MAX_NESTING, MalformedUpdate, Update, decode_vector, scan

Id = tuple[int, int]


def number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return number(len(data)) + data


def item(
    kind: int,
    content: bytes,
    *,
    left: Id | None = None,
    right: Id | None = None,
    parent: Id | str = "content",
    key: str | None = None,
) -> bytes:
    info = kind | (0x80 if left else 0) | (0x40 if right else 0) | (0 if key is None else 0x20)
    out = bytes((info,)) + b"".join(number(n) for n in (*(left or ()), *(right or ())))
    if not left and not right:
        if isinstance(parent, str):
            out += b"\1" + string(parent)
        else:
            out += b"\0" + number(parent[0]) + number(parent[1])
        out += b"" if key is None else string(key)
    return out + content


# The content of items, by kind: `item(*text("a"))`.


def deleted(length: int) -> tuple[int, bytes]:
    return 1, number(length)


def binary(data: bytes) -> tuple[int, bytes]:
    return 3, string(data)


def text(data: str | bytes) -> tuple[int, bytes]:
    return 4, string(data)


def embed(json: str) -> tuple[int, bytes]:
    return 5, string(json)


def mark(key: str, json: str) -> tuple[int, bytes]:
    return 6, string(key) + string(json)


def shared(kind: int, name: str | None = None) -> tuple[int, bytes]:
    return 7, number(kind) + (b"" if name is None else string(name))


def values(*encoded: bytes) -> tuple[int, bytes]:
    return 8, number(len(encoded)) + b"".join(encoded)


ARRAY, MAP, TEXT, XML_ELEMENT, XML_FRAGMENT, XML_HOOK, XML_TEXT = range(7)
NULL = b"\x7e"


def garbage(length: int) -> bytes:
    return b"\x00" + number(length)


def hole(length: int) -> bytes:
    return b"\x0a" + number(length)


def update(
    *clients: tuple[int, int, Sequence[bytes]],
    deletes: Iterable[tuple[int, Sequence[tuple[int, int]]]] = (),
) -> bytes:
    """An update of (client, first clock, structs), and deleted (clock, length) by client."""
    out = number(len(clients))
    for client, clock, structs in clients:
        out += number(len(structs)) + number(client) + number(clock) + b"".join(structs)
    deletes = list(deletes)
    out += number(len(deletes))
    for client, ranges in deletes:
        out += number(client) + number(len(ranges))
        out += b"".join(number(clock) + number(length) for clock, length in ranges)
    return out


def one(*structs: bytes) -> bytes:
    return update((1, 0, structs))


def rich_document() -> bytes:
    doc: Doc[Any] = Doc(client_id=4_000_000_000)
    body = doc.get("content", type=Text)
    body += "plain, 漢字 and 😀"
    body.insert_embed(0, {"image": "é", "sizes": [1, 2.5, -3]})
    body.format(2, 7, {"bold": True, "link": {"href": "x"}})
    del body[1:3]
    properties = doc.get("properties", type=Map)
    properties["data"] = Map({"list": Array([1, 2.5, "😀", None, True, b"\0\1", {"a": [[]]}])})
    properties["title"] = "first"
    properties["title"] = "second"
    fragment = doc.get("default", type=XmlFragment)
    paragraph = fragment.children.append(XmlElement("p", {"class": "x"}))
    paragraph.children.append(XmlText("in a paragraph"))
    del fragment.children[0]
    fragment.children.append(XmlElement("p"))
    return doc.get_update()


def refusal(data: bytes) -> str:
    with pytest.raises(MalformedUpdate) as refused:
        scan(data)
    return str(refused.value)


def test_an_update_brings_the_clocks_of_its_structs() -> None:
    scanned = scan(update((7, 3, [item(*text("abc"), left=(7, 2)), garbage(4)])))
    assert scanned.structs == {7: (3, 10)}
    assert scanned.needs == {7: 3}


def test_text_takes_a_clock_for_each_utf_16_unit() -> None:
    scanned = scan(one(item(*text("a😀é漢😀b"))))
    assert scanned.structs == {1: (0, 8)}
    assert scanned.pairs == {1: [2, 6]}


def test_each_kind_of_content_takes_its_clocks() -> None:
    structs = {
        3: deleted(3),
        1: binary(b"\xff\0"),
        2: text("ab"),
        0: embed('{"a": "\\ud83d\\ude00"}'),
        4: mark("bold", "true"),
        5: shared(XML_ELEMENT, "p"),
        6: values(NULL, NULL),
    }
    lengths = [3, 1, 2, 1, 1, 1, 2]
    for content, length in zip(structs.values(), lengths, strict=True):
        assert scan(one(item(*content))).structs == {1: (0, length)}


def test_an_update_needs_what_its_items_name() -> None:
    scanned = scan(
        update(
            (9, 4, [item(*text("a"), left=(8, 5), right=(7, 6))]),
            (2, 0, [item(*text("b"), parent=(3, 2)), item(*text("c"), left=(9, 4))]),
            deletes=[(6, [(1, 2), (10, 5)]), (9, [(0, 5)])],
        )
    )
    assert scanned.needs == {9: 4, 8: 6, 7: 7, 2: 0, 3: 3, 6: 15}
    assert scanned.deletes == {6: [(1, 3), (10, 15)], 9: [(0, 5)]}


def test_what_an_update_names_beyond_what_it_brings_it_needs() -> None:
    data = update((2, 3, [garbage(2)]), (1, 0, [item(*text("a"), left=(2, 4), right=(2, 5))]))
    assert scan(data).needs == {2: 6, 1: 0}


def test_what_is_typed_on_is_one_run() -> None:
    typed = [item(*text("a"), left=(1, n), right=(2, 7)) for n in range(9)]
    data = update(
        (1, 0, [item(*text("a"), parent=(2, 3)), item(*text("a"), left=(1, 0)), *typed[1:]])
    )
    assert [run[:3] for run in scan(data).runs] == [(1, 0, 2), (1, 2, 10)]


def test_a_hole_makes_what_is_before_it_a_need() -> None:
    scanned = scan(update((5, 2, [item(*text("a")), hole(3), item(*text("bc"))])))
    assert scanned.structs == {5: (6, 8)}
    assert scanned.needs == {5: 6}


def test_documents_of_pycrdt_are_read_to_their_end() -> None:
    data = rich_document()
    scanned = scan(data)
    assert set(scanned.structs) == {4_000_000_000}
    assert scan(merge_updates(data, one(item(*text("a"))))).structs.keys() == {4_000_000_000, 1}


def test_a_scanned_update_can_go_to_another_process() -> None:
    scanned = scan(rich_document())
    copy: Update = pickle.loads(pickle.dumps(scanned))
    assert {name: getattr(copy, name) for name in Update.__slots__} == {
        name: getattr(scanned, name) for name in Update.__slots__
    }


def test_an_update_that_is_cut_off_anywhere_is_refused() -> None:
    data = rich_document()
    for end in range(len(data)):
        refusal(data[:end])


def test_bytes_behind_the_end_are_refused() -> None:
    assert refusal(rich_document() + b"\0") == "1 bytes too many at byte " + str(
        len(rich_document())
    )


@pytest.mark.parametrize(
    "declared",
    [
        number(50_000_000),
        b"\1" + number(50_000_000) + b"\1\0",
        b"\0\1\1" + number(50_000_000),
        b"\1\1\1\0" + item(8, number(50_000_000)),
        b"\1\1\1\0" + item(*values(b"\x76" + number(50_000_000))),
        b"\1\1\1\0" + item(4, number(50_000_000) + b"abc"),
        b"\1\1\1\0" + item(3, number(2**40)),
    ],
    ids=["clients", "structs", "deletions", "values", "properties", "text", "binary"],
)
def test_more_is_not_declared_than_there_is(declared: bytes) -> None:
    assert refusal(declared + NULL).startswith("cut off")


@pytest.mark.parametrize("levels", [MAX_NESTING + 1, 8_000, 30_000])
def test_values_nested_too_deep_are_refused(levels: int) -> None:
    arrays = b"\x75\1" * levels + NULL
    objects = (b"\x76\1" + string("k")) * levels + NULL
    for nested in (arrays, objects):
        assert refusal(one(item(*values(nested)))).startswith("nesting deeper than 32")


@pytest.mark.parametrize("levels", [MAX_NESTING + 1, 500, 8_000, 30_000])
def test_json_nested_too_deep_is_refused(levels: int) -> None:
    refusal(one(item(*embed("[" * levels + "]" * levels))))
    refusal(one(item(*mark("k", '{"a":' * levels + "1" + "}" * levels))))


def test_values_and_json_may_nest_to_the_limit() -> None:
    nested = b"\x75\1" * MAX_NESTING + NULL
    json = "[" * MAX_NESTING + "]" * MAX_NESTING
    scan(one(item(*values(nested)), item(*embed(json)), item(*embed(f'["{"[" * 99}"]'))))


@pytest.mark.parametrize(
    "json",
    [
        "",
        "undefined",
        "NaN",
        "-Infinity",
        "[1,]",
        "{'a': 1}",
        "01",
        "1.",
        "1 2",
        "\ufeff1",
        '"\t"',
        '"\\x"',
        '"\\ud83d"',  # half a surrogate pair: yrs does not read it
        '["\\udc00\\ud83d"]',
        "1e999",  # to JavaScript, Infinity
        "-" + "9" * 400,
        "18446744073709551615",  # between what yrs reads as an integer and what as a float
        "9" * 5000,
    ],
)
def test_json_that_yjs_or_yrs_cannot_read_is_refused(json: str) -> None:
    assert refusal(one(item(*embed(json)))).startswith("JSON")
    assert refusal(one(item(*mark("k", json)))).startswith("JSON")


@pytest.mark.parametrize(
    "json",
    [" null ", "-0", "1e300", "9223372036854775807", "9" * 30, '"\\\\ud83d"', '"\\ud83d\\ude00"'],
)
def test_json_that_both_read_is_accepted(json: str) -> None:
    scan(one(item(*embed(json))))


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"\x7d\x3f", True),
        (b"\x7d" + b"\xbf" + number(2**47 - 1), True),
        (b"\x7d" + b"\xbf" + number(2**47), False),
        (b"\x7c" + struct.pack(">f", 1.5), True),
        (b"\x7b" + struct.pack(">d", float("nan")), True),
        (b"\x7a" + struct.pack(">q", -(2**63)), True),
        (b"\x77" + string(b"\xff"), False),
        (b"\x77" + string(b"\xed\xa0\x80"), False),
        (b"\x76\1" + string("__proto__") + NULL, False),
        (b"\x76\1" + string("proto") + NULL, True),
        (b"\x73\0", False),
        (b"\x80\0", False),
    ],
)
def test_values_are_read_as_both_read_them(value: bytes, accepted: bool) -> None:
    data = one(item(*values(value)))
    if accepted:
        scan(data)
    else:
        refusal(data)


@pytest.mark.parametrize("kind", [2, 9, *range(11, 32)])
def test_content_that_either_reads_otherwise_is_refused(kind: int) -> None:
    for content in (b"", b"\1", string("1"), b"\1\1" + string("1")):
        assert refusal(one(item(kind, content))).startswith("unknown kind of struct")


@pytest.mark.parametrize("info", [0x20, 0x40, 0x80, 0xC0, 0x2A, 0x4A, 0x8A, 0x10, 0x1A])
def test_garbage_and_holes_have_no_further_bits(info: int) -> None:
    refusal(one(bytes((info,)) + b"\1\0" * 8))


@pytest.mark.parametrize("kind", [XML_HOOK, *range(7, 16), 0x80])
def test_shared_types_that_either_does_not_know_are_refused(kind: int) -> None:
    for content in (bytes((kind,)), bytes((kind,)) + string("p")):
        assert refusal(one(item(7, content))).startswith("unknown type")


def test_subdocuments_are_refused() -> None:
    doc: Doc[Any] = Doc()
    doc.get("properties", type=Map)["inner"] = Doc()
    assert refusal(doc.get_update()).startswith("unknown kind of struct")


@pytest.mark.parametrize(
    "struct",
    [
        garbage(0),
        hole(0),
        item(*deleted(0)),
        item(*text("")),
        item(*values()),
    ],
    ids=["garbage", "hole", "deleted", "text", "values"],
)
def test_structs_of_no_length_are_refused(struct: bytes) -> None:
    assert refusal(one(struct, garbage(1))).startswith("empty struct")


@pytest.mark.parametrize(
    "data",
    [
        update((1, 0, [])),
        update((1, 5, [hole(3)])),
        update((1, 0, [garbage(1), hole(3)])),
    ],
)
def test_a_client_without_structs_is_refused(data: bytes) -> None:
    assert "without structs" in refusal(data)


@pytest.mark.parametrize("second", [1, 2])
def test_clients_come_once_and_in_descending_order(second: int) -> None:
    assert "out of order" in refusal(update((1, 0, [garbage(1)]), (second, 1, [garbage(1)])))


def test_deletions_of_a_client_come_once() -> None:
    assert "deletions" in refusal(
        update((1, 0, [garbage(9)]), deletes=[(1, [(0, 1)]), (1, [(2, 1)])])
    )


@pytest.mark.parametrize("ranges", [[(2, 0)], [(2, 2), (0, 1)], [(0, 3), (2, 2)], [(0, 2), (2, 2)]])
def test_deleted_ranges_are_not_empty_and_do_not_touch(ranges: list[tuple[int, int]]) -> None:
    assert "deletions" in refusal(update((1, 0, [garbage(9)]), deletes=[(1, ranges)]))


def test_an_empty_list_of_deletions_deletes_nothing() -> None:
    assert scan(update(deletes=[(1, [])])).deletes == {}


@pytest.mark.parametrize("client", [2**53, 2**55])
def test_client_ids_past_53_bits_are_refused(client: int) -> None:
    refusal(update((client, 0, [garbage(1)])))
    refusal(update(deletes=[(client, [(0, 1)])]))


def test_client_ids_of_53_bits_are_accepted() -> None:
    client = 2**53 - 1
    assert scan(update((client, 0, [garbage(1)]))).structs == {client: (0, 1)}


@pytest.mark.parametrize(
    "structs", [[garbage(2**31)], [garbage(2**31 - 1), garbage(1)], [item(*deleted(2**55))]]
)
def test_clocks_past_31_bits_are_refused(structs: list[bytes]) -> None:
    assert "31 bits" in refusal(one(*structs))


@pytest.mark.parametrize("digits", [b"\x80\0", b"\x81\x80\0", b"\x81" + b"\x80" * 10 + b"\1"])
def test_numbers_are_not_longer_than_needed(digits: bytes) -> None:
    assert refusal(digits + b"\0").startswith("number longer than")


@pytest.mark.parametrize(
    "place",
    [
        {"left": (1, 2)},
        {"left": (1, 3)},
        {"right": (1, 2)},
        {"left": (1, 0), "right": (1, 3)},
        {"parent": (1, 2)},
        {"parent": (1, 9)},
    ],
)
def test_an_item_names_neither_itself_nor_a_later_one(place: dict[str, Id]) -> None:
    data = one(item(*text("ab")), item(*text("c"), **place), item(*text("d")))  # type: ignore[arg-type]
    assert refusal(data).startswith("names itself or a later item")


def test_an_item_is_not_between_another_and_itself() -> None:
    data = one(item(*text("ab")), item(*text("c"), left=(1, 0), right=(1, 0)))
    assert refusal(data).startswith("between an item and itself")


def test_clients_that_wait_for_each_other_in_a_circle_are_refused() -> None:
    data = update(
        (3, 0, [item(*text("a"), left=(2, 0))]),
        (2, 0, [item(*text("b"), right=(1, 0))]),
        (1, 0, [item(*text("c"), parent=(3, 0))]),
    )
    assert "circle" in refusal(data)


def test_clients_may_name_each_other_in_turns() -> None:
    weave = 100
    data = update(
        (2, 0, [item(*text("b"), left=(1, i)) for i in range(weave)]),
        (1, 0, [item(*text("a"))] + [item(*text("a"), left=(2, i)) for i in range(weave)]),
    )
    known: set[Id] = set()
    for client, start, end, _, _, left, left_clock, _, _ in scan(data).runs:
        assert left < 0 or (left, left_clock) in known
        known.update((client, clock) for clock in range(start, end))
    assert known == {(1, clock) for clock in range(101)} | {(2, clock) for clock in range(100)}


def test_unknown_kinds_of_parents_are_refused() -> None:
    assert refusal(b"\1\1\1\0\x04\x02" + string("content") + string("a") + b"\0").startswith(
        "unknown parent"
    )


@pytest.mark.parametrize(
    "struct",
    [
        item(*text(b"\xff")),
        item(*text(b"a\xf0\x9f\x98")),
        item(*text(b"\xed\xa0\x80")),
        item(*text("a"), parent="xy").replace(b"xy", b"\xff\xff"),
        item(*text("a"), key="xy").replace(b"xy", b"\xff\xff"),
        item(7, b"\3" + string(b"\xff")),
        item(*embed('"xy"')).replace(b"xy", b"\xff\xff"),
    ],
)
def test_text_that_is_not_utf_8_is_refused(struct: bytes) -> None:
    assert "UTF-8" in refusal(one(struct))


def test_a_state_vector_is_read() -> None:
    doc: Doc[Any] = Doc(client_id=2**53 - 1)
    doc.get("content", type=Text).insert(0, "abc")
    assert decode_vector(doc.get_state()) == {2**53 - 1: 3}
    assert decode_vector(b"\0") == {}


@pytest.mark.parametrize("data", [b"", b"\1", b"\1\1", b"\0\0", number(50_000_000) + b"\1\1"])
def test_a_damaged_state_vector_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedUpdate):
        decode_vector(data)
