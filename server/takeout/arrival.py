"""Bringing in whatever it is: an archive of this program, or a folder of Markdown."""

import asyncio
from collections import Counter
from datetime import datetime
from uuid import UUID

from server.takeout.bringing import Bringing, Places, Tally
from server.takeout.notes import Notes, surveyed
from server.takeout.packing import MANIFEST
from server.takeout.sources import ArchiveError, Source
from server.takeout.unpacking import Unpacking


async def bring(
    places: Places,
    account_id: UUID,
    source: Source,
    tally: Tally,
    begun_at: datetime | None = None,
) -> None:
    """Bring what is in the source into the account. What cannot be is told in the tally. Where that
    was begun before, and broke off, it goes on with what came since `begun_at`.

    Raises:
        ArchiveError: it is neither, or more than may be brought in at once.
        MemoError: `unavailable`, `busy`: try again, what was done is not done twice.
    """
    bringing = Bringing(places, account_id, source, tally, begun_at)
    names, double = await asyncio.to_thread(_names, source)
    folder = None if MANIFEST in names else await surveyed(names)
    if folder is not None and not (folder.notes or folder.absolute):
        raise ArchiveError(
            f"there is nothing in it to import: no {MANIFEST}, which archives of account.export"
            " have, and no notes in Markdown (.md)"
        )
    for name in double:
        tally.skip(name, "is there more than once: the last one counts")
    if folder is None:
        await Unpacking(bringing).run(names)
    else:
        await Notes(bringing, folder).run()


def _names(source: Source) -> tuple[list[str], list[str]]:
    """All names in order, and those that are there more than once."""
    counts = Counter(source.names())
    return sorted(counts), sorted(name for name, count in counts.items() if count > 1)
