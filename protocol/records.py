"""Shapes that several domains share: struct settings, ids, times and pages."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

Timestamp = Annotated[
    str, msgspec.Meta(description="RFC 3339, in UTC", examples=["2026-01-31T08:30:00.000Z"])
]
Json = dict[str, Any]


class Body(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A request's or reply's body: a map with camelCase keys. Unknown keys are ignored."""


class Empty(Body, frozen=True):
    """A body with nothing in it."""


class Pagination(Body, frozen=True):
    """Where a page stands. Pages count from 1."""

    page: int
    limit: int
    total: int
    total_pages: int


def timestamp(moment: datetime) -> str:
    """`moment` (aware) as RFC 3339 in UTC with milliseconds, the only form on the wire."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp_of(seconds: float) -> str:
    """Unix `seconds` in the same form."""
    return timestamp(datetime.fromtimestamp(seconds, UTC))
