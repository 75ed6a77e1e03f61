"""What a document holds, less its content: enough to judge an update before it is stored.

A room keeps this instead of a `Doc`. Its size follows the number of clients, of deleted ranges, of
changes from one shared type to another and of surrogate pairs; other text costs nothing.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate, chain, islice, pairwise
from secrets import token_bytes
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
    WHAT,
    MalformedUpdate,
    Run,
    Update,
    read_number,
    scan,
)

# The place of a clock, in the bits of a number: what it holds (as in a run), whether it is in a
# Y.Array, whether under a key, how many shared types it is in (counting the root); and above that
# a hash of the inmost type's name and the key, which tells places apart. Collected, it has none.
_IN_ARRAY, _KEYED, _DEPTH, _NAME = 1 << 3, 1 << 4, 5, 12
_NAME_BYTES = 5
# Above so many ranges at once it is cheaper to sort them all than to insert each.
_MANY = 64
_VERSION = 1


class State:
    """The clocks a document has reached, which of them are deleted, and how its types nest."""

    __slots__ = ("_deleted", "_pairs", "_places", "_salt", "_validated", "clocks")

    def __init__(self) -> None:
        # client -> next clock: the state vector
        self.clocks: dict[int, int] = {}
        self._deleted: dict[int, _Ranges] = {}
        self._places: dict[int, _Places] = {}
        # client -> the clocks that hold the second half of a surrogate pair
        self._pairs: dict[int, array[int]] = {}
        # Nobody shall find two places with one hash.
        self._salt = token_bytes(8)
        # the update validated last, and where it goes, unless the state has changed since
        self._validated: tuple[Update, dict[int, _Places]] | None = None

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
        placed = self._place(update, strict=True)
        if self._pairs or update.pairs:
            self._check_pairs(update)
        self._validated = update, placed

    def validated(self, update: Update) -> "Placed":
        """What `validate` finds, for a copy of this state to `trust`.

        Raises:
            MalformedUpdate: with the reason.
        """
        self.validate(update)
        assert self._validated is not None
        return self._validated[1]

    def trust(self, update: Update, placed: "Placed") -> None:
        """Take a copy's word for what `validate` would find. The copy has to have been made of
        this very state, and no clock of the update's clients may have been reached since."""
        self._validated = update, placed

    def add(self, update: Update) -> None:
        """Take in an update that is part of the document; nothing may be missing."""
        if self._validated is not None and self._validated[0] is update:
            _, placed = self._validated
        else:
            assert not self.missing(update)
            placed = self._place(update, strict=False)
        self._validated = None
        for client, places in placed.items():
            if client in self._places:
                self._places[client].extend(places)
            else:
                self._places[client] = places
        for client, pairs in update.pairs.items():
            new = pairs[bisect_left(pairs, self.clocks.get(client, 0)) :]
            self._pairs.setdefault(client, array("I")).extend(new)
        deletes = list(update.deletes.items())
        for client, start, end, held, *_ in update.runs:
            known = self.clocks.get(client, 0)
            if held & WHAT in (DELETED, COLLECTED) and end > known:
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

    def place(self, client: int, clock: int) -> int:
        """Equal for clocks in one place of the document, and under one key if under any."""
        return self._places[client].at(clock) & ~WHAT

    def root(self, name: str) -> int:
        """The place of what is right in the root type of this name."""
        text = name.encode()
        return self._named(bytes((1, *_encoded([len(text)]))) + text) | 1 << _DEPTH

    def vector(self) -> bytes:
        """The state vector in Yjs's encoding."""
        numbers = [len(self.clocks)]
        for client in sorted(self.clocks, reverse=True):
            numbers += client, self.clocks[client]
        return _encoded(numbers)

    def copy(self) -> Self:
        """The same, to be changed apart."""
        return self.decode(self.encode())

    def encode(self) -> bytes:
        """All of this, compactly, to be stored beside a snapshot."""
        kinds = sorted({place for places in self._places.values() for place in places.places})
        index = {place: number for number, place in enumerate(kinds)}
        numbers = [len(kinds), *kinds, len(self.clocks)]
        for client, clock in self.clocks.items():
            places = self._places[client]
            numbers += client, clock, len(places.places)
            numbers += (index[place] for place in places.places)
            deleted, pairs = self._deleted.get(client, _Ranges()), self._pairs.get(client, ())
            for ascending in (places.starts, deleted.bounds, pairs):
                numbers.append(len(ascending))
                numbers += (later - clock for clock, later in pairwise((0, *ascending)))
        return bytes((_VERSION, *self._salt)) + _encoded(numbers)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The state that was encoded; raises ValueError for other bytes."""
        state = cls()
        if data[:1] != bytes((_VERSION,)):
            raise ValueError("a state in another version's encoding")
        state._salt = data[1:9]
        numbers = _decoded(data[9:])
        try:
            kinds = list(islice(numbers, next(numbers)))
            for _ in range(next(numbers)):
                state._decode_client(numbers, kinds)
        except (IndexError, OverflowError, StopIteration):
            raise ValueError("a damaged state") from None
        return state

    def _decode_client(self, numbers: Iterator[int], kinds: list[int]) -> None:
        client = next(numbers)
        self.clocks[client] = next(numbers)
        places, deleted, pairs = _Places(), _Ranges(), array("I")
        places.places.extend(kinds[number] for number in islice(numbers, next(numbers)))
        for ascending in (places.starts, deleted.bounds, pairs):
            ascending.extend(accumulate(islice(numbers, next(numbers))))
        self._places[client] = places
        if deleted.bounds:
            self._deleted[client] = deleted
        if pairs:
            self._pairs[client] = pairs

    def _place(self, update: Update, *, strict: bool) -> "dict[int, _Places]":
        """Where the new clocks of an update go.

        Strictly, not into what Yjs or yrs cannot bear. What has been let in may not stand that
        any more, once garbage has been collected beside it.
        """
        placed: dict[int, _Places] = {}
        for run in update.runs:
            client, start, end, held, *_ = run
            known = self.clocks.get(client, 0)
            if end <= known:
                continue
            place = self._container(run, placed, strict=strict)
            if strict:
                self._check_place(place, run, update)
            if client not in placed:
                placed[client] = _Places()
            what = held & WHAT
            if not place:
                place = COLLECTED
            elif what not in (TEXT, VALUES):
                place |= what
            placed[client].append(max(start, known), place)
        return placed

    def _container(self, run: Run, placed: "dict[int, _Places]", *, strict: bool) -> int:
        """The place of a run, less what it holds; 0 if Yjs and yrs collect it at once."""
        _, _, _, held, name, left, left_clock, right, right_clock = run
        flags = _KEYED if held & KEYED else 0
        depth = 1
        if held & CHILD:
            parent = self._at(left, left_clock, placed)
            if strict and parent & WHAT == VALUE:  # an error to yrs
                raise _malformed("in what is no shared type", run)
            if parent & WHAT not in (TYPE, ARRAY):
                return 0
            depth += min(_depth(parent), MAX_NESTING)
            if parent & WHAT == ARRAY:
                flags |= _IN_ARRAY
        elif not name:
            before = self._at(left, left_clock, placed) & ~WHAT if left != NONE else 0
            behind = self._at(right, right_clock, placed) & ~WHAT if right != NONE else 0
            if strict and left != NONE != right and before != behind:
                # When one of them is collected, so is the item in Yjs, but not in yrs.
                raise _malformed("between items of different places", run)
            return before or behind
        return self._named(name) | depth << _DEPTH | flags

    def _named(self, name: bytes) -> int:
        digest = blake2b(name, digest_size=_NAME_BYTES, key=self._salt).digest()
        return int.from_bytes(digest, "big") << _NAME

    def _check_place(self, place: int, run: Run, update: Update) -> None:
        client, start, end, held, *_ = run
        what = held & WHAT
        if _depth(place) > MAX_NESTING:
            raise _malformed(f"nesting deeper than {MAX_NESTING}", run)
        if what == TEXT and place & (_IN_ARRAY | _KEYED):
            # yrs never ends reading such an array, and fails to read such a map.
            raise _malformed("text in what is no text", run)
        if place & _KEYED and run[-1] != NONE:
            # Of values one after the other, which is the last would depend on the order of arrival.
            raise _malformed("before another value of its key", run)
        if what == VALUES and place & _KEYED:
            deletes = update.deletes.get(client, ())
            if not any(first <= start and end <= last for first, last in deletes):
                # Once only a part is deleted, Yjs fails to collect the other.
                raise _malformed("several values under one key", run)
        known = self.clocks.get(client, 0)
        if start < known and what != COLLECTED:
            before = self._places[client].between(start, known)
            if any(known_place & ~WHAT != place for known_place in before):
                raise _malformed("not where it was before", run)

    def _at(self, client: int, clock: int, placed: "dict[int, _Places]") -> int:
        known = clock < self.clocks.get(client, 0)
        return (self._places if known else placed)[client].at(clock)

    def _check_pairs(self, update: Update) -> None:
        """Refuse to cut a surrogate pair: yrs miscounts its halves and loses what is behind."""
        for client, start, end, held, _, left, left_clock, right, right_clock in update.runs:
            if left != NONE:
                self._check_cut(update, left, left_clock + 1)
            if right != NONE:
                self._check_cut(update, right, right_clock)
            known = self.clocks.get(client, 0)
            if start < known:
                # Yjs looks again for the neighbours of what it knows, at bounds as told here.
                self._check_cut(update, client, known)
                if held & WHAT in (VALUE, TEXT, VALUES):
                    self._check_same(update, client, start, min(end, known))
        for client, ranges in update.deletes.items():
            for clock in chain.from_iterable(ranges):
                self._check_cut(update, client, clock)

    def _check_cut(self, update: Update, client: int, clock: int) -> None:
        known = clock < self.clocks.get(client, 0)
        pairs = self._pairs.get(client, ()) if known else update.pairs.get(client, ())
        index = bisect_left(pairs, clock)
        if index < len(pairs) and pairs[index] == clock:
            raise MalformedUpdate(f"cuts a surrogate pair at clock {clock} of client {client}")

    def _check_same(self, update: Update, client: int, start: int, end: int) -> None:
        here, there = self._pairs.get(client, ()), update.pairs.get(client, ())
        # Of what has been deleted since, there are none here any more.
        if not {*here[bisect_left(here, start) : bisect_left(here, end)]}.issubset(there):
            raise MalformedUpdate(f"not what it was before at clock {start} of client {client}")


class _Ranges:
    """A set of clocks as start, end, start, end, ... in one ascending array."""

    __slots__ = ("bounds",)

    def __init__(self) -> None:
        self.bounds = array("I")

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.bounds[::2], self.bounds[1::2], strict=True)

    def contain(self, ranges: Iterable[tuple[int, int]]) -> bool:
        bounds = self.bounds
        for start, end in ranges:
            index = bisect_right(bounds, start)
            # Behind an odd number of bounds is inside.
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
    """The place of each clock of a client, as runs of one place."""

    __slots__ = ("places", "starts")

    def __init__(self) -> None:
        self.starts = array("I")
        self.places = array("Q")

    def at(self, clock: int) -> int:
        return self.places[bisect_right(self.starts, clock) - 1]

    def between(self, start: int, end: int) -> "array[int]":
        """The places in a range, in order."""
        first, last = bisect_right(self.starts, start) - 1, bisect_left(self.starts, end)
        return self.places[first:last]

    def append(self, start: int, place: int) -> None:
        """From `start` on, behind all others, it is this place."""
        if not self.places or self.places[-1] != place:
            self.starts.append(start)
            self.places.append(place)

    def extend(self, later: "_Places") -> None:
        for start, place in zip(later.starts, later.places, strict=True):
            self.append(start, place)


# Client -> the places of an update's new clocks.
Placed = dict[int, _Places]


def judge(state: bytes, payload: bytes) -> Placed:
    """In a worker: what the encoded state finds of an update, to be trusted by the original.

    Raises:
        MalformedUpdate: with the reason.
    """
    return State.decode(state).validated(scan(payload))


def _depth(place: int) -> int:
    return place >> _DEPTH & (1 << _NAME - _DEPTH) - 1


def _malformed(reason: str, run: Run) -> MalformedUpdate:
    return MalformedUpdate(f"{reason} at clock {run[1]} of client {run[0]}")


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
