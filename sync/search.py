"""Search as an operation."""

from typing import Protocol
from uuid import UUID

from protocol.search import SearchPage, SearchQuery
from sync.interfaces import Caller


class SearchIndex(Protocol):
    """What accounts may find, by its words."""

    async def query(self, account_id: UUID, request: SearchQuery) -> SearchPage: ...


class Search:
    """Binds the operation `search.query`."""

    def __init__(self, index: SearchIndex) -> None:
        self._index = index

    async def query(self, caller: Caller, request: SearchQuery) -> SearchPage:
        """Raises:
        MemoError: `invalid_request` naming `query`, when there is no word to look for.
        """
        return await self._index.query(caller.author.account_id, request)
