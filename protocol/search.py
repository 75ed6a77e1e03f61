"""Search over everything an account may read."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from protocol.memories import Memory, Tags
from protocol.operation import Operation, Permission
from protocol.records import Body

Kind = Literal["memory", "message", "file"]
Field = Literal["title", "description", "content", "tags", "messages", "files"]


class SearchQuery(Body, frozen=True):
    """All words of `query` must be there, the last also as the beginning of one. Words in double
    quotes must follow one another; one behind a `-` must not be there. Case, accents and
    compatibility forms do not count: `cafe` finds Café, `strasse` finds Straße.

    `types` says where the words have to be: in the memory itself, its messages, its files' names;
    without it anywhere. `tags` must all be there. `offset` is that of the first result.
    """

    query: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 20
    offset: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    category_id: UUID | None = None
    tags: Tags = []
    types: Annotated[list[Kind], msgspec.Meta(max_length=3)] = []


class Highlight(Body, frozen=True):
    """A piece of a field's text around what was found. `ranges` are the words found in it, each
    `[start, end)` in UTF-16 code units of `text`, as JavaScript counts. `text` was cut where it
    begins or ends with an ellipsis."""

    field: Field
    text: str
    ranges: list[list[int]]


class SearchResult(Body, omit_defaults=True, frozen=True):
    """A memory that was found. `messageId` and `fileId` name the newest message and file that
    have the words, where the hit is in one."""

    memory: Memory
    score: float
    highlights: list[Highlight]
    message_id: UUID | None = None
    file_id: UUID | None = None


class SearchPage(Body, frozen=True):
    """The best results first, of equal ones the newest. `total` is exact up to 10,000, and for
    words in quotes or of a script without spaces up to 300; where there are more,
    `totalIsLowerBound`. Of so many only the best of the newest can be paged through: `more` says
    whether there are any behind this page. `took` is in milliseconds."""

    results: list[SearchResult]
    total: int
    total_is_lower_bound: bool
    more: bool
    took: float


SEARCH_QUERY = Operation(
    "search.query",
    SearchQuery,
    SearchPage,
    Permission.READ_MEMORIES,
    "Find memories by their words: in title, tags, description, body, messages and files' names.",
)
