"""What a reader typed, as the queries that PostgreSQL is asked.

    words           all must be there; the last also as the beginning of one
    "some words"    there in this order, one behind the other
    -word -"words"  not there

What is written without spaces counts as one piece in its order. Nothing of all this reaches
PostgreSQL but folded words, which hold letters and digits only.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from protocol.errors import ErrorCode, MemoError
from protocol.lexemes import FILE, MESSAGE, STRONG, exactly
from protocol.search import Kind
from protocol.words import is_unspaced, words

KINDS: dict[Kind, str] = {"memory": "", "message": MESSAGE, "file": FILE}

_MAX_WORDS = 32  # of one query; what is typed behind them is let be
_PIECE = re.compile(r'(-?)(?:"([^"]*)("?)|([^\s"]+))')


class Part(NamedTuple):
    """A word, or with `begins` the beginning of one."""

    word: str
    begins: bool = False


class Term(NamedTuple):
    """Words that stand one behind the other; or, if it is not `wanted`, must not."""

    parts: tuple[Part, ...]
    wanted: bool = True

    @property
    def phrase(self) -> bool:
        return len(self.parts) > 1


class Query:
    """A reader's query for what an account may find, within the given kinds of text."""

    def __init__(self, account_id: UUID, terms: Sequence[Term], kinds: Sequence[Kind]) -> None:
        self._account = key_of(account_id)
        self._terms = terms
        self._kinds = kinds
        self.parts = [part for term in terms if term.wanted for part in term.parts]

    def found(self, tags: Sequence[str] = ()) -> str:
        """What the index answers by itself: the wanted words are there, in whatever order, no
        single word that is not wanted, and all the tags."""
        wanted = [self._there(part, self._kinds) for part in self.parts]
        return " & ".join([*wanted, *self._limits(tags)])

    def strong(self, tags: Sequence[str] = ()) -> str | None:
        """The same, with the wanted words in title and tags. None where these are not looked at."""
        if "memory" not in self._kinds:
            return None
        wanted = [self._lexeme(STRONG + part.word, part.begins) for part in self.parts]
        return " & ".join([*wanted, *self._limits(tags)])

    def _limits(self, tags: Sequence[str]) -> Iterator[str]:
        for term in self._terms:
            if not (term.wanted or term.phrase):
                yield f"!{self._there(term.parts[0], tuple(KINDS))}"
        for tag in tags:
            yield self._lexeme(exactly(tag))

    def ordered(self) -> str | None:
        """What the index cannot answer: words in their order. None if nothing of it is asked."""
        clauses = [
            self._in_order(term, self._kinds) if term.wanted
            else f"!{self._in_order(term, tuple(KINDS))}"
            for term in self._terms
            if term.phrase
        ]  # fmt: skip
        return " & ".join(clauses) or None

    def any_of(self, kind: Kind) -> str | None:
        """Some wanted word is there. None for a kind that is not looked at."""
        if kind not in self._kinds:
            return None
        return " | ".join(self._lexeme(KINDS[kind] + part.word, part.begins) for part in self.parts)

    def _there(self, part: Part, kinds: Sequence[Kind]) -> str:
        # What begins with one letter is half of everything: that is looked for in titles and tags.
        few = part.begins and len(part.word) == 1 and not is_unspaced(part.word)
        places = [self._lexeme(KINDS[kind] + part.word, part.begins and not few) for kind in kinds]
        if few and "memory" in kinds:
            places.append(self._lexeme(STRONG + part.word, begins=True))
        return f"({' | '.join(places)})"

    def _in_order(self, term: Term, kinds: Sequence[Kind]) -> str:
        places = (
            " <-> ".join(self._lexeme(KINDS[kind] + part.word, part.begins) for part in term.parts)
            for kind in kinds
        )
        return f"({' | '.join(f'({place})' for place in places)})"

    def _lexeme(self, lexeme: str, begins: bool = False) -> str:
        return f"'{self._account}{lexeme}'{':*' if begins else ''}"


def key_of(account_id: UUID) -> str:
    """What an account's lexemes begin with."""
    return account_id.hex[-8:]


def tagged(account_id: UUID, tags: Sequence[str]) -> str | None:
    """All these tags are there. None if there are none."""
    return " & ".join(f"'{key_of(account_id)}{exactly(tag)}'" for tag in tags) or None


def read(
    text: str, account_id: UUID, *, kinds: Sequence[Kind] = tuple(KINDS), field: str = "query"
) -> Query:
    """The query that a reader typed.

    Raises:
        MemoError: `invalid_request` naming `field`, when there is no word to look for.
    """
    terms = list(_terms(text))
    if not any(term.wanted for term in terms):
        reason = "holds only words that are excluded" if terms else "holds no letter or digit"
        raise MemoError(
            ErrorCode.INVALID_REQUEST,
            f"`{field}` {reason}: write a word to look for",
            details={field: reason},
        )
    return Query(account_id, terms, kinds)


def _terms(text: str) -> Iterator[Term]:
    pieces = list(_PIECE.finditer(text))
    count = 0
    for number, piece in enumerate(pieces, 1):
        minus, quoted, closed, plain = piece.groups()
        wanted = not minus
        begun = wanted and number == len(pieces) and not closed
        runs = list(_runs(quoted if quoted is not None else plain))
        if quoted is not None or not wanted:
            runs = [[word for run in runs for word in run]] if runs else []
        for place, run in enumerate(runs, 1):
            last = len(run) if begun and place == len(runs) else 0
            # One character of an unspaced script is kept as the beginning of a pair only.
            parts = tuple(
                Part(word, begins=at == last or (len(word) == 1 and is_unspaced(word)))
                for at, word in enumerate(run, 1)
            )
            count += len(parts)
            if count > _MAX_WORDS:
                return
            yield Term(parts, wanted)


def _runs(text: str) -> Iterator[list[str]]:
    """The text's words, each by itself but for the pairs of an unspaced run, which are together."""
    run: list[str] = []
    last_end = -1
    for word, start, end in words(text):
        if end == last_end and is_unspaced(word):
            continue  # the last character of a run, which the pair before has
        if run and start >= last_end:
            yield run
            run = []
        run.append(word)
        last_end = end
    if run:
        yield run
