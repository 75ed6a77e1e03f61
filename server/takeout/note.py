"""A note in Markdown, as Obsidian and others write it, and the memory that is made of it.

It is read in a worker process, since anybody may have written it. Every step takes as long as the
text is long: what an expression of this module has begun to match, it never matches again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from protocol.log import Projection
from server.takeout.contents import plain, reckoned
from server.takeout.sources import EntryError
from sync.document import Edit, edit

MAX_TARGETS = 500  # that are looked for, of all that a note shows and links to

_TITLE, _DESCRIPTION, _CATEGORY, _TAG, _TAGS = 255, 1000, 100, 50, 100
_ITEMS = 1000  # of a list in front of a note
_FENCE = ("---", "...")
_PAIR = re.compile(r"([A-Za-z][\w -]*+):[ \t]*+(.*)")
_ITEM = re.compile(r"[ \t]*+-[ \t]++(.*)")
_LISTED = re.compile(r'"(?:[^"\\]|\\.)*+"|\'[^\']*+\'|[^,\s][^,]*+')
# Neither goes past where the next one may begin.
_EMBEDDED = re.compile(r"!\[\[([^\[\]|#\n]{1,500}+)(?:[|#][^\[\]\n]{0,500}+)?+\]\]")
_LINKED = re.compile(
    r"\]\((?:<([^<>\]\n]{1,500}+)>"
    r"|([^\s()<>\]]{1,500}+(?:\([^\s()<>\]]{0,100}+\)[^\s()<>\]]{0,100}+){0,4}+))"
    r"(?:[ \t][^)\]\n]{0,500}+)?+\)"
)
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:|//|#")

Front = Mapping[str, str | list[str]]


class Note(NamedTuple):
    """What a file of Markdown says."""

    title: str
    text: str
    front: Front


class Made(NamedTuple):
    """What a note is brought in as. `targets` are what it shows and links to; the document and its
    rows are None where nobody asked for them."""

    category: str
    is_favorite: bool
    is_archived: bool
    created_at: datetime | None
    updated_at: datetime | None
    targets: list[str]
    document: tuple[bytes, Projection] | None


def make(content: bytes, stem: str, client_id: int | None) -> Made:
    """What becomes of a note whose file is called `stem`; its document is written as `client_id`,
    if there is one to be made.

    Raises:
        EntryError: with the reason.
    """
    try:
        note = read(content.decode("utf-8-sig"), stem)
    except UnicodeDecodeError:
        raise EntryError("is not text in UTF-8") from None
    front = note.front
    created = _moment(front.get("created") or front.get("date"))
    return Made(
        category=_one(front.get("category"))[:_CATEGORY],
        is_favorite=_one(front.get("favorite")) == "true",
        is_archived=_one(front.get("archived")) == "true",
        created_at=created,
        updated_at=_moment(front.get("updated") or front.get("modified")) or created,
        targets=list(islice(dict.fromkeys(_targets(note.text)), MAX_TARGETS)),
        document=None if client_id is None else _document(note, client_id),
    )


def read(text: str, stem: str) -> Note:
    """What a note says: its title is that of its front matter, its first heading or its file."""
    fields, text = _parted(plain(text).replace("\r\n", "\n"))
    front = _front(fields)
    return Note(_one(front.get("title")) or _heading(text) or stem, text, front)


def _document(note: Note, client_id: int) -> tuple[bytes, Projection]:
    tags = [tag.lstrip("#")[:_TAG] for tag in _several(note.front.get("tags"))]
    change = Edit(
        title=note.title[:_TITLE],
        description=_one(note.front.get("description"))[:_DESCRIPTION] or None,
        text=note.text,
        tags=[tag for tag in dict.fromkeys(tags) if tag][:_TAGS],
    )
    payload, projection = edit([], change, client_id)
    assert payload is not None  # there is a title
    return payload, projection


def _parted(text: str) -> tuple[str, str]:
    """What stands in front of a note, and the note."""
    first = text.find("\n") + 1
    if text[:first].rstrip(" \t\n") != "---":
        return "", text
    start = first
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if text[start:end].rstrip(" \t") in _FENCE:
            return text[first:start], text[end + 1 :].lstrip("\n")
        start = end + 1
    return "", text


def _heading(text: str) -> str:
    """The first heading of the highest rank, less the signs that may close it."""
    for line in _lines(text):
        if line.startswith(("# ", "#\t")):
            title = line[1:].strip()
            opened = title.rstrip("#")
            if not opened or opened[-1] in " \t":
                title = opened.rstrip()
            if title:
                return title
    return ""


def _front(text: str) -> dict[str, str | list[str]]:
    """The part of YAML that people write in front of notes: values, and lists of them."""
    found: dict[str, str | list[str]] = {}
    items: list[str] = []
    for line in _lines(text):
        if item := _ITEM.fullmatch(line):
            if len(items) < _ITEMS:
                items.append(_value(item[1]))
        elif pair := _PAIR.fullmatch(line):
            key, value = pair[1].strip().lower(), pair[2].strip()
            items = []
            if value.startswith("[") and value.endswith("]"):
                found[key] = [_value(each) for each in _listed(value[1:-1])]
            else:
                found[key] = _value(value) if value else items
    return found


def _lines(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _listed(text: str) -> Iterable[str]:
    """The items between commas that are in no quotes."""
    return (match[0] for match in islice(_LISTED.finditer(text), _ITEMS))


def _value(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        try:
            return plain(msgspec.json.decode(text.encode(), type=str))
        except msgspec.MsgspecError:
            return text.strip('"')
    return "" if text in ("null", "~") else text.strip("'")


def _one(value: str | list[str] | None) -> str:
    return value.strip() if isinstance(value, str) else ""


def _several(value: str | list[str] | None) -> list[str]:
    if isinstance(value, str):
        return [each.strip() for each in re.split(r"[,\s]+", value)]
    return [each.strip() for each in value or ()]


def _moment(value: str | list[str] | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_one(value))
    except ValueError:
        return None
    return reckoned(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _targets(text: str) -> Iterator[str]:
    for match in _EMBEDDED.finditer(text):
        yield match[1].strip()
    for match in _LINKED.finditer(text):
        target = match[1] or match[2]
        if not _ELSEWHERE.match(target):
            yield unquote(target).partition("#")[0]
