"""What changed between two texts: the smallest edits that words allow, and bounded."""

import random
from typing import Any
from uuid import UUID

import msgspec
import pytest

from protocol.log import Message, Projection
from sync.comparison import (
    MAX_DIFF_CHARACTERS,
    SHOWN_CHARACTERS,
    attributed,
    changes,
    compare,
    words,
)

EMPTY = Projection(title=None, description=None, content={}, tags=[], metadata={}, messages=[])


def applied(old: list[Any], new: list[Any]) -> list[Any]:
    """`old` with the changes made, checking that what is between them is equal."""
    made: list[Any] = []
    at = other = 0
    for change in changes(old, new):
        assert old[at : change.start] == new[other : change.first]
        made += old[at : change.start]
        made += new[change.first : change.last]
        at, other = change.end, change.last
    assert old[at:] == new[other:]
    return made + old[at:]


def test_changes_make_one_sequence_of_the_other() -> None:
    chance = random.Random(3)
    for _ in range(500):
        old = [chance.randrange(4) for _ in range(chance.randrange(12))]
        new = [chance.randrange(4) for _ in range(chance.randrange(12))]
        assert applied(old, new) == new


def test_two_changes_far_apart_stay_two() -> None:
    old = words("The quick brown fox jumps over the lazy dog")
    new = words("The slow brown fox jumps over the happy dog")
    assert [old[c.start : c.end] for c in changes(old, new)] == [["quick"], ["lazy"]]


def test_what_is_too_much_to_compare_by_items_is_compared_by_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sync.comparison.MAX_PRODUCT", 1_000_000)
    chance = random.Random(8)
    old = [chance.randrange(10_000) for _ in range(20_000)]
    new = list(old)
    for _ in range(10):
        new[chance.randrange(len(new))] = -1
        del new[chance.randrange(len(new))]
        new.insert(chance.randrange(len(new)), -2)
    assert applied(old, new) == new
    assert 10 < len(changes(old, new)) <= 30
    assert sum(change.end - change.start for change in changes(old, new)) < 100
    other = [chance.randrange(10_000) for _ in range(20_000)]
    assert applied(old, other) == other


def test_what_is_too_much_even_in_pieces_is_one_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.comparison.MAX_PRODUCT", 3)
    assert len(changes([1, 2, 3, 4, 5], [1, 9, 3, 8, 5])) == 1
    assert applied([1, 2, 3, 4, 5], [1, 9, 3, 8, 5]) == [1, 9, 3, 8, 5]


def test_of_more_changes_than_are_worth_it_neighbours_are_one() -> None:
    old, new = list(range(40)), [-item if item % 4 == 2 else item for item in range(40)]
    assert len(changes(old, new)) == 10
    assert [(c.start, c.end) for c in changes(old, new, limit=4)] == [
        (2, 11),
        (14, 23),
        (26, 35),
        (38, 39),
    ]
    assert len(changes(old, new, limit=1)) == 1


def test_words_lose_nothing() -> None:
    text = "It's — naïve:\n\n\t日本語 👩‍👧, x_1!"
    assert "".join(words(text)) == text


def message(number: int, content: str) -> Message:
    return Message(
        id=UUID(int=number),
        content=content,
        message_type="text",
        user_id=None,
        parent_message_id=None,
        metadata=None,
        attachments=None,
        is_ai_generated=False,
        status="sent",
        created_at=None,
    )


def holding(**fields: Any) -> Projection:
    return msgspec.structs.replace(EMPTY, **fields)


def shown(older: Projection, newer: Projection) -> dict[str, str]:
    fields, truncated = compare(older, newer)
    assert not truncated
    signs = {"equal": "", "insert": "+", "delete": "-"}
    return {
        f"{field.field}{field.message_id.int if field.message_id else ''}": "|".join(
            signs[part.op] + part.text for part in field.parts
        )
        for field in fields
    }


def test_each_field_that_differs_is_shown_and_no_other() -> None:
    older = holding(
        title="A day",
        description="same",
        content={"text": "It rained.", "mood": 3},
        tags=["a", "b"],
        messages=[message(1, "hello"), message(2, "same"), message(3, "gone")],
    )
    newer = holding(
        title="A night",
        description="same",
        content={"text": "It rained a lot.", "mood": 4},
        tags=["a", "c"],
        messages=[message(1, "hello there"), message(2, "same"), message(4, "new")],
        metadata={"k": 1},
    )
    assert shown(older, newer) == {
        "title": "A |-day|+night",
        "text": "It rained|+ a lot|.",
        "tags": "a\n|-b|+c",
        "data": '{\n "mood": |-3|+4|\n}',
        "metadata": '+{\n "k": 1\n}',
        "message1": "hello|+ there",
        "message3": "-gone",
        "message4": "+new",
    }
    assert compare(newer, newer) == ([], False)


def test_of_a_long_text_only_the_surroundings_of_a_change_are_sent() -> None:
    text = "word " * 50_000
    [field], truncated = compare(
        holding(content={"text": text}), holding(content={"text": text + "end"})
    )
    assert not truncated
    first, last, inserted = field.parts
    assert (len(first.text), len(last.text)) == (SHOWN_CHARACTERS, SHOWN_CHARACTERS)
    assert len(first.text) + first.skipped + len(last.text) == len(text)
    assert (inserted.op, inserted.text) == ("insert", "end")


def test_what_was_inserted_is_cut_by_who_wrote_it() -> None:
    ada, bob = UUID(int=1), UUID(int=2)
    [field], _ = compare(
        holding(content={"text": "one two"}),
        holding(content={"text": "one half two and three"}),
    )
    parts = attributed(field.parts, [(6, ada), (6, bob), (2, ada)])
    assert [(part.op, part.text, part.user_id) for part in parts] == [
        ("equal", "one ", None),
        ("insert", "ha", ada),
        ("insert", "lf ", bob),
        ("equal", "two", None),
        ("insert", " a", ada),
        ("insert", "nd three", None),
    ]
    assert attributed(field.parts, []) == field.parts


def test_a_difference_is_bounded() -> None:
    newer = holding(title="T", content={"text": "ab " * MAX_DIFF_CHARACTERS}, tags=["x"])
    fields, truncated = compare(EMPTY, newer)
    assert truncated
    assert [field.field for field in fields] == ["title", "text"]
    assert sum(len(part.text) for field in fields for part in field.parts) == MAX_DIFF_CHARACTERS
