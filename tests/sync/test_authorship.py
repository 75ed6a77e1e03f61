"""Who wrote which part of a body: to the letter, against a record that the test keeps."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pycrdt import Doc, Map, Text

from protocol.log import Author, Authorship, Row
from sync.authorship import ONE_GO, TooMuch, blame
from sync.compaction import authors
from sync.document import load

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Bench:
    """People that write in one document, and the log of what they sent."""

    def __init__(self, people: int) -> None:
        self.rows: list[Row] = []
        self.people = [
            (Author(UUID(int=number), f"device {number}"), Doc[Any](client_id=2**number * 100))
            for number in range(1, people + 1)
        ]
        self.now = NOON

    def send(self, number: int, change: Any) -> None:
        """Person `number` changes the text, and everybody hears of it."""
        author, doc = self.people[number]
        before = doc.get_state()
        change(doc.get("content", type=Text))
        self.keep(author, doc.get_update(before))

    def keep(self, author: Author, update: bytes) -> None:
        row = Row(len(self.rows) + 1, update, author.account_id, author.device_id, self.now)
        self.rows.append(row)
        for _, doc in self.people:
            doc.apply_update(update)

    def blame(self, kept: int = 0) -> list[tuple[str, int | None]]:
        """Runs and whose they are, with so many rows trimmed."""
        written = blame(
            [row.payload for row in self.rows], authors(self.rows[:kept]), self.rows[kept:]
        )
        return [(run.text, run.account_id.int if run.account_id else None) for run in written]


def test_runs_are_in_the_order_of_the_text_and_of_who_wrote_them() -> None:
    bench = Bench(2)
    bench.send(0, lambda text: text.insert(0, "The fox jumps."))
    bench.send(1, lambda text: text.insert(4, "quick "))
    bench.send(0, lambda text: text.insert(len(text), " End."))
    bench.send(1, lambda text: text.__delitem__(slice(0, 2)))
    assert bench.blame() == [("e ", 1), ("quick ", 2), ("fox jumps. End.", 1)]


@pytest.mark.parametrize("seed", range(8))
def test_each_letter_is_its_writers(seed: int) -> None:
    chance = random.Random(seed)
    bench = Bench(3)
    for number in range(80):
        who = chance.randrange(3)
        # Each writes with letters that only they use.
        letters = [["a", "b ", "äö"], ["X", "YZ"], ["👍", "❤️!", "1 2"]][who]

        def change(text: Text, letters: list[str] = letters) -> None:
            content = str(text)
            ends = [len(content[:place].encode()) for place in range(len(content) + 1)]
            if content and chance.random() < 0.3:
                start, end = sorted(chance.choice(ends) for _ in range(2))
                del text[start : min(end, *[e for e in ends if e > start][2:3] or [end])]
            else:
                text.insert(chance.choice(ends), chance.choice(letters))

        bench.send(who, change)
        if number == 40:
            # Somebody sends all there is, others' letters too, as a stock client that reconnects.
            bench.keep(bench.people[who][0], bench.people[who][1].get_update())
        doc = bench.people[who][1]
        if number % 9 == 0:
            doc.get("messages", type=Map)[f"{number}"] = Map({"body": Text("not the body")})
            bench.keep(bench.people[who][0], doc.get_update())
        if number % 20 == 5:
            bench.send(
                who,
                lambda text: (
                    text.format(0, min(2, len(text)), {"b": True})
                    if str(text)[:2].isascii()
                    else None
                ),
            )
    letters_of = {1: set("ab äö"), 2: set("XYZ"), 3: set("👍❤️!1 2")}
    for kept in (0, 30, len(bench.rows)):
        runs = bench.blame(kept)
        body = load([row.payload for row in bench.rows]).get("content", type=Text)
        assert "".join(text for text, _ in runs) == str(body)
        for text, who_wrote in runs:
            assert who_wrote is not None
            assert set(text) <= letters_of[who_wrote], (text, who_wrote)


def test_what_was_written_in_one_go_is_one_run_dated_by_its_end() -> None:
    bench = Bench(1)
    for pause in (0, 1, 9, 30):
        bench.now += timedelta(minutes=pause)
        bench.send(0, lambda text: text.insert(len(text), "x"))
    first, last = blame([row.payload for row in bench.rows], [], bench.rows)
    assert (first.text, first.written_at) == ("xxx", NOON + timedelta(minutes=10))
    assert (last.text, last.written_at) == ("x", NOON + timedelta(minutes=40))
    assert last.written_at is not None
    assert first.written_at is not None
    assert last.written_at - first.written_at > ONE_GO


def test_what_nobody_is_known_for_is_nobodys() -> None:
    bench = Bench(2)
    bench.send(0, lambda text: text.insert(0, "mine"))
    bench.send(1, lambda text: text.insert(4, " yours"))
    only = [Authorship(100 * 4, 0, 3, UUID(int=2), None, NOON)]
    runs = blame([row.payload for row in bench.rows], only, [])
    assert [(run.text, run.account_id) for run in runs] == [
        ("mine", None),
        (" yours", UUID(int=2)),
    ]


def test_an_empty_body_has_no_runs() -> None:
    assert blame([], [], []) == []


def test_what_is_too_much_to_tell_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(1)
    bench.send(0, lambda text: text.insert(0, "abc"))
    bench.send(0, lambda text: text.insert(1, "x"))
    monkeypatch.setattr("sync.authorship.MAX_BLOCKS", 2)
    with pytest.raises(TooMuch, match="2 parts"):
        bench.blame()
    monkeypatch.setattr("sync.authorship.MAX_CHARACTERS", 3)
    with pytest.raises(TooMuch, match="3 characters"):
        bench.blame()
    monkeypatch.setattr("sync.authorship.MAX_CHARACTERS", 1_000)
    monkeypatch.setattr("sync.authorship.MAX_STRUCTS", 2)
    with pytest.raises(TooMuch, match="2 insertions"):
        bench.blame()


def test_parts_are_in_order_whatever_stands_between_them() -> None:
    """More parts than letters of one byte, between formats that are none."""
    bench = Bench(2)

    def write(text: Text) -> None:
        for number in range(300):
            text.insert(0, f"{number} ")
            text.format(0, 1, {"b": number})

    bench.send(0, write)
    bench.send(1, lambda text: text.insert(4, "👍"))
    body = "".join(f"{number} " for number in reversed(range(300)))
    assert bench.blame() == [(body[:4], 1), ("👍", 2), (body[4:], 1)]
