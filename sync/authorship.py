"""Who wrote which part of a memory's body. Run in a worker process.

Each letter of a text has a Yjs client and a clock, and the log knows who wrote which. In what order
the blocks of a whole document stand in the text, the CRDT library tells at once: it is given the
same document, with the number of its block for each letter. A block is in one piece.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from pycrdt import Text

from protocol.log import Authorship, Row
from sync.document import load
from sync.state import State
from sync.update import CONTENT, read_number, scan

MAX_BLOCKS = 50_000  # of the body: the number of one has to fit a UTF-16 unit that is no surrogate
MAX_CHARACTERS = 1_000_000
MAX_STRUCTS = 250_000  # of the document, formats and deletions too: a call should take seconds
ONE_GO = timedelta(minutes=10)

_FIRST = 0x80  # the letter of the first block: none that is treated in a way of its own
_COLLECTED, _SKIPPED, _TEXT = 0x00, 0x0A, 4
_HAS_LEFT, _HAS_RIGHT, _HAS_KEY, _KIND = 0x80, 0x40, 0x20, 0x1F


class TooMuch(ValueError):
    """The body has more than this."""


class Written(NamedTuple):
    """A run of the body; None where it is not known who wrote it, or when."""

    text: str
    account_id: UUID | None
    device_id: str | None
    written_at: datetime | None


class _Block(NamedTuple):
    """Text, and where in the update it stands with its length."""

    client: int
    clock: int
    text: str
    start: int
    end: int


def blame(
    updates: Sequence[bytes], kept: Sequence[Authorship], rows: Sequence[Row]
) -> list[Written]:
    """The body of these updates' document by who wrote it: `kept` says so of what is trimmed from
    the log, `rows` are the rest of it.

    Raises:
        TooMuch: it has too many parts or letters, or the document too many structs.
    """
    doc = load(updates)
    body = doc.get("content", type=Text)
    whole = doc.get_update()
    text = str(body)
    if len(text) > MAX_CHARACTERS:
        raise TooMuch(f"{MAX_CHARACTERS:,} characters")
    every = list(_blocks(whole))
    state = State.of([whole])
    root = state.root("content")
    blocks = [block for block in every if state.place(block.client, block.clock) == root]
    if len(blocks) > MAX_BLOCKS:
        raise TooMuch(f"{MAX_BLOCKS:,} parts")
    blocks = _in_order(whole, blocks)
    if "".join(block.text for block in blocks) != text:
        # Of what nobody writes so, it is better to know nothing than what is wrong.
        return [Written(text, None, None, None)]
    writers = _writers(kept, _sent(rows))
    return _joined(part for block in blocks for part in _parts(block, writers))


def _in_order(whole: bytes, blocks: list[_Block]) -> list[_Block]:
    """The blocks as they follow each other in the text. Takes a time in proportion to the whole
    document, however much of it stands between them."""
    parts: list[bytes] = []
    copied = 0
    for number, block in enumerate(blocks):
        letters = (chr(_FIRST + number) * _units(block.text)).encode()
        parts += whole[copied : block.start], _number(len(letters)), letters
        copied = block.end
    parts.append(whole[copied:])
    numbered = str(load([b"".join(parts)]).get("content", type=Text))
    return [blocks[ord(letter) - _FIRST] for letter, _ in groupby(numbered)]


def _number(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _blocks(data: bytes) -> Iterator[_Block]:
    """The blocks of text of an update that was scanned, whatever they are in.

    Raises:
        TooMuch: it has too many structs.
    """
    structs = 0
    clients, pos = read_number(data, 0)
    for _ in range(clients):
        count, pos = read_number(data, pos)
        structs += count
        if structs > MAX_STRUCTS:
            raise TooMuch(f"{MAX_STRUCTS:,} insertions, formats and deletions")
        client, pos = read_number(data, pos)
        clock, pos = read_number(data, pos)
        for _ in range(count):
            info = data[pos]
            pos += 1
            if info in {_COLLECTED, _SKIPPED}:
                length, pos = read_number(data, pos)
            else:
                pos = _past_place(data, pos, info)
                if info & _KIND == _TEXT:
                    start = pos
                    size, pos = read_number(data, pos)
                    text = data[pos : pos + size].decode()
                    pos += size
                    yield _Block(client, clock, text, start, pos)
                    length = _units(text)
                else:
                    _, length, pos = CONTENT[info & _KIND](data, pos)
            clock += length


def _past_place(data: bytes, pos: int, info: int) -> int:
    """Where the content of a struct starts, behind what says where it goes."""
    for neighbour in (_HAS_LEFT, _HAS_RIGHT):
        if info & neighbour:
            _, pos = read_number(data, pos)
            _, pos = read_number(data, pos)
    if not info & (_HAS_LEFT | _HAS_RIGHT):
        is_root, pos = read_number(data, pos)
        size, pos = read_number(data, pos)
        if is_root:
            pos += size
        else:
            _, pos = read_number(data, pos)
        if info & _HAS_KEY:
            size, pos = read_number(data, pos)
            pos += size
    return pos


def _units(text: str) -> int:
    """The clocks that a text takes: its UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


class _Writers:
    """Of one client, who wrote from which clock on, ascending."""

    __slots__ = ("starts", "who")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.who: list[Authorship] = []


def _sent(rows: Iterable[Row]) -> Iterator[Authorship]:
    """Who sent which clocks, row by row: when each was sent tells what was written in one go."""
    for row in rows:
        for client, (start, end) in scan(row.payload).structs.items():
            yield Authorship(client, start, end, row.account_id, row.device_id, row.written_at)


def _writers(kept: Iterable[Authorship], later: Iterable[Authorship]) -> dict[int, _Writers]:
    """What was sent again is the first sender's."""
    writers: dict[int, _Writers] = {}
    reached: dict[int, int] = {}
    for authorship in (*kept, *later):
        start = max(authorship.clock_from, reached.get(authorship.client, 0))
        if start < authorship.clock_to:
            of_client = writers.setdefault(authorship.client, _Writers())
            of_client.starts.append(start)
            of_client.who.append(authorship)
            reached[authorship.client] = authorship.clock_to
    return writers


def _parts(block: _Block, writers: dict[int, _Writers]) -> Iterator[Written]:
    of_client = writers.get(block.client)
    if of_client is None:
        yield Written(block.text, None, None, None)
        return
    units = block.text.encode("utf-16-le")
    at, end = block.clock, block.clock + len(units) // 2
    index = max(bisect_right(of_client.starts, at) - 1, 0)
    while at < end:
        who = of_client.who[index]
        is_last = index + 1 == len(of_client.who)
        until = end if is_last else min(end, of_client.starts[index + 1])
        text = units[(at - block.clock) * 2 : (until - block.clock) * 2].decode("utf-16-le")
        yield Written(text, who.account_id, who.device_id, who.written_at)
        at, index = until, index + 1


def _joined(parts: Iterable[Written]) -> list[Written]:
    """The parts, neighbours that were written in one go as one."""
    runs: list[Written] = []
    texts: list[str] = []
    for part in parts:
        last = runs[-1] if runs else None
        if last is not None and last[1:3] == part[1:3] and _in_one_go(last, part):
            texts.append(part.text)
            moments = [moment for moment in (last.written_at, part.written_at) if moment]
            runs[-1] = last._replace(written_at=max(moments, default=None))
            continue
        if last is not None:
            runs[-1] = last._replace(text="".join(texts))
        runs.append(part)
        texts = [part.text]
    if runs:
        runs[-1] = runs[-1]._replace(text="".join(texts))
    return runs


def _in_one_go(one: Written, other: Written) -> bool:
    if one.written_at is None or other.written_at is None:
        return one.written_at is other.written_at
    return abs(one.written_at - other.written_at) <= ONE_GO
