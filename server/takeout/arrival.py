"""Bringing in whatever it is: an archive of this program, or a folder of Markdown."""

import asyncio
from uuid import UUID

from server.takeout.bringing import Bringing, Places, Tally
from server.takeout.notes import Notes
from server.takeout.packing import MANIFEST
from server.takeout.sources import Source
from server.takeout.unpacking import Unpacking


async def bring(places: Places, account_id: UUID, source: Source, tally: Tally) -> None:
    """Bring what is in the source into the account. What cannot be is told in the tally.

    Raises:
        ArchiveError: it is neither.
        MemoError: `unavailable`, `busy`: try again, what was done is not done twice.
    """
    bringing = Bringing(places, account_id, source, tally)
    names = sorted(set(await asyncio.to_thread(source.names)))
    if MANIFEST not in names and Notes.among(names):
        await Notes(bringing).run(names)
    else:
        await Unpacking(bringing).run(names)
