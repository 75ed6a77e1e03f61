"""Highlights: pieces of text with exactly the words that were found."""

from uuid import uuid4

import pytest

from protocol.search import Highlight
from storage.highlights import LOOKED_AT, PAGE_LOOKED_AT, SNIPPET, Highlighter
from storage.terms import read


def cut(query: str, text: str) -> Highlight | None:
    return Highlighter(read(query, uuid4()).parts).cut("content", text)


def marked(query: str, text: str) -> list[str]:
    """The marked words, read as JavaScript would."""
    highlight = cut(query, text)
    assert highlight is not None
    units = highlight.text.encode("utf-16-le")
    return [units[2 * start : 2 * end].decode("utf-16-le") for start, end in highlight.ranges]


@pytest.mark.parametrize(
    ("query", "text", "words"),
    [
        ("cafe", "😀 Café, cafe\u0301 & 👨‍👩‍👧 CAFÉ", ["Café", "cafe\u0301", "CAFÉ"]),
        ("strasse", "\U0001d518 die Straße, STRASSE", ["Straße", "STRASSE"]),
        ("fine", "😀😀 ﬁne fine ﬁnest", ["ﬁne", "fine", "ﬁnest"]),
        ("fine x", "fine finer xy", ["fine", "xy"]),
        ("東京都", "😀東京都と東京", ["東京都", "東京"]),
        ("京", "東京と京都", ["京", "京"]),
        ("istanbul", "İstanbul", ["İstanbul"]),
        ("ガギ", "ｶﾞｷﾞ", ["ｶﾞｷﾞ"]),
        ('"red apple"', "red apple", ["red", "apple"]),
        ("apple -pie", "apple pie", ["apple"]),
    ],
)
def test_ranges_are_the_words_in_utf_16(query: str, text: str, words: list[str]) -> None:
    assert marked(query, text) == words


def test_a_text_without_the_words_has_none() -> None:
    assert cut("apple", "pear") is None
    assert cut("apple", "") is None


def test_a_piece_is_cut_between_words_around_the_place_with_most_of_them() -> None:
    text = "filler apple " + "filler " * 100 + "an apple 😀 pie here " + "filler " * 100
    highlight = cut("apple pie", text)
    assert highlight is not None
    assert marked("apple pie", text) == ["apple", "pie"]
    assert len(highlight.text) <= SNIPPET + 2
    assert highlight.text.startswith("…filler")
    assert highlight.text.endswith("filler…")


@pytest.mark.parametrize("text", ["apple " + "x" * 500, "x" * 500 + " apple", "y" * 300 + "-apple"])
def test_words_without_end_do_not_stretch_a_piece(text: str) -> None:
    highlight = cut("apple", text)
    assert highlight is not None
    assert marked("apple", text) == ["apple"]
    assert len(highlight.text) <= SNIPPET + 2


def test_far_into_a_long_text_words_are_found_by_their_plain_looks() -> None:
    text = "filler " * LOOKED_AT + "an apple" + " filler" * LOOKED_AT
    assert marked("apple", text) == ["apple"]
    assert cut("apple", "filler " * LOOKED_AT) is None


def test_of_many_texts_less_is_read_of_each() -> None:
    text = "apple " + "filler " * LOOKED_AT + "an orange"
    words = read("apple orange", uuid4()).parts
    assert len(Highlighter(words)._promising(text)) == LOOKED_AT
    assert len(Highlighter(words, 50)._promising(text)) == PAGE_LOOKED_AT // 50
