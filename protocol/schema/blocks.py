"""What a readable reference is made of, before anything is said of how it looks.

Text may hold two marks: `code` in backticks, and links as `[words](#anchor)`.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Lines to copy. `caption` says what they are, where that needs saying."""

    language: str
    text: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Each row has a text for each column. `caption` stands above, and `note` beside it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    note: str = ""


Block = Paragraph | Code | Table


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it. `is_name`: the title is a name that programs use."""

    title: str
    blocks: tuple[Block, ...] = ()
    sections: tuple["Section", ...] = ()
    is_name: bool = False

    @property
    def anchor(self) -> str:
        return anchor(self.title)


def anchor(title: str) -> str:
    """The address of a heading within its page, as Markdown readers make it of the title."""
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")
