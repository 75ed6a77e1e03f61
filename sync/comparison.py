"""What changed between two texts, in words: for people to see, and for edits that merge.

The smaller an edit, the more of what others do at the same time stays what they meant. Words are
the measure: finer, unrelated words would be made of each other's letters.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from math import ceil
from typing import Any, Literal, NamedTuple
from uuid import UUID

from rapidfuzz.distance import Levenshtein

from protocol.history import DiffPart, FieldDiff
from protocol.log import Message, Projection

MAX_DIFF_CHARACTERS = 256 * 1024  # of what differs that is sent, over all fields
SHOWN_CHARACTERS = 200  # at either end of a run that is the same; what is between is skipped

# Comparing takes the product of the lengths: some 100 ms.
MAX_PRODUCT = 4_000_000_000
PIECE_ITEMS = 32  # on average, of a piece of what is too long to be compared item by item
MAX_CHANGES = 10_000  # to make each takes a walk through the document

_WORD = re.compile(r"\w+|\s+|[^\w\s]")


class Change(NamedTuple):
    """Items `start` to `end` of the old sequence are those from `first` to `last` of the new."""

    start: int
    end: int
    first: int
    last: int


def changes(
    old: Sequence[Hashable], new: Sequence[Hashable], limit: int | None = None
) -> list[Change]:
    """What makes `new` of `old`, in order. What lies between is equal. Where there is too much to
    compare, what differs is looked for in pieces, and at worst is one change. More than `limit`
    (by default `MAX_CHANGES`) are made fewer by taking neighbours for one."""
    start, end, last = _trimmed(old, new)
    if start == end and start == last:
        return []
    whole = [Change(start, end, start, last)]
    if start in {end, last}:
        return whole
    found = _differences(old[start:end], new[start:last]) or _in_pieces(
        old[start:end], new[start:last]
    )
    made = [
        Change(start + each.start, start + each.end, start + each.first, start + each.last)
        for each in found
    ]
    return _fewer(made, limit or MAX_CHANGES) if made else whole


def _fewer(made: Sequence[Change], limit: int) -> list[Change]:
    size = ceil(len(made) / limit)
    groups = (made[start : start + size] for start in range(0, len(made), size))
    return [
        Change(group[0].start, group[-1].end, group[0].first, group[-1].last) for group in groups
    ]


def _trimmed(old: Sequence[Hashable], new: Sequence[Hashable]) -> tuple[int, int, int]:
    """Where the two begin to differ, and where, in each, they end to."""
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] == new[start]:
        start += 1
    tail = 0
    while tail < shorter - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return start, len(old) - tail, len(new) - tail


def _differences(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[Change]:
    """The changes, item by item; none if that is too much to compare."""
    if len(old) * len(new) > MAX_PRODUCT:
        return []
    numbers: dict[Hashable, int] = {}
    found = Levenshtein.opcodes(
        [numbers.setdefault(item, len(numbers)) for item in old],
        [numbers.setdefault(item, len(numbers)) for item in new],
    )
    made: list[Change] = []
    for code in found:
        if code.tag == "equal":
            continue
        change = Change(code.src_start, code.src_end, code.dest_start, code.dest_end)
        if made and made[-1].end == change.start and made[-1].last == change.first:
            change = Change(made[-1].start, change.end, made[-1].first, change.last)
            made.pop()
        made.append(change)
    return made


def _in_pieces(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[Change]:
    """The changes, by pieces first and then within those that differ."""
    before, after = _pieces(old), _pieces(new)
    old_ends = [0, *accumulate(map(len, before))]
    new_ends = [0, *accumulate(map(len, after))]
    made = []
    for change in _differences(before, after):
        start, first = old_ends[change.start], new_ends[change.first]
        here, there = old[start : old_ends[change.end]], new[first : new_ends[change.last]]
        skip, end, last = _trimmed(here, there)
        within = _differences(here[skip:end], there[skip:last]) or [
            Change(0, end - skip, 0, last - skip)
        ]
        made += [
            Change(
                start + skip + each.start,
                start + skip + each.end,
                first + skip + each.first,
                first + skip + each.last,
            )
            for each in within
        ]
    return made


def _pieces(items: Sequence[Hashable]) -> list[tuple[Hashable, ...]]:
    """The items in pieces whose bounds follow from what is in them, so that what is the same in two
    sequences is in the same pieces."""
    bounds = [0]
    bounds += (
        place for place, pair in enumerate(pairwise(items), 1) if not hash(pair) % PIECE_ITEMS
    )
    bounds.append(len(items))
    return [tuple(items[start:end]) for start, end in pairwise(bounds)]


def words(text: str) -> list[str]:
    """The text in pieces: words, space, and signs one by one."""
    return _WORD.findall(text)


def compare(older: Projection, newer: Projection) -> tuple[list[FieldDiff], bool]:
    """How each field that differs became what it is, and whether that is more than is sent."""
    fields = []
    room = MAX_DIFF_CHARACTERS
    for field, message_id, before, after in _fields(older, newer):
        if before == after:
            continue
        parts, room = _within(_parts(before, after), room)
        fields.append(FieldDiff(field=field, parts=parts, message_id=message_id))
        if room <= 0:
            return fields, True
    return fields, False


_Field = Literal["title", "description", "text", "tags", "data", "metadata", "message"]


def _fields(older: Projection, newer: Projection) -> Iterator[tuple[_Field, UUID | None, str, str]]:
    yield "title", None, older.title or "", newer.title or ""
    yield "description", None, older.description or "", newer.description or ""
    yield "text", None, _body(older), _body(newer)
    yield "tags", None, "\n".join(older.tags), "\n".join(newer.tags)
    yield "data", None, _laid_out(_data(older)), _laid_out(_data(newer))
    yield "metadata", None, _laid_out(older.metadata), _laid_out(newer.metadata)
    before = {message.id: message for message in older.messages}
    after = {message.id: message for message in newer.messages}
    for message_id in dict.fromkeys([*before, *after]):
        yield "message", message_id, _said(before, message_id), _said(after, message_id)


def _parts(before: str, after: str) -> Iterator[DiffPart]:
    old, new = words(before), words(after)
    at = 0
    for change in changes(old, new):
        yield from _same("".join(old[at : change.start]))
        if deleted := "".join(old[change.start : change.end]):
            yield DiffPart(op="delete", text=deleted)
        if inserted := "".join(new[change.first : change.last]):
            yield DiffPart(op="insert", text=inserted)
        at = change.end
    yield from _same("".join(old[at:]))


def _same(text: str) -> Iterator[DiffPart]:
    between = len(text) - 2 * SHOWN_CHARACTERS
    if between > 0:
        yield DiffPart(op="equal", text=text[:SHOWN_CHARACTERS], skipped=between)
        yield DiffPart(op="equal", text=text[-SHOWN_CHARACTERS:])
    elif text:
        yield DiffPart(op="equal", text=text)


def attributed(
    parts: Iterable[DiffPart], writers: Sequence[tuple[int, UUID | None]]
) -> list[DiffPart]:
    """The parts of a text, with what was inserted cut by who wrote it. `writers` goes through the
    newer text: so many characters are this account's (None: it is not known whose)."""
    ends = list(accumulate(length for length, _ in writers))
    made: list[DiffPart] = []
    place = 0
    for part in parts:
        if part.op != "insert":
            made.append(part)
            if part.op == "equal":
                place += len(part.text) + part.skipped
            continue
        start, end = place, place + len(part.text)
        while place < end:
            index = bisect_right(ends, place)
            until, account_id = end, None
            if index < len(ends):
                until, account_id = min(end, ends[index]), writers[index][1]
            text = part.text[place - start : until - start]
            made.append(DiffPart(op="insert", text=text, user_id=account_id))
            place = until
    return made


def _within(parts: Iterator[DiffPart], room: int) -> tuple[list[DiffPart], int]:
    """As much of the parts as there is room for, and what is left of it: none if it ran out."""
    kept: list[DiffPart] = []
    for part in parts:
        if len(part.text) >= room:
            return [*kept, DiffPart(op=part.op, text=part.text[:room])], 0
        room -= len(part.text)
        kept.append(part)
    return kept, room


def _body(content: Projection) -> str:
    text: str = content.content.get("text", "")
    return text


def _data(content: Projection) -> dict[str, Any]:
    return {name: value for name, value in content.content.items() if name != "text"}


def _laid_out(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) if value else ""


def _said(messages: dict[UUID, Message], message_id: UUID) -> str:
    return messages[message_id].content if message_id in messages else ""
