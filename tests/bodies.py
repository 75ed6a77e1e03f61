"""Bodies of requests, made at random from the types that the protocol declares.

A seed makes the same bodies again. What is made is a tree of plain values, in which `msgspec.Raw`
stands for bytes that no well-meant encoder writes.
"""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect as mi

RARELY = 0.15

TEXTS = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\n",
    "\u202e\u200b",
    "é\u0301",
    "😀" * 3,
    "%_\\",
    "'; --",
    '"',
    "-x",
    "${a}",
    "null",
    "<script>",
    "../../etc/passwd",
    "\ud7ff\ue000\uffff",
)
MOMENTS = (
    "2026-01-31T08:30:00.000Z",
    "2026-01-31T08:30:00",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "1500-01-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2016-12-31T23:59:60Z",
    "2026-01-31",
    "-1",
)
NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1)
FLOATS = (0.0, -0.0, 0.5, 1e308, float("nan"), float("inf"), float("-inf"))
WORDS = (
    "a word",
    "Lisbon",
    "ada@example.com",
    "current",
    "previous",
    "#3B82F6",
    "pt",
    "Europe/Rome",
    "ada42",
)

# What msgspec reads from MessagePack and no JSON has.
NO_JSON = (
    b"\xc4\x02ab",  # bytes
    b"\xd6\xff\x00\x00\x00\x00",  # a timestamp: the beginning of 1970
    b"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff",  # one that there cannot be
    b"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",  # one in far years
    b"\xd4\x05\x00",  # an extension of type 5
    b"\x81\x01\x02",  # a map whose key is a number
    b"\x81\x90\x02",  # a map whose key is an array
    b"\x82\xa1a\x01\xa1a\x02",  # a map with one key twice
    b"\xa2\xff\xfe",  # text that is no UTF-8
    b"\xa3\xed\xa0\x80",  # half of a surrogate pair
    b"\x81\xa2\xc3\x28\x01",  # a key that is no UTF-8
    b"\xca\x7f\xc0\x00\x00",  # not a number, in 32 bits
)


class Bodies:
    """Makes bodies. `known` are ids that mean something to who is asked, by the names of fields:
    most of those it makes are of them."""

    def __init__(self, random: Random, known: Mapping[str, Sequence[str]] | None = None) -> None:
        self._random = random
        self._known = known or {}

    def sound(self, struct: type[msgspec.Struct]) -> dict[str, Any]:
        """A body that `struct` is decoded from."""
        made = self._of(mi.type_info(struct))
        assert isinstance(made, dict)
        return made

    def broken(self, struct: type[msgspec.Struct]) -> Any:
        """A sound body in which one or a few things were changed, mostly for the worse."""
        body: Any = self.sound(struct)
        for _ in range(self._random.choice((1, 1, 1, 2, 4))):
            body = self._mutated(body, struct)
        return body

    def anything(self, depth: int = 0) -> Any:
        """Any value that MessagePack can carry."""
        pick = self._random.choice
        kinds: list[Callable[[], Any]] = [
            lambda: None,
            lambda: pick((True, False)),
            lambda: pick(NUMBERS),
            lambda: pick(FLOATS),
            self._text,
            lambda: msgspec.Raw(pick(NO_JSON)),
            self._id,
        ]
        if depth < 4:
            kinds += [
                lambda: [self.anything(depth + 1) for _ in range(self._random.randrange(4))],
                lambda: {
                    self._text()[:20]: self.anything(depth + 1)
                    for _ in range(self._random.randrange(4))
                },
            ]
        return pick(kinds)()

    def _mutated(self, body: Any, struct: type[msgspec.Struct]) -> Any:
        if not isinstance(body, dict):
            return body
        fields = struct.__struct_encode_fields__
        field = self._random.choice(fields) if fields else "extra"
        changed = dict(body)
        value = changed.get(field)
        match self._random.randrange(7):
            case 0:
                changed.pop(field, None)
            case 1:
                changed[field] = None
            case 2 | 3:
                changed[field] = self.anything()
            case 4:
                changed[self._text() or "extra"] = self.anything()
            case 5 if isinstance(value, str):
                changed[field] = self._random.choice((value + "\x00", value[:-1], value * 50, ""))
            case 5 if isinstance(value, list):
                changed[field] = value * 30 + [self.anything()]
            case 5:
                changed[field] = nested(self._random.choice((10, 40, 200, 3000)))
            case 6:
                return self._random.choice((self.anything(), [body], changed))
        return changed

    def _of(self, kind: mi.Type, field: str = "") -> Any:
        random = self._random
        match kind:
            case mi.Metadata():
                return self._of(kind.type, field)
            case mi.StructType():
                return {
                    each.encode_name: self._of(each.type, each.encode_name)
                    for each in kind.fields
                    if each.required or random.random() < 0.6
                }
            case mi.UnionType():
                return self._of(random.choice(kind.types), field)
            case mi.ListType():
                low = kind.min_length or 0
                high = min(kind.max_length or 8, low + 8)
                return [self._of(kind.item_type, field) for _ in range(random.randint(low, high))]
            case mi.DictType():
                return {self._text()[:20]: self.anything(1) for _ in range(random.randrange(4))}
            case mi.AnyType():
                return self.anything(1)
            case mi.UUIDType():
                return self._id(field)
            case _:
                return self._plain(kind)

    def _plain(self, kind: mi.Type) -> Any:
        random = self._random
        match kind:
            case mi.NoneType():
                return None
            case mi.BoolType():
                return random.random() < 0.5
            case mi.IntType():
                low = -(2**63) if kind.ge is None else kind.ge
                high = 2**63 - 1 if kind.le is None else kind.le
                return random.choice((low, high, random.randint(low, min(low + 20, high))))
            case mi.StrType():
                return self._string(kind)
            case mi.LiteralType():
                return random.choice(kind.values)
            case _:
                raise TypeError(f"requests with {kind} are new: say here how to make one")

    def _string(self, kind: mi.StrType) -> str:
        if kind.pattern is not None:
            fitting = [each for each in WORDS if re.search(kind.pattern, each)]
            return self._random.choice(fitting)
        timely = self._random.random() < 0.3
        text = self._random.choice(MOMENTS) if timely else self._text()
        low, high = kind.min_length or 0, kind.max_length or 5000
        if self._random.random() < RARELY:
            text = (text or "x") * high
        return text[:high] or "x" * low

    def _text(self) -> str:
        random = self._random
        match random.randrange(4):
            case 0:
                return random.choice(TEXTS)
            case 1:
                return random.choice(WORDS)
            case 2:
                return random.choice(TEXTS) + random.choice(WORDS)
            case _:
                return "".join(random.choices(string.printable, k=random.randrange(1, 30)))

    def _id(self, field: str = "") -> str:
        if field in self._known and self._random.random() < 0.8:
            return self._random.choice(self._known[field])
        return str(UUID(int=self._random.getrandbits(128)))


def nested(depth: int) -> msgspec.Raw:
    """Arrays in arrays."""
    return msgspec.Raw(b"\x91" * depth + b"\x90")
