"""What a document holds, less its content: enough to judge an update before it is stored.

A room keeps this instead of a `Doc`. Its size follows the number of clients, of deleted ranges, of
changes from one shared type to another and of surrogate pairs; other text costs nothing.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice, pairwise
from typing import Self

from sync.update import (
    ARRAY,
    CHILD,
    COLLECTED,
    DELETED,
    KEYED,
    MAX_NESTING,
    NONE,
    TEXT,
    TYPE,
    VALUE,
    VALUES,
    MalformedUpdate,
    Run,
    Update,
    read_number,
    scan,
)

# The place of a clock: how many shared types it is in, counting the root; whether it is under a
# key; whether in a Y.Array; and what it holds. Of what is collected only that is known.
_DEPTH, _KEYED, _IN_ARRAY, _WHAT = 5, 1 << 4, 1 << 3, 0b111
_IN_ROOT = 1 << _DEPTH | VALUE
# Above so many ranges at once it is cheaper to sort them all than to insert each.
_MANY = 64
# Of the encoding.
_VERSION = 1


class State:
    """The clocks a document has reached, which of them are deleted, and how its types nest."""

    __slots__ = ("_deleted", "_pairs", "_places", "clocks")

    def __init__(self) -> None:
        # client -> next clock: the state vector
        self.clocks: dict[int, int] = {}
        self._deleted: dict[int, _Ranges] = {}
        self._places: dict[int, _Places] = {}
        # client -> the clocks that hold the second half of a surrogate pair
        self._pairs: dict[int, array[int]] = {}

    @classmethod
    def of(cls, updates: Iterable[bytes]) -> Self:
        """What these updates hold together, each building on those before it."""
        state = cls()
        for update in updates:
            state.add(scan(update))
        return state

    def missing(self, update: Update) -> dict[int, int]:
        """What the update builds on and is not here: client -> the clock to reach first."""
        reached = self.clocks.get
        return {
            client: clock for client, clock in update.needs.items() if reached(client, 0) < clock
        }

    def brings(self, update: Update) -> bool:
        """Whether any struct or any deletion is new."""
        for client, (_, end) in update.structs.items():
            if end > self.clocks.get(client, 0):
                return True
        for client, ranges in update.deletes.items():
            deleted = self._deleted.get(client)
            if deleted is None or not deleted.contain(ranges):
                return True
        return False

    def new_ranges(self, update: Update) -> list[tuple[int, int, int]]:
        """The clocks that are new: client, start, end."""
        reached = self.clocks.get
        return [
            (client, max(start, reached(client, 0)), end)
            for client, (start, end) in update.structs.items()
            if end > reached(client, 0)
        ]

    def validate(self, update: Update) -> None:
        """Refuse what only the document shows to be unsafe; nothing may be missing.

        Raises:
            MalformedUpdate: with the reason.
        """
        self._place(update, strict=True)
        if self._pairs or update.pairs:
            self._check_pairs(update)

    def add(self, update: Update) -> None:
        """Take in an update that is part of the document; nothing may be missing."""
        assert not self.missing(update)
        for client, places in self._place(update, strict=False).items():
            self._places.setdefault(client, _Places()).extend(places)
        for client, pairs in update.pairs.items():
            new = pairs[bisect_left(pairs, self.clocks.get(client, 0)) :]
            self._pairs.setdefault(client, array("I")).extend(new)
        deletes = list(update.deletes.items())
        for client, start, end, held, *_ in update.runs:
            known = self.clocks.get(client, 0)
            if held & _WHAT in (DELETED, COLLECTED) and end > known:
                deletes.append((client, [(max(start, known), end)]))
        for client, ranges in deletes:
            self._deleted.setdefault(client, _Ranges()).unite(ranges)
        for client, (_, end) in update.structs.items():
            if end > self.clocks.get(client, 0):
                self.clocks[client] = end

    def covers(self, other: "State") -> bool:
        """Whether all that is known and all that is deleted there is so here."""
        clocks, deleted = self.clocks, self._deleted
        return all(
            clocks.get(client, 0) >= clock for client, clock in other.clocks.items()
        ) and all(
            client in deleted and deleted[client].contain(ranges)
            for client, ranges in other.deletes().items()
        )

    def deletes(self) -> dict[int, list[tuple[int, int]]]:
        """Client -> deleted [start, end), sorted, none touching another."""
        return {client: list(ranges) for client, ranges in self._deleted.items()}

    def vector(self) -> bytes:
        """The state vector in Yjs's encoding."""
        numbers = [len(self.clocks)]
        for client in sorted(self.clocks, reverse=True):
            numbers += client, self.clocks[client]
        return _encoded(numbers)

    def encode(self) -> bytes:
        """All of this, compactly, to be stored beside a snapshot."""
        numbers = [_VERSION, len(self.clocks)]
        for client, clock in self.clocks.items():
            places = self._places.get(client, _Places())
            numbers += client, clock, len(places.kinds), *places.kinds, places.end
            deleted, pairs = self._deleted.get(client, _Ranges()), self._pairs.get(client, ())
            for ascending in (places.starts, deleted.bounds, pairs):
                numbers.append(len(ascending))
                numbers += (later - clock for clock, later in pairwise((0, *ascending)))
        return _encoded(numbers)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The state that was encoded."""
        state = cls()
        numbers = _decoded(data)
        try:
            if next(numbers) != _VERSION:
                raise ValueError("a state of another version")
            for _ in range(next(numbers)):
                state._decode_client(numbers)
        except (IndexError, OverflowError, StopIteration):
            raise ValueError("a damaged state") from None
        return state

    def _decode_client(self, numbers: Iterator[int]) -> None:
        client = next(numbers)
        self.clocks[client] = next(numbers)
        places, deleted, pairs = _Places(), _Ranges(), array("I")
        places.kinds.extend(islice(numbers, next(numbers)))
        places.end = next(numbers)
        for ascending in (places.starts, deleted.bounds, pairs):
            ascending.extend(accumulate(islice(numbers, next(numbers))))
        if places.kinds:
            self._places[client] = places
        if deleted.bounds:
            self._deleted[client] = deleted
        if pairs:
            self._pairs[client] = pairs

    def copy(self) -> Self:
        """The same, to be changed apart."""
        return self.decode(self.encode())

    def _place(self, update: Update, *, strict: bool) -> "dict[int, _Places]":
        """Where the new clocks of an update go, unless simply into a root.

        A snapshot may hold what would not be let in: its garbage has been collected since.
        """
        placed: dict[int, _Places] = {}
        for run in update.runs:
            client, start, end, held, *_ = run
            known = self.clocks.get(client, 0)
            if end <= known:
                continue
            what = held & _WHAT
            container = self._container(run, placed, strict=strict)
            if strict:
                if container >> _DEPTH > MAX_NESTING:
                    raise _malformed(f"nesting deeper than {MAX_NESTING}", run)
                if container & _IN_ARRAY and what == TEXT:  # yrs never ends reading it
                    raise _malformed("text in an array", run)
                if container & _KEYED and _is_long(run) and not _is_deleted(run, update):
                    # Yjs fails to collect them if one is deleted before the others.
                    raise _malformed("several values under one key", run)
                if start < known and held != COLLECTED:
                    before = self._at(client, known - 1, placed) & ~_WHAT
                    if before != container:
                        raise _malformed("not where it was before", run)
            place = _place(container, what)
            if place != _IN_ROOT:
                if client not in placed:
                    placed[client] = _Places()
                placed[client].append(max(start, known), end, place)
        return placed

    def _container(self, run: Run, placed: "dict[int, _Places]", *, strict: bool) -> int:
        """The place a run is in, less what it holds; 0 if it is collected at once."""
        _, _, _, held, left, left_clock, right, right_clock = run
        if held & CHILD:
            parent = self._at(left, left_clock, placed)
            if strict and parent & _WHAT == VALUE:  # an error to yrs
                raise _malformed("in what is no shared type", run)
            if parent & _WHAT not in (TYPE, ARRAY):
                return 0
            depth = min(parent >> _DEPTH, MAX_NESTING) + 1
            container = depth << _DEPTH | (_IN_ARRAY if parent & _WHAT == ARRAY else 0)
            return container | (_KEYED if held & KEYED else 0)
        if left == right == NONE:
            if held == COLLECTED:
                return 0
            return 1 << _DEPTH | (_KEYED if held & KEYED else 0)
        before = self._at(left, left_clock, placed) & ~_WHAT if left != NONE else 0
        behind = self._at(right, right_clock, placed) & ~_WHAT if right != NONE else 0
        if strict and left != NONE != right and before != behind:
            # If one of them is garbage, Yjs collects the item; yrs puts it beside the other.
            raise _malformed("between items of different places", run)
        return before or behind

    def _at(self, client: int, clock: int, placed: "dict[int, _Places]") -> int:
        places = self._places if clock < self.clocks.get(client, 0) else placed
        return places[client].at(clock) if client in places else _IN_ROOT

    def _check_pairs(self, update: Update) -> None:
        """Refuse to cut a surrogate pair: yrs miscounts its halves and loses what is behind."""
        for client, start, end, held, left, left_clock, right, right_clock in update.runs:
            if left != NONE and not held & CHILD:
                self._check_cut(update, left, left_clock + 1)
            if right != NONE:
                self._check_cut(update, right, right_clock)
            known = self.clocks.get(client, 0)
            if start < known:
                # Yjs looks again for the neighbours of what it knows, at bounds as told here.
                self._check_cut(update, client, known)
                if held & _WHAT in (VALUE, TEXT, VALUES):
                    self._check_same(update, client, start, min(end, known))
        for client, ranges in update.deletes.items():
            for bounds in ranges:
                for clock in bounds:
                    self._check_cut(update, client, clock)

    def _check_cut(self, update: Update, client: int, clock: int) -> None:
        known = clock < self.clocks.get(client, 0)
        pairs = self._pairs.get(client, ()) if known else update.pairs.get(client, ())
        index = bisect_left(pairs, clock)
        if index < len(pairs) and pairs[index] == clock:
            raise MalformedUpdate(f"cuts a surrogate pair at clock {clock} of client {client}")

    def _check_same(self, update: Update, client: int, start: int, end: int) -> None:
        here, there = self._pairs.get(client, ()), update.pairs.get(client, ())
        if list(here[bisect_left(here, start) : bisect_left(here, end)]) != list(
            there[bisect_left(there, start) : bisect_left(there, end)]
        ):
            raise MalformedUpdate(f"not what it was before at clock {start} of client {client}")


def _malformed(reason: str, run: Run) -> MalformedUpdate:
    return MalformedUpdate(f"{reason} at clock {run[1]} of client {run[0]}")


def _place(container: int, what: int) -> int:
    if not container:
        return COLLECTED
    return container | (VALUE if what in (TEXT, VALUES) else what)


def _is_long(run: Run) -> bool:
    _, start, end, held, *_ = run
    return held & _WHAT == VALUES or (held & _WHAT == TEXT and end - start > 1)


def _is_deleted(run: Run, update: Update) -> bool:
    client, first, last, *_ = run
    return any(start <= first and last <= end for start, end in update.deletes.get(client, ()))


class _Ranges:
    """Sets of clocks as start, end, start, end, ... in one ascending array."""

    __slots__ = ("bounds",)

    def __init__(self) -> None:
        self.bounds = array("I")

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.bounds[::2], self.bounds[1::2], strict=True)

    def contain(self, ranges: Iterable[tuple[int, int]]) -> bool:
        bounds = self.bounds
        for start, end in ranges:
            index = bisect_right(bounds, start)
            # Behind an odd number of bounds is within a range.
            if not index & 1 or bounds[index] < end:
                return False
        return True

    def unite(self, ranges: Sequence[tuple[int, int]]) -> None:
        if len(ranges) > _MANY:
            self.bounds = array("I", chain.from_iterable(_merged([*self, *ranges])))
            return
        bounds = self.bounds
        for start, end in ranges:
            first, last = bisect_left(bounds, start), bisect_right(bounds, end)
            bounds[first:last] = array(
                "I", ([] if first & 1 else [start]) + ([] if last & 1 else [end])
            )


class _Places:
    """Where clocks of one client are, unless in a root: runs that start in ascending order."""

    __slots__ = ("end", "kinds", "starts")

    def __init__(self) -> None:
        self.starts = array("I")
        self.kinds = array("H")
        self.end = 0

    def at(self, clock: int) -> int:
        index = bisect_right(self.starts, clock) - 1
        return self.kinds[index] if index >= 0 and clock < self.end else _IN_ROOT

    def append(self, start: int, end: int, place: int) -> None:
        """Add a run behind the others."""
        if start > self.end and self.kinds:
            self._start(self.end, _IN_ROOT)
        self._start(start, place)
        self.end = end

    def extend(self, others: "_Places") -> None:
        """Add all runs of another, which lie behind."""
        ends = [*others.starts[1:], others.end]
        for start, end, place in zip(others.starts, ends, others.kinds, strict=True):
            self.append(start, end, place)

    def _start(self, clock: int, place: int) -> None:
        if not self.kinds or self.kinds[-1] != place:
            self.starts.append(clock)
            self.kinds.append(place)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same clocks in sorted ranges of which none touches another."""
    merged: list[tuple[int, int]] = []
    last = NONE
    for start, end in sorted(ranges):
        if start > last:
            merged.append((start, end))
            last = end
        elif end > last:
            merged[-1] = (merged[-1][0], end)
            last = end
    return merged


def _encoded(numbers: Iterable[int]) -> bytes:
    out = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def _decoded(data: bytes) -> Iterator[int]:
    pos = 0
    while pos < len(data):
        number, pos = read_number(data, pos)
        yield number
