"""The words of a text, as search sees them: the same for what is stored and for what is asked.

A word is a run of letters and digits of any script, folded: case, compatibility forms (`ﬁ`) and
the accents that people leave out when they type. Scripts that are written without spaces give
every two neighbouring characters as a word, and the last of a run by itself, so that a single
character is found as a beginning.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

MAX_WORD = 64  # characters of a word that count

_JOINERS = "\u00ad\u200c\u200d\u2060"  # within a word, and no part of it
# Latin, Greek and Cyrillic accents, Hebrew points, Arabic vowel signs and the stretching stroke.
_ACCENTS = "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670"
# Letters with a stroke or tied together, which have no decomposition.
_LETTERS = str.maketrans(
    {
        "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ħ": "h",
        "\u0131": "i", "ŋ": "n", "ŧ": "t",
    }
)  # fmt: skip
# Han, Kana, Bopomofo, Yi; Thai, Lao, Myanmar, Khmer, Tai Le.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u3005-\u3007\u3031-\u3035\u303b"
    "\u3041-\u30ff\u3105-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua48f\uf900-\ufaff"
    "\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)


def _marks() -> str:
    """The combining marks, as a character class has them: no letters, yet within words."""
    points = [*range(0x300, 0x1E950), *range(0xE0100, 0xE01F0)]
    marks = [point for point in points if unicodedata.category(chr(point))[0] == "M"]
    ranges: list[list[int]] = []
    for point in marks:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


_MARKS = _marks()
_RUN = re.compile(rf"[^\W_](?:[^\W_]|[{_MARKS}{_JOINERS}])*")
_PART = re.compile(rf"[{_UNSPACED}](?:[{_UNSPACED}{_MARKS}{_JOINERS}])*|[^{_UNSPACED}]+")
_DROPPED = re.compile(f"[{_ACCENTS}{_JOINERS}\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_BEGINS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_NO_PART = re.compile(rf"[^\w{_MARKS}]|_")  # what a compatibility form may hold beside letters
_CLUSTER = re.compile(rf".[{_MARKS}{_JOINERS}\uff9e\uff9f]*", re.DOTALL)


class Word(NamedTuple):
    """A folded word and where it stands: text[start:end]."""

    text: str
    start: int
    end: int


def fold(text: str) -> str:
    """The text without what readers do not tell apart."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", _DROPPED.sub("", text).translate(_LETTERS))


def is_unspaced(word: str) -> bool:
    """Whether the word is of a script that is written without spaces."""
    return _BEGINS_UNSPACED.match(word) is not None


def words(text: str) -> Iterator[Word]:
    """The text's words in their order."""
    for run in _RUN.finditer(text):
        found = run.group()
        if found.isascii():
            yield Word(found.lower()[:MAX_WORD], run.start(), run.end())
            continue
        for part in _PART.finditer(found):
            start = run.start() + part.start()
            if is_unspaced(part.group()):
                yield from _pairs(part.group(), start)
            elif word := _NO_PART.sub("", fold(part.group())):
                yield Word(word[:MAX_WORD], start, start + len(part.group()))


def _pairs(run: str, offset: int) -> Iterator[Word]:
    clusters = [
        Word(folded, offset + each.start(), offset + each.end())
        for each in _CLUSTER.finditer(run)
        if (folded := fold(each.group()))
    ]
    for first, second in pairwise(clusters):
        yield Word(first.text + second.text, first.start, second.end)
    if clusters:
        yield clusters[-1]
