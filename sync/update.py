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
from collections.abc import Callable, Iterable
from json import JSONDecoder, dumps
from math import isinf
from typing import NoReturn

# Yjs and yrs recurse into nested values: 8,000 levels overflow a browser's stack, 30,000 yrs's.
MAX_NESTING = 32
# Both keep 53 bits of a client id. Of a clock yrs keeps 32, at times as a signed number.
MAX_CLIENT = 2**53 - 1
MAX_CLOCK = 2**31 - 1

# What clocks hold, as far as it matters to others. TEXT is what is found in texts alone.
VALUE, TEXT, TYPE, ARRAY, DELETED, COLLECTED = range(6)
# Added where the left id of a run is that of its parent.
CHILD = 8
# Client and clock of an id that is not there.
NONE = -1

# Clocks of one client with one place in the document: client, start, end, what they hold,
# left client and clock, right client and clock. Behind the first, each follows the one before.
Run = tuple[int, int, int, int, int, int, int, int]


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
        for _ in range(count):
            pos = _structs(data, pos, update)
        pos = _deletions(data, pos, update)
    except IndexError:  # whatever runs past the end, the next number is missing
        raise MalformedUpdate(f"cut off at byte {len(data)}") from None
    if pos != len(data):
        raise MalformedUpdate(f"{len(data) - pos} bytes too many at byte {pos}")
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
    if pos != len(data):
        raise MalformedUpdate(f"{len(data) - pos} bytes too many at byte {pos}")
    return vector


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same clocks in sorted ranges of which none touches another."""
    result: list[tuple[int, int]] = []
    last = NONE
    for start, end in sorted(ranges):
        if start > last:
            result.append((start, end))
            last = end
        elif end > last:
            result[-1] = (result[-1][0], end)
            last = end
    return result


def _structs(data: bytes, pos: int, update: Update) -> int:  # noqa: C901, PLR0912, PLR0915
    """One client's structs, in one loop: every keystroke comes through it."""
    needs, runs = update.needs, update.runs
    count, pos = read_number(data, pos)
    at = pos
    client, pos = _client(data, pos)
    own = data[at:pos]
    clock, pos = read_number(data, pos)
    if client in update.structs:
        raise MalformedUpdate(f"client {client} comes twice at byte {at}")  # Yjs drops the first
    first = start = clock
    holds, place = NONE, _NOWHERE
    gone = []
    for _ in range(count):
        at = pos
        info = data[pos]
        pos += 1
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
            elif left == NONE:
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
            elif kind in _CONTENT:
                if kind == _TYPE and data[pos] == _ARRAY_TYPE:
                    held |= ARRAY
                    ...
                read, what = _CONTENT[kind]
                length, pos = read(data, pos)
                held |= what
            else:
                raise MalformedUpdate(f"unknown kind of struct {info} at byte {at}")

        if not length:
            raise MalformedUpdate(f"empty struct at byte {at}")
        if info == _SKIPPED:
            if start < clock:
                runs.append((client, start, clock, holds, *place))
            first = start = clock = clock + length
            holds, place = NONE, _NOWHERE
            continue
        here = left, left_clock, right, right_clock
        if left == client and left_clock == clock - 1:
            follows = held == VALUE == holds & ~CHILD and (right == NONE or here[2:] == place[2:])
        else:
            follows = held == holds and here == place == _NOWHERE
        if not follows:
            if start < clock:
                runs.append((client, start, clock, holds, *place))
            start, holds, place = clock, held, here
        if held in (DELETED, DELETED | CHILD, COLLECTED):
            gone.append((clock, clock + length))
        clock += length

    if first == clock:
        raise MalformedUpdate(f"client {client} without structs before byte {pos}")
    if clock > MAX_CLOCK:
        raise MalformedUpdate(f"client {client} past 31 bits of clock before byte {pos}")
    runs.append((client, start, clock, holds, *place))
    update.structs[client] = first, clock
    if gone:
        update.deletes[client] = merged(gone)
    return pos


def _deletions(data: bytes, pos: int, update: Update) -> int:
    needs, deletes = update.needs, update.deletes
    seen = set()
    count, pos = read_number(data, pos)
    for _ in range(count):
        at = pos
        client, pos = _client(data, pos)
        if client in seen:
            raise MalformedUpdate(f"client {client} comes twice at byte {at}")  # yrs drops one
        seen.add(client)
        ranges = []
        size, pos = read_number(data, pos)
        for _ in range(size):
            start, pos = read_number(data, pos)
            length, pos = read_number(data, pos)
            if not length:
                raise MalformedUpdate(f"empty deletion before byte {pos}")
            ranges.append((start, start + length))
        if ranges:
            ranges = merged(ranges + deletes.get(client, []))
            deletes[client] = ranges
            if needs.get(client, 0) < ranges[-1][1]:
                needs[client] = ranges[-1][1]
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
    _, _, _, _, left, left_clock, right, right_clock = run
    if left in structs and reached[left] <= left_clock < structs[left][1]:
        return left, left_clock + 1
    if right in structs and reached[right] <= right_clock < structs[right][1]:
        return right, right_clock + 1
    return None


def read_number(data: bytes, pos: int) -> tuple[int, int]:
    value = data[pos]
    pos += 1
    if value < 0x80:
        return value, pos
    value &= 0x7F
    for shift in _SHIFTS:
        byte = data[pos]
        pos += 1
        if byte < 0x80:
            return value | byte << shift, pos
        value |= (byte & 0x7F) << shift
    raise MalformedUpdate(f"number longer than 8 bytes at byte {pos - 8}")


def _client(data: bytes, pos: int) -> tuple[int, int]:
    client, end = read_number(data, pos)
    if client > MAX_CLIENT:
        raise MalformedUpdate(f"client id past 53 bits at byte {pos}")
    return client, end


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


# Readers of content: from where it starts, to how many clocks it takes and where it ends.


def _binary(data: bytes, pos: int) -> tuple[int, int]:
    size, pos = read_number(data, pos)
    return 1, pos + size


def _embed(data: bytes, pos: int) -> tuple[int, int]:
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
    return 1, pos + size


def _format(data: bytes, pos: int) -> tuple[int, int]:
    _, pos = _string(data, pos)
    return _embed(data, pos)


def _type(data: bytes, pos: int) -> tuple[int, int]:
    kind = data[pos]
    if kind == _XML_ELEMENT:
        _, end = _string(data, pos + 1)
        return 1, end
    if kind not in _NAMELESS_TYPES:
        raise MalformedUpdate(f"unknown type {kind} at byte {pos}")
    return 1, pos + 1


def _values(data: bytes, pos: int) -> tuple[int, int]:
    count, pos = read_number(data, pos)
    for _ in range(count):
        pos = _value(data, pos, MAX_NESTING)
    return count, pos


def _document(data: bytes, pos: int) -> tuple[int, int]:
    _, pos = _string(data, pos)
    if data[pos] != _OBJECT:
        raise MalformedUpdate(f"subdocument without options at byte {pos}")
    count, pos = read_number(data, pos + 1)
    for _ in range(count):
        at = pos
        option, pos = _string(data, pos)
        if option not in _OPTIONS:
            raise MalformedUpdate(f"unknown option of a subdocument at byte {at}")
        pos = _value(data, pos, MAX_NESTING)
    return 1, pos


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
            if key == b"__proto__":  # Yjs would change what the object is instead
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
    if len(text) > 18 and 2**63 <= float(text) <= 2**64:  # an error to yrs, but not beyond
        raise ValueError
    return _check_float(text)


def _check_constant(text: str) -> NoReturn:
    raise ValueError(text)  # NaN and Infinity are JSON to Python alone


# Kinds of structs.
_COLLECTED, _SKIPPED, _TEXT, _KIND = 0, 10, 4, 0x1F
_HAS_LEFT, _HAS_RIGHT, _HAS_KEY = 0x80, 0x40, 0x20
_NESTED, _ROOT = 0, 1
_NOWHERE = (NONE, NONE, NONE, NONE)
# Y.Array, Y.Map, Y.Text, Y.XmlFragment and Y.XmlText. A Y.XmlHook's name yrs takes for the next
# struct; its own further types Yjs does not know.
_NAMELESS_TYPES, _XML_ELEMENT = (0, 1, 2, 4, 6), 3
# Of these Yjs and yrs make the same: other options of its constructor Yjs would take over.
_OPTIONS = frozenset({b"autoLoad", b"encoding", b"gc", b"meta", b"shouldLoad"})
# Values: undefined, null, float32, float64, int64, false, true; and those of no fixed size.
_FIXED_SIZES = {127: 0, 126: 0, 124: 4, 123: 8, 122: 8, 121: 0, 120: 0}
_INTEGER, _STRING, _OBJECT, _ARRAY, _BINARY = 125, 119, 118, 117, 116
# Kind of content -> its reader, and what its clocks hold. Kind 2, the JSON of Yjs before 13, is
# missing: yrs reads one string more than there is.
_CONTENT: dict[int, tuple[Callable[[bytes, int], tuple[int, int]], int]] = {
    1: (read_number, DELETED),
    3: (_binary, VALUE),
    5: (_embed, TEXT),
    6: (_format, TEXT),
    7: (_type, TYPE),
    8: (_values, VALUE),
    9: (_document, VALUE),
}
# A number has eight bytes at most: 56 bits.
_SHIFTS = range(7, 56, 7)
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_PLAIN_JSON = frozenset({"true", "false", "null"})
_JSON = JSONDecoder(
    parse_float=_check_float, parse_int=_check_integer, parse_constant=_check_constant
)
