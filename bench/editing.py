"""Someone writes a long text: an editing session of many edits, each of one character."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from math import log
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import NamedTuple

import msgspec
from pycrdt import Doc, Text, TransactionEvent

from bench.errors import BenchmarkFailed

# How many a long paper took in a recorded session; its proportions are those of `generated`.
EDITS = 259_778

_LETTERS = ascii_lowercase + " " * 5
_INSERTS = 0.587  # the share of runs that insert; the others delete
# Medians and spreads of log-normal lengths, in characters.
_INSERTED, _DELETED, _MOVED = (log(9), 1.53), (log(2), 2.08), (log(48), 2.2)
_STAYS = 0.5  # the share of runs that begin where the last one ended

# At a position, so many characters go and this text comes.
Edit = tuple[int, int, str]


class Session(NamedTuple):
    """The edits as Yjs updates of one client, in their order, and the text they end in."""

    updates: list[bytes]
    text: str


class _Transaction(msgspec.Struct):
    patches: list[Edit]


class _Trace(msgspec.Struct):
    start_content: str = msgspec.field(name="startContent")
    end_content: str = msgspec.field(name="endContent")
    transactions: list[_Transaction] = msgspec.field(name="txns")


def generated(count: int, random: Random) -> Session:
    """A session of `count` edits: runs of typing and deleting, the cursor moved between them."""
    return _written(_edits(count, random))


def read(path: Path) -> Session:
    """A recorded session: JSON, gzipped, with `startContent`, `endContent`, and `txns`, each with
    its `patches` of position, number of deleted characters and inserted text.

    Raises:
        BenchmarkFailed: the file cannot be read, or its edits do not end in its text.
    """
    try:
        trace = msgspec.json.decode(gzip.decompress(path.read_bytes()), type=_Trace)
    except (OSError, EOFError, zlib.error, msgspec.DecodeError) as error:
        raise BenchmarkFailed(f"--trace {path} is no editing trace: {error}") from None
    edits: list[Edit] = [(0, 0, trace.start_content)] if trace.start_content else []
    edits += [patch for transaction in trace.transactions for patch in transaction.patches]
    session = _written(edits)
    if session.text != trace.end_content:
        raise BenchmarkFailed(f"--trace {path} does not end in its own text")
    return session


def _edits(count: int, random: Random) -> Iterator[Edit]:
    length = cursor = 0
    while count > 0:
        if random.random() >= _STAYS:
            moved = _length(_MOVED, random) * random.choice((-1, 1))
            cursor = min(max(cursor + moved, 0), length)
        if random.random() < _INSERTS:
            run = min(_length(_INSERTED, random), count)
            for letter in random.choices(_LETTERS, k=run):
                yield cursor, 0, letter
                cursor += 1
            length += run
        else:
            run = min(_length(_DELETED, random), count, cursor)
            for _ in range(run):
                cursor -= 1
                yield cursor, 1, ""
            length -= run
        count -= run


def _length(of: tuple[float, float], random: Random) -> int:
    return max(1, round(random.lognormvariate(*of)))


def _written(edits: Iterable[Edit]) -> Session:
    updates: list[bytes] = []

    def note(event: TransactionEvent) -> None:
        updates.append(event.update)

    document: Doc[Text] = Doc(client_id=1)
    body = document.get("content", type=Text)
    subscription = document.observe(note)
    for position, deleted, inserted in edits:
        with document.transaction():
            if deleted:
                del body[position : position + deleted]
            if inserted:
                body.insert(position, inserted)
    document.unobserve(subscription)
    return Session(updates, str(body))
