"""What search stores of a memory: its words, weighed by where they stand, as PostgreSQL's
`tsvector` is written.

    ~word     in title (A), tags (B), description (C) or body (D)
    ~!word    in title or tags, so that these are found without weighing everything else
    ~#digest  a tag, exactly
    ~+word    in a message
    ~%word    in a file's name

`~` stands where the end of each member's account id goes when the lexemes are stored: words of
different accounts then lie apart in the index. Lexemes hold letters and digits only, so nothing in
them needs to be quoted or escaped.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from protocol.log import Message, Projection
from protocol.words import is_unspaced, words

PLACE = "~"
STRONG, TAG, MESSAGE, FILE = "!", "#", "+", "%"
MAX_BYTES = 400_000  # of lexemes and positions: PostgreSQL holds 1 MiB of them
MAX_MESSAGE_BYTES = 120_000  # of which the messages have at most
MAX_FILE_BYTES = 60_000
_MAX_POSITION = 16_000  # PostgreSQL counts to 16,383; further on we count from 1 again
_MAX_POSITIONS = 250  # of one word; PostgreSQL keeps 255
_GAP = 3  # positions between two texts, so that no phrase reaches from one into the next


class Lexemes:
    """Gathers the words of texts until they weigh too much; what comes then is not found."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._positions: dict[str, list[str]] = {}
        self._position = 0

    def add(self, text: str, weight: str, *kinds: str) -> None:
        """The text's words, as each of the `kinds`, up to the limit."""
        last_end = -1
        for word, _, end in words(text):
            # The last character of a run stands where the pair does that it ends.
            if end != last_end or not is_unspaced(word):
                self._position += 1
            last_end = end
            place = f"{self._position % _MAX_POSITION + 1}{weight}"
            for kind in kinds:
                self._put(kind + word, place)
            if self._bytes > self._limit:
                break
        self._position += _GAP

    def mark(self, lexeme: str) -> None:
        """A lexeme without a place."""
        self._positions.setdefault(lexeme, [])

    def _put(self, lexeme: str, place: str) -> None:
        positions = self._positions.get(lexeme)
        if positions is None:
            self._positions[lexeme] = [place]
            # With what PostgreSQL puts before each: the account, a count, padding.
            self._bytes += len(lexeme.encode()) + 16
        elif len(positions) < _MAX_POSITIONS:
            positions.append(place)
            self._bytes += 2

    def __str__(self) -> str:
        return " ".join(
            f"'{PLACE}{lexeme}':{','.join(positions)}" if positions else f"'{PLACE}{lexeme}'"
            for lexeme, positions in self._positions.items()
        )


def lexemes_of(projection: Projection, messages: Sequence[Message] | None = None) -> str:
    """The lexemes of a memory with these messages, by default the projection's, less those of its
    files' names."""
    texts = Lexemes(MAX_BYTES - MAX_MESSAGE_BYTES - MAX_FILE_BYTES)
    texts.add(projection.title or "", "A", "", STRONG)
    for tag in projection.tags:
        texts.mark(exactly(tag))
        texts.add(tag, "B", "", STRONG)
    texts.add(projection.description or "", "C", "")
    texts.add(body_of(projection.content), "D", "")
    thread = Lexemes(MAX_MESSAGE_BYTES)
    # In an order of their own, so that what has not changed is written as before.
    thread_messages = projection.messages if messages is None else messages
    for message in sorted(thread_messages, key=_when, reverse=True):
        thread.add(message.content, "D", MESSAGE)
    return " ".join(filter(None, (str(texts), str(thread))))


def _when(message: Message) -> tuple[bool, str, str]:
    moment = message.created_at
    return moment is not None, moment.isoformat() if moment else "", str(message.id)


def lexemes_of_files(names: Iterable[str]) -> str:
    """The lexemes of files' names."""
    files = Lexemes(MAX_FILE_BYTES)
    for name in names:
        files.add(name, "D", FILE)
    return str(files)


def body_of(content: dict[str, Any]) -> str:
    """A memory's body."""
    text = content.get("text")
    return text if isinstance(text, str) else ""


def exactly(tag: str) -> str:
    """The lexeme of this very tag, whatever it holds. Rows have no NUL."""
    stored = tag.replace("\x00", "\ufffd").encode(errors="replace")
    return TAG + blake2b(stored, digest_size=8).hexdigest()
