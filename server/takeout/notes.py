"""A folder of Markdown, as Obsidian and others keep it, brought in: a memory for each note."""

import posixpath
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote
from uuid import UUID

import msgspec

from protocol.log import Author, Entry
from server.takeout.bringing import Bringing, BroughtFile, plain
from server.takeout.sources import EntryError
from server.takeout.unpacking import reckoned
from sync.document import Edit, edit

NOTE_BYTES = 2 << 20
MAX_LINKED = 100  # files of one note

_TITLE, _DESCRIPTION, _CATEGORY, _TAG, _TAGS = 255, 1000, 100, 50, 100
_FRONT = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_PAIR = re.compile(r"([A-Za-z][\w -]*):[ \t]*(.*)")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*)")
_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
_EMBEDDED = re.compile(r"!\[\[([^\]|#\n]{1,500})[^\]\n]{0,500}\]\]")
_LINKED = re.compile(r"\]\(<?([^)>\s]{1,500})>?[^)\n]{0,500}\)")
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//|#")


class Note(NamedTuple):
    """What a file of Markdown says."""

    title: str
    text: str
    front: Mapping[str, str | list[str]]


class Notes:
    """Brings one folder into one account."""

    def __init__(self, bringing: Bringing) -> None:
        self._bringing = bringing
        self._places = bringing.places
        self._client_id = secrets.randbits(32)
        self._names: frozenset[str] = frozenset()
        self._by_name: dict[str, str] = {}

    @staticmethod
    def among(names: Sequence[str]) -> list[str]:
        """The notes among the entries; what is hidden is none."""
        return [name for name in _shown(names) if name.lower().endswith((".md", ".markdown"))]

    async def run(self, names: Sequence[str]) -> None:
        """Bring in what can be; the rest is told in the tally.

        Raises:
            MemoError: `unavailable`, `busy`: try again, what was done is not done twice.
        """
        shown, notes = _shown(names), self.among(names)
        self._names = frozenset(shown)
        for name in shown:
            self._by_name.setdefault(posixpath.basename(name).casefold(), name)
        root = posixpath.commonpath([posixpath.dirname(name) or "." for name in notes])
        for name in notes:
            await self._bringing.attempt(name, self._bring(name, root))

    async def _bring(self, name: str, root: str) -> None:
        memory_id = self._bringing.second(f"note {name}")
        holder = await self._places.rows.holder(memory_id, self._bringing.account_id)
        if holder == "deleted":
            raise EntryError("was brought in before, and deleted since")
        try:
            text = (await self._bringing.whole(name, NOTE_BYTES)).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise EntryError("is not text in UTF-8") from None
        note = read(text, PurePosixPath(name).stem)
        if holder is None:
            await self._create(name, note, memory_id, root)
            self._bringing.tally.memories += 1
        else:
            self._bringing.tally.present += 1
        for linked in self._linked(name, note.text):
            wanted = self._bringing.second(f"note {name} {linked}")
            file = BroughtFile(linked, wanted, posixpath.basename(linked))
            work = self._bringing.file(file, memory_id, is_new=holder is None)
            await self._bringing.attempt(linked, work)

    async def _create(self, name: str, note: Note, memory_id: UUID, root: str) -> None:
        front = note.front
        folder = posixpath.relpath(posixpath.dirname(name) or ".", root).split("/")[0]
        wanted = _one(front.get("category")) or (folder if folder != "." else "")
        category = None
        if wanted:
            category = await self._bringing.category_of(name, wanted[:_CATEGORY])
        tags = [tag.lstrip("#")[:_TAG] for tag in _several(front.get("tags"))]
        change = Edit(
            title=note.title[:_TITLE],
            description=_one(front.get("description"))[:_DESCRIPTION] or None,
            text=note.text,
            tags=[tag for tag in dict.fromkeys(tags) if tag][:_TAGS],
        )
        payload, projection = await self._places.workers.run(edit, [], change, self._client_id)
        assert payload is not None  # there is a title
        await self._places.memories.create(
            Entry(
                memory_id,
                Author(self._bringing.account_id, None),
                payload,
                ((self._client_id, None),),
                projection,
            ),
            category_id=category,
            is_favorite=_one(front.get("favorite")) == "true",
            is_archived=_one(front.get("archived")) == "true",
        )
        created = _moment(front.get("created") or front.get("date"))
        if created is not None:
            updated = _moment(front.get("updated") or front.get("modified")) or created
            await self._places.rows.settle(
                memory_id,
                self._bringing.account_id,
                created_at=created,
                updated_at=updated,
                messages=(),
            )

    def _linked(self, name: str, text: str) -> list[str]:
        """The files that a note shows or links to, as far as they are here."""
        found: dict[str, None] = {}
        for target in _targets(text):
            beside = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            by_name = self._by_name.get(posixpath.basename(target).casefold(), "")
            for path in (beside, target, by_name):
                if path in self._names:
                    if path not in self.among([path]):
                        found[path] = None
                    break
        return list(found)[:MAX_LINKED]


def read(text: str, stem: str) -> Note:
    """What a note says: its title is that of its front matter, its first heading or its file."""
    text = plain(text).replace("\r\n", "\n")
    front: Mapping[str, str | list[str]] = {}
    if match := _FRONT.match(text):
        front, text = _front(match[1]), text[match.end() :].lstrip("\n")
    heading = _HEADING.search(text)
    title = _one(front.get("title")) or (heading[1] if heading else "") or stem
    return Note(title, text, front)


def _front(text: str) -> dict[str, str | list[str]]:
    """The part of YAML that people write in front of notes: values, and lists of them."""
    found: dict[str, str | list[str]] = {}
    items: list[str] = []
    for line in text.split("\n"):
        if item := _ITEM.fullmatch(line):
            items.append(_value(item[1]))
        elif pair := _PAIR.fullmatch(line):
            key, value = pair[1].strip().lower(), pair[2].strip()
            items = []
            if value.startswith("[") and value.endswith("]"):
                found[key] = [_value(each) for each in _split(value[1:-1])]
            else:
                found[key] = _value(value) if value else items
    return found


def _split(text: str) -> list[str]:
    """The items between commas that are in no quotes."""
    return [match[0] for match in re.finditer(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[^,\s][^,]*', text)]


def _value(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        try:
            return str(msgspec.json.decode(text.encode(), type=str))
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
        if not _ELSEWHERE.match(match[1]):
            yield unquote(match[1]).partition("#")[0]


def _shown(names: Sequence[str]) -> list[str]:
    return [
        name
        for name in names
        if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    ]
