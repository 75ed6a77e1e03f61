"""A folder of Markdown, as Obsidian and others keep it, brought in: a memory for each note."""

import asyncio
import posixpath
import secrets
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from uuid import UUID

from protocol.log import Author, Entry
from server.takeout.bringing import Bringing, BroughtFile
from server.takeout.note import Made, make
from server.takeout.sources import EntryError

NOTE_BYTES = 2 << 20
MAX_LINKED = 100  # files of one note

_CATEGORY = 100


class Folder(NamedTuple):
    """What is in a folder: its entries, those of them that are notes, each with the folder below
    the common one that it lies in, and the first entry of each name."""

    names: frozenset[str]
    notes: dict[str, str]
    by_name: dict[str, str]
    absolute: list[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> "Folder":
        """The folder with these entries. What is hidden is not in it."""
        shown = [name for name in names if _is_shown(name)]
        relative = [name for name in shown if not name.startswith("/")]
        by_name: dict[str, str] = {}
        for name in relative:
            by_name.setdefault(posixpath.basename(name).casefold(), name)
        places = {name: name.split("/")[:-1] for name in relative if _is_note(name)}
        depth = _common(list(places.values()))
        return cls(
            frozenset(relative),
            {name: place[depth] if depth < len(place) else "" for name, place in places.items()},
            by_name,
            [name for name in shown if name.startswith("/")],
        )


class Notes:
    """Brings one folder into one account."""

    def __init__(self, bringing: Bringing, folder: Folder) -> None:
        self._bringing = bringing
        self._places = bringing.places
        self._folder = folder
        self._client_id = secrets.randbits(32)

    async def run(self) -> None:
        """Bring in what can be; the rest is told in the tally.

        Raises:
            ArchiveError: it is more than may be brought in at once.
            MemoError: `unavailable`, `busy`: try again, what was done is not done twice.
        """
        for name in self._folder.absolute:
            self._bringing.tally.skip(name, "has a path that does not begin in the archive")
        for name in self._folder.notes:
            await self._bringing.attempt(name, self._bring(name))
            await self._bringing.rest()

    async def _bring(self, name: str) -> None:
        memory_id = self._bringing.second(f"note {name}")
        holder = await self._places.rows.holder(memory_id, self._bringing.account_id)
        if holder == "deleted":
            raise EntryError("was brought in before, and deleted since")
        content = await self._bringing.whole(name, NOTE_BYTES)
        stem = PurePosixPath(name).stem
        client_id = self._client_id if holder is None else None
        made = await self._places.workers.run(make, content, stem, client_id)
        if holder is None:
            await self._create(name, made, memory_id)
            self._bringing.tally.memories += 1
        else:
            self._bringing.tally.present += 1
        is_young = holder is None or await self._bringing.broken_off(memory_id) is not None
        if is_young and made.created_at is not None:
            await self._places.rows.date(
                memory_id, made.created_at, made.updated_at or made.created_at
            )
        for linked in self._linked(name, made.targets):
            wanted = self._bringing.second(f"note {name} {linked}")
            file = BroughtFile(linked, [wanted], posixpath.basename(linked))
            work = self._bringing.file(file, memory_id, is_new=holder is None)
            await self._bringing.attempt(linked, work)

    async def _create(self, name: str, made: Made, memory_id: UUID) -> None:
        assert made.document is not None  # it was asked for
        payload, projection = made.document
        category = None
        if wanted := made.category or self._folder.notes[name]:
            category = await self._bringing.category_of(name, wanted[:_CATEGORY])
        await self._places.memories.create(
            Entry(
                memory_id,
                Author(self._bringing.account_id, None),
                payload,
                ((self._client_id, None),),
                projection,
            ),
            category_id=category,
            is_favorite=made.is_favorite,
            is_archived=made.is_archived,
        )

    def _linked(self, name: str, targets: Sequence[str]) -> list[str]:
        """The files that a note shows or links to, as far as they are here."""
        found: dict[str, None] = {}
        for target in targets:
            beside = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            by_name = self._folder.by_name.get(posixpath.basename(target).casefold(), "")
            for path in (beside, target, by_name):
                if path in self._folder.names:
                    if path not in self._folder.notes:
                        found[path] = None
                    break
        return list(found)[:MAX_LINKED]


async def surveyed(names: Sequence[str]) -> Folder:
    """`Folder.of`, away from the loop: an archive may have a hundred thousand names."""
    return await asyncio.to_thread(Folder.of, names)


def _is_note(name: str) -> bool:
    return name.lower().endswith((".md", ".markdown"))


def _is_shown(name: str) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _common(places: Sequence[list[str]]) -> int:
    """How many folders all places begin with alike."""
    if not places:
        return 0
    first, last = min(places), max(places)
    depth = 0
    while depth < len(first) and depth < len(last) and first[depth] == last[depth]:
        depth += 1
    return depth
