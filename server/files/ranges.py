"""The part of something that a request asks for, as RFC 9110 has it."""

import re
from collections.abc import Mapping
from typing import NamedTuple

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class Range(NamedTuple):
    """The bytes from `start` up to `end`."""

    start: int
    end: int


class UnsatisfiableError(Exception):
    """Nothing of what there is lies in the range."""


def asked_for(headers: Mapping[str, str], size: int, etag: str) -> Range | None:
    """The range of `size` bytes that the headers ask for; None for all of them, as also for what
    asks for several ranges at once, or for one of something else than `etag` names.

    Raises:
        UnsatisfiableError: no byte lies in it.
    """
    match = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return None
    condition = headers.get("if-range")
    if condition is not None and condition.strip() != etag:
        return None
    if match[1] == "":
        start, end = max(size - int(match[2]), 0), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None  # not a range at all
    if start >= end:
        raise UnsatisfiableError
    return Range(start, end)


def unchanged(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the client has what `etag` names."""
    given = headers.get("if-none-match", "")
    return any(item.strip().removeprefix("W/") in (etag, "*") for item in given.split(","))
