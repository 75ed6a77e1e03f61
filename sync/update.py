"""The scanner: reads a Yjs v1 update before anything else may, and refuses what is not safe.

An update is structs by client, then deleted ranges by client. A number is a LEB128 var-int, or a
byte where its value is given; `count x*` is a count and as many x::

    update     = count (count client clock struct*)* deletions
    struct     = 0x00 length                        garbage-collected
               | 0x0A length                        skipped: a hole that a merge has left
               | info [left] [right] [parent] content
    info       = 0x80 has left | 0x40 has right | 0x20 has key | kind of content
    left       = client clock                       the item before it when it was inserted
    right      = client clock                       the item behind it
    parent     = (1 root-name | 0 client clock) [key]     only without left and right
    deletions  = count (client count (clock length)*)*

A struct takes as many clocks of its client as its content is long; text counts in UTF-16 units.

Yjs in the browsers and yrs (the engine of pycrdt) on the server must make one document of it. What
makes either of them fail, wait for ever or read something else is refused. Where it takes the
document to tell, `sync.state` finds prepared what it needs.
"""

import re
from collections.abc import Callable
from json import JSONDecoder, dumps
from math import isinf
from typing import NoReturn

# Yjs and yrs recurse into nested values: 8,000 levels overflow a browser's stack, 30,000 yrs's.
MAX_NESTING = 32
# Both keep 53 bits of a client id. Of a clock yrs keeps 32, at times as a signed number.
MAX_CLIENT = 2**53 - 1
MAX_CLOCK = 2**31 - 1

# What clocks hold, as far as it matters: TEXT is what only a text holds, VALUES are several in one
# struct.
VALUE, TEXT, TYPE, ARRAY, DELETED, COLLECTED, VALUES = range(7)
WHAT = 0b111
# Added to it: its left id is its parent's; it is under a key of its parent.
CHILD, KEYED = 0b1000, 0b10000
# In place of the client and the clock of an id that is not there.
NONE = -1

# Clocks of one client with one place in the document: client, start, end, what they hold, the name
# of their parent (its bytes in the update) or none, left client and clock, right client and clock.
# Behind the first, each clock follows the one before.
Run = tuple[int, int, int, int, bytes, int, int, int, int]

# The first byte of a struct.
_COLLECTED, _SKIPPED = 0x00, 0x0A
_HAS_LEFT, _HAS_RIGHT, _HAS_KEY, _KIND, _TEXT = 0x80, 0x40, 0x20, 0x1F, 4
# The first byte of a parent.
_NESTED, _ROOT = 0, 1
# Y.Array, Y.Map, Y.Text, Y.XmlFragment and Y.XmlText have no name. The name of a Y.XmlHook yrs
# takes for the next struct; and what further types it has, Yjs does not know.
_Y_ARRAY, _XML_ELEMENT, _NAMELESS_TYPES = 0, 3, (0, 1, 2, 4, 6)
# Values: undefined, null, float32, float64, int64, false, true; and those without a fixed size.
_FIXED_SIZES = {127: 0, 126: 0, 124: 4, 123: 8, 122: 8, 121: 0, 120: 0}
_INTEGER, _STRING, _OBJECT, _ARRAY, _BINARY = 125, 119, 118, 117, 116
# A number of eight bytes has 56 bits.
_SHIFTS = range(7, 56, 7)
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_NOWHERE = (NONE, NONE, NONE, NONE)


class MalformedUpdate(ValueError):
    """These bytes are not safe to store; the text tells the client why."""


class Update:
    """What an update brings, and what it builds on."""

    __slots__ = ("deletes", "needs", "pairs", "runs", "structs")

    def __init__(self) -> None:
        # client -> the clocks [start, end) of its structs, without a hole
        self.structs: dict[int, tuple[int, int]] = {}
        # client -> the next clock that must have been reached without this update
        self.needs: dict[int, int] = {}
        # client -> deleted [start, end), sorted, none touching another
        self.deletes: dict[int, list[tuple[int, int]]] = {}
        # where the structs go, in an order in which each names earlier ones only
        self.runs: list[Run] = []
        # client -> the clocks that hold the second half of a surrogate pair, sorted
        self.pairs: dict[int, list[int]] = {}


def scan(data: bytes) -> Update:
    """Read an update; raises `MalformedUpdate`."""
    update = Update()
    structs, needs = update.structs, update.needs
    try:
        count, pos = read_number(data, 0)
        last = MAX_CLIENT + 1
        for _ in range(count):
            last, pos = _structs(data, pos, last, update)
        pos = _deletions(data, pos, update)
    except IndexError:  # whatever runs past the end, the next number is missing
        raise MalformedUpdate(f"cut off at byte {len(data)}") from None
    _expect_end(data, pos)
    for client, (start, end) in structs.items():
        # What it names of its own structs it brings itself; before them it must not skip any.
        if needs.get(client, 0) <= end:
            needs[client] = start
    if len(structs) > 1:
        update.runs = _in_order(update.runs, structs)
    return update


def decode_vector(data: bytes) -> dict[int, int]:
    """Read a state vector, client -> next clock; raises `MalformedUpdate`."""
    vector: dict[int, int] = {}
    try:
        count, pos = read_number(data, 0)
        for _ in range(count):
            client, pos = read_number(data, pos)
            vector[client], pos = read_number(data, pos)
    except IndexError:
        raise MalformedUpdate(f"cut off at byte {len(data)}") from None
    _expect_end(data, pos)
    return vector


def _expect_end(data: bytes, pos: int) -> None:
    if pos != len(data):
        raise MalformedUpdate(f"{len(data) - pos} bytes too many at byte {pos}")


def _structs(  # noqa: C901, PLR0912, PLR0915 - one loop, since every keystroke comes through it
    data: bytes, pos: int, last: int, update: Update
) -> tuple[int, int]:
    """The structs of one client, whose id must be below the last one's; that id."""
    needs, runs = update.needs, update.runs
    count, pos = read_number(data, pos)
    at = pos
    client, pos = read_number(data, pos)
    own = data[at:pos]
    clock, pos = read_number(data, pos)
    if client >= last:  # merging relies on it; of a client that comes twice, Yjs drops a part
        raise MalformedUpdate(f"client {client} out of order at byte {at}")
    first = start = clock
    holds, place, name = NONE, _NOWHERE, b""
    for _ in range(count):
        at = pos
        info = data[pos]
        pos += 1
        named = b""
        left = left_clock = right = right_clock = NONE
        if info in (_COLLECTED, _SKIPPED):
            held = COLLECTED
            length, pos = read_number(data, pos)
        else:
            held = VALUE
            if info & _HAS_LEFT:
                if data.startswith(own, pos):
                    left = client
                    pos += len(own)
                else:
                    left, pos = read_number(data, pos)
                left_clock, pos = read_number(data, pos)
            if info & _HAS_RIGHT:
                right, pos = read_number(data, pos)
                right_clock, pos = read_number(data, pos)
                if right == left and right_clock == left_clock:
                    raise MalformedUpdate(f"between an item and itself at byte {at}")
            elif left == NONE:
                start_of_name = pos
                parent = data[pos]
                pos += 1
                if parent == _ROOT:
                    _, pos = _string(data, pos)
                elif parent == _NESTED:
                    held = CHILD
                    left, pos = read_number(data, pos)
                    left_clock, pos = read_number(data, pos)
                else:
                    raise MalformedUpdate(f"unknown parent at byte {pos - 1}")
                if info & _HAS_KEY:
                    _, pos = _string(data, pos)
                    held |= KEYED
                named = data[start_of_name:pos]
            if left != client:
                if needs.get(left, 0) <= left_clock:
                    needs[left] = left_clock + 1
            elif left_clock >= clock:
                raise MalformedUpdate(f"names itself or a later item at byte {at}")
            if right != client:
                if needs.get(right, 0) <= right_clock:
                    needs[right] = right_clock + 1
            elif right_clock >= clock:
                raise MalformedUpdate(f"names itself or a later item at byte {at}")

            kind = info & _KIND
            if kind == _TEXT:
                size, pos = read_number(data, pos)
                text = data[pos : pos + size]
                length = size if text.isascii() else _wide(text, pos, client, clock, update)
                pos += size
                held |= TEXT
            elif kind in CONTENT:
                what, length, pos = CONTENT[kind](data, pos)
                held |= what
            else:
                raise MalformedUpdate(f"unknown kind of struct {info} at byte {at}")

        if not length:
            raise MalformedUpdate(f"empty struct at byte {at}")
        if info == _SKIPPED:
            if start < clock:
                runs.append((client, start, clock, holds, name, *place))
            first = start = clock = clock + length
            holds, place, name = NONE, _NOWHERE, b""
            continue
        here = left, left_clock, right, right_clock
        if left == client and left_clock == clock - 1:
            follows = (
                held <= TEXT and held == holds & WHAT and here[2:] in (place[2:], _NOWHERE[2:])
            )
        else:
            follows = held == holds and named == name and here == place == _NOWHERE
        if not follows:
            if start < clock:
                runs.append((client, start, clock, holds, name, *place))
            start, holds, name, place = clock, held, named, here
        clock += length

    if first == clock:
        raise MalformedUpdate(f"client {client} without structs before byte {pos}")
    if clock > MAX_CLOCK:
        raise MalformedUpdate(f"client {client} past 31 bits of clock before byte {pos}")
    runs.append((client, start, clock, holds, name, *place))
    update.structs[client] = first, clock
    return client, pos


def _deletions(data: bytes, pos: int, update: Update) -> int:
    needs = update.needs
    seen = set()
    count, pos = read_number(data, pos)
    for _ in range(count):
        at = pos
        client, pos = read_number(data, pos)
        if client in seen or client > MAX_CLIENT:  # yrs would drop deletions, or cut the id
            raise MalformedUpdate(f"deletions of client {client} at byte {at}")
        seen.add(client)
        ranges = []
        last = NONE
        size, pos = read_number(data, pos)
        for _ in range(size):
            at = pos
            start, pos = read_number(data, pos)
            length, pos = read_number(data, pos)
            if start <= last or not length:
                raise MalformedUpdate(f"deletions out of order at byte {at}")
            last = start + length
            ranges.append((start, last))
        if ranges:
            update.deletes[client] = ranges
            if needs.get(client, 0) < last:
                needs[client] = last
    return pos


def _in_order(runs: list[Run], structs: dict[int, tuple[int, int]]) -> list[Run]:
    """The runs, each behind those it names; refuses clients that wait for each other for ever."""
    queues: dict[int, list[Run]] = {client: [] for client in structs}
    for run in reversed(runs):
        queues[run[0]].append(run)
    reached = {client: start for client, (start, _) in structs.items()}
    ordered = []
    for first, (_, last) in structs.items():
        # the clock that each client must get to before the one in front of it can go on
        waiting = {first: last}
        while waiting:
            client, goal = waiting.popitem()
            queue = queues[client]
            while queue and queue[-1][1] < goal:
                reached[client] = queue[-1][1]
                ahead = _ahead(queue[-1], reached, structs)
                if ahead is not None:
                    if ahead[0] in waiting:
                        raise MalformedUpdate(f"clients {client} and {ahead[0]} wait in a circle")
                    waiting[client] = goal
                    waiting[ahead[0]] = ahead[1]
                    break
                ordered.append(queue.pop())
            else:
                reached[client] = queue[-1][1] if queue else structs[client][1]
    return ordered


def _ahead(
    run: Run, reached: dict[int, int], structs: dict[int, tuple[int, int]]
) -> tuple[int, int] | None:
    """The client that must come first, and how far, if the run names what is still to come."""
    *_, left, left_clock, right, right_clock = run
    if left in structs and reached[left] <= left_clock < structs[left][1]:
        return left, left_clock + 1
    if right in structs and reached[right] <= right_clock < structs[right][1]:
        return right, right_clock + 1
    return None


def read_number(data: bytes, pos: int) -> tuple[int, int]:
    """The number at `pos`, and where it ends."""
    value = data[pos]
    pos += 1
    if value < 0x80:
        return value, pos
    value &= 0x7F
    for shift in _SHIFTS:
        byte = data[pos]
        pos += 1
        if byte < 0x80:
            if not byte:
                raise MalformedUpdate(f"number longer than needed before byte {pos}")
            return value | byte << shift, pos
        value |= (byte & 0x7F) << shift
    raise MalformedUpdate(f"number longer than 8 bytes at byte {pos - 8}")


def _string(data: bytes, pos: int) -> tuple[bytes, int]:
    size, pos = read_number(data, pos)
    text = data[pos : pos + size]
    if not text.isascii():
        _decode(text, pos)
    return text, pos + size


def _decode(text: bytes, pos: int) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise MalformedUpdate(f"text that is not UTF-8 at byte {pos + error.start}") from None


def _wide(text: bytes, pos: int, client: int, clock: int, update: Update) -> int:
    """The length of a text in UTF-16 units; notes where its surrogate pairs are."""
    string = _decode(text, pos)
    length = len(string)
    if max(string) > "\uffff":
        pairs = update.pairs.setdefault(client, [])
        for match in _ASTRAL.finditer(string):
            clock += 1
            length += 1
            pairs.append(clock + match.start())
    return length


# Readers of content: from where it starts to what it is, how many clocks it takes, where it ends.


def _deleted(data: bytes, pos: int) -> tuple[int, int, int]:
    return DELETED, *read_number(data, pos)


def _binary(data: bytes, pos: int) -> tuple[int, int, int]:
    size, pos = read_number(data, pos)
    return VALUE, 1, pos + size


def _embed(data: bytes, pos: int) -> tuple[int, int, int]:
    size, pos = read_number(data, pos)
    text = _decode(data[pos : pos + size], pos)
    if text not in _PLAIN_JSON:
        try:
            value = _JSON.decode(text)
            if "\\u" in text:
                dumps(value, ensure_ascii=False).encode()  # fails on half a surrogate pair
        except (ValueError, RecursionError):
            raise MalformedUpdate(f"JSON that not all can read at byte {pos}") from None
        if text.count("[") + text.count("{") > MAX_NESTING and _is_deep(value, MAX_NESTING):
            raise MalformedUpdate(f"nesting deeper than {MAX_NESTING} at byte {pos}")
    return TEXT, 1, pos + size


def _format(data: bytes, pos: int) -> tuple[int, int, int]:
    _, pos = _string(data, pos)
    return _embed(data, pos)


def _type(data: bytes, pos: int) -> tuple[int, int, int]:
    kind = data[pos]
    if kind == _XML_ELEMENT:
        _, end = _string(data, pos + 1)
        return TYPE, 1, end
    if kind not in _NAMELESS_TYPES:
        raise MalformedUpdate(f"unknown type {kind} at byte {pos}")
    return ARRAY if kind == _Y_ARRAY else TYPE, 1, pos + 1


def _values(data: bytes, pos: int) -> tuple[int, int, int]:
    count, pos = read_number(data, pos)
    for _ in range(count):
        pos = _value(data, pos, MAX_NESTING)
    return VALUES if count > 1 else VALUE, count, pos


def _value(data: bytes, pos: int, room: int) -> int:
    """The end of a value of lib0's `any` encoding, if it nests no deeper than `room`."""
    at = pos
    tag = data[pos]
    pos += 1
    if tag in _FIXED_SIZES:
        return pos + _FIXED_SIZES[tag]
    if tag == _STRING:
        return _string(data, pos)[1]
    if tag == _INTEGER:
        # Six bits and a sign, then the higher bits as any number; in JavaScript 53 bits.
        if data[pos] < 0x80:
            return pos + 1
        high, pos = read_number(data, pos + 1)
        if high >> 47:
            raise MalformedUpdate(f"integer past 53 bits at byte {at}")
        return pos
    if tag == _BINARY:
        size, pos = read_number(data, pos)
        return pos + size
    if tag not in (_ARRAY, _OBJECT):
        raise MalformedUpdate(f"unknown value {tag} at byte {at}")
    if not room:
        raise MalformedUpdate(f"nesting deeper than {MAX_NESTING} at byte {at}")
    count, pos = read_number(data, pos)
    for _ in range(count):
        if tag == _OBJECT:
            key, pos = _string(data, pos)
            if key == b"__proto__":  # in Yjs it changes what the object is
                raise MalformedUpdate(f"key __proto__ at byte {at}")
        pos = _value(data, pos, room - 1)
    return pos


def _is_deep(value: object, room: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return not room or any(_is_deep(item, room - 1) for item in value)


def _check_float(text: str) -> float:
    if isinf(float(text)):  # Infinity to a browser, an error to yrs
        raise ValueError
    return 0


def _check_integer(text: str) -> float:
    if 18 < len(text) < 21 and 2**63 <= int(text) < 2**64:  # an error to yrs, but not beyond
        raise ValueError
    return _check_float(text)


def _check_constant(text: str) -> NoReturn:
    raise ValueError(text)  # NaN and Infinity are JSON to Python alone


# Of kind 2, the JSON of Yjs before 13, yrs reads one string more than there is. When kind 9, a
# subdocument, is deleted, it goes on to use the memory that it has freed.
CONTENT: dict[int, Callable[[bytes, int], tuple[int, int, int]]] = {
    1: _deleted,
    3: _binary,
    5: _embed,
    6: _format,
    7: _type,
    8: _values,
}
_PLAIN_JSON = frozenset({"true", "false", "null"})
_JSON = JSONDecoder(
    parse_float=_check_float, parse_int=_check_integer, parse_constant=_check_constant
)
