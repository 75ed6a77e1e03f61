"""Pieces of a text around what a reader looked for."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from protocol.search import Field, Highlight
from protocol.words import fold, is_unspaced, words
from storage.terms import Part

SNIPPET = 160  # characters of a piece, about
LOOKED_AT = 8000  # characters of a long text, around the first place that looks like it,
PAGE_LOOKED_AT = 100_000  # and of all of them on a page
FAR = 1_000_000  # characters of a page's texts in which such places are looked for
_CONTEXT = 40  # characters before the first word found
_ELLIPSIS = "…"


class Hit(NamedTuple):
    """A word that was found: text[start:end], and which parts of the query it stands for."""

    start: int
    end: int
    parts: frozenset[int]


class Highlighter:
    """Finds the words of a query in the memories of a page, which are so many."""

    def __init__(self, parts: Sequence[Part], memories: int = 1) -> None:
        self._looked_at = min(LOOKED_AT, PAGE_LOOKED_AT // max(memories, 1))
        self._far = FAR // max(memories, 1)
        self._whole: dict[str, set[int]] = {}
        for number, part in enumerate(parts):
            if part.begins:
                continue
            self._whole.setdefault(part.word, set()).add(number)
        self._begun = [(part.word, number) for number, part in enumerate(parts) if part.begins]
        self._words = [part.word for part in parts]

    def cut(self, field: Field, text: str) -> Highlight | None:
        """The piece of the text that has most of the query's words; None without any."""
        text = self._promising(text)
        hits = self.hits(text)
        if not hits:
            return None
        return _piece(field, text, hits, _best(hits))

    def hits(self, text: str) -> list[Hit]:
        """The words found in the text, in their order, apart from one another."""
        found: list[Hit] = []
        for word, start, end in words(text):
            parts = self._parts(word)
            if not parts:
                continue
            hit = Hit(start, self._shortened(text, word, start, end), parts)
            # Pairs of an unspaced script overlap: what they cover is one place.
            if found and start < found[-1].end:
                last = found.pop()
                hit = Hit(last.start, max(last.end, hit.end), last.parts | parts)
            found.append(hit)
        return found

    def weight(self, text: str) -> int:
        """How many of the query's words the text has."""
        return len(frozenset().union(*(hit.parts for hit in self.hits(text))))

    def _parts(self, word: str) -> frozenset[int]:
        parts = self._whole.get(word, set())
        begun = {number for beginning, number in self._begun if word.startswith(beginning)}
        return frozenset(parts | begun)

    def _shortened(self, text: str, word: str, start: int, end: int) -> int:
        """Where the found word ends: of a pair of an unspaced script it may be the first alone."""
        if word in self._whole or not is_unspaced(word):
            return end
        looked_for = {beginning for beginning, _ in self._begun}
        places = range(start + 1, end)
        return next((at for at in places if fold(text[start:at]) in looked_for), end)

    def _promising(self, text: str) -> str:
        """A long text's part that is worth reading word by word."""
        if len(text) <= self._looked_at:
            return text
        plain = text[: self._far].lower()
        places = [place for word in self._words if (place := plain.find(word)) >= 0]
        start = max(0, min(places, default=0) - self._looked_at // 2)
        # From the beginning of a word on.
        start = text.find(" ", start, start + 100) + 1 if start else 0
        return text[start : start + self._looked_at]


def _best(hits: Sequence[Hit]) -> int:
    """The number of the hit from which on a piece has the most different words."""
    best, most = 0, 0
    for number, first in enumerate(hits):
        inside = bisect_left(hits, first.start + SNIPPET - _CONTEXT, key=lambda hit: hit.end)
        different = len(first.parts.union(*(hit.parts for hit in hits[number:inside])))
        if different > most:
            best, most = number, different
    return best


def _piece(field: Field, text: str, hits: Sequence[Hit], first: int) -> Highlight:
    start, end = _bounds(text, hits[first])
    before = _ELLIPSIS if start > 0 else ""
    after = _ELLIPSIS if end < len(text) else ""
    piece = before + text[start:end] + after
    shift = len(before) - start
    ranges = [
        [_utf16(piece[: hit.start + shift]), _utf16(piece[: hit.end + shift])]
        for hit in hits
        if start <= hit.start and hit.end <= end
    ]
    return Highlight(field=field, text=piece, ranges=ranges)


def _bounds(text: str, hit: Hit) -> tuple[int, int]:
    """Where a piece around the hit begins and ends: between words, if these are not too long."""
    if len(text) <= SNIPPET:
        return 0, len(text)
    start = max(0, min(hit.start - _CONTEXT, len(text) - SNIPPET))
    end = min(len(text), max(start + SNIPPET, hit.end))
    if start > 0:
        start = next((at + 1 for at in range(start, hit.start) if text[at].isspace()), start)
    if end < len(text):
        end = next((at for at in range(end, hit.end, -1) if text[at].isspace()), end)
    return start, end


def _utf16(text: str) -> int:
    """Its length as JavaScript counts."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
