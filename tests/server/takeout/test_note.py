"""Notes in Markdown: what they say, and that no text takes longer to read than it is long."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.takeout.note import MAX_TARGETS, make, read
from server.takeout.sources import EntryError
from sync.worker import WorkerPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = 600_000
HOSTILE = {
    "spaces in a heading": "# a" + " " * LONG + "b",
    "signs in a heading": "# " + "# " * (LONG // 2) + "b",
    "pictures that never end": "![[" * (LONG // 3),
    "pictures with a size": "![[a|" * (LONG // 5),
    "links that never end": "](" * (LONG // 2),
    "links in brackets": "](<a" * (LONG // 4),
    "links with titles": '](a "' * (LONG // 5),
    "links with parentheses": "](a()" * (LONG // 5),
    "parentheses": "](" + "a()" * (LONG // 3),
    "front matter that never ends": "---\n" + " " * LONG,
    "front matter of fences": "---\n" + "-- \n" * (LONG // 4),
    "a list of open quotes": "---\ntags: [" + '"\\",' * (LONG // 4) + "]\n---\n",
    "a key that never ends": "---\n" + "a " * (LONG // 2) + "\n---\n",
    "lines": "\n" * LONG,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(size=1, timeout=20)
    yield pool
    pool.close()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_no_text_takes_longer_to_read_than_it_is_long(workers: WorkerPool, text: str) -> None:
    made = await workers.run(make, text.encode(), "note", None)
    assert made.document is None


async def test_a_title_is_that_of_the_front_the_first_heading_or_the_file() -> None:
    for text, title in (
        ("---\ntitle: A: b\n---\n# c", "A: b"),
        ('---\ntitle: "\\u00e9"\n---\n', "é"),
        ("---\ntitle:\n---\n\n# c", "c"),
        ("text\n## two\n# One # \n# Two", "One"),
        ("#\tC#\t##\t", "C#"),
        ("# C#", "C#"),
        ("#tag\n# #\n#  \n", "note"),
        ("---\ntitle: open", "note"),
        ("--- \t\ntitle: x\n...\nrest", "x"),
    ):
        assert read(text, "note").title == title
    assert read("---\na: b\n--- \n\n\nText\r\n---\n", "note").text == "Text\n---\n"


async def test_what_a_note_shows_and_links_to() -> None:
    text = (
        '![[p.png|100]] [a](foo(1).pdf) [b](x%20y.pdf "t (x)") [c](<a b.pdf>) ![[q#r]]'
        " [web](https://example.com/z.pdf) [here](#top) ![](c.png) [again](c.png)\n![[open\n]]"
    )
    made = make(text.encode(), "note", None)
    assert made.targets == ["p.png", "q", "foo(1).pdf", "x y.pdf", "a b.pdf", "c.png"]
    many = " ".join(f"![[{number}]]" for number in range(MAX_TARGETS + 1))
    assert len(make(many.encode(), "note", None).targets) == MAX_TARGETS


async def test_a_note_becomes_a_document() -> None:
    front = "---\ntags: [a, '#b', a]\ndescription: d\nfavorite: true\ncreated: 0001-01-01\n---\n"
    made = make(front.encode() + b"text\0", "note", 7)
    assert made.document is not None
    _, rows = made.document
    assert (rows.title, rows.description, rows.tags) == ("note", "d", ["a", "b"])
    assert rows.content == {"text": "text\ufffd"}
    assert (made.is_favorite, made.is_archived) == (True, False)
    assert made.created_at is not None
    assert made.created_at.year == 1970
    with pytest.raises(EntryError, match="is not text in UTF-8"):
        make(b"\xff", "note", None)
