"""The thread of a document, as a device reads and writes it without a network."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from pycrdt import Doc, Map, Text, XmlFragment

from protocol.thread import Thread

ADA = UUID(int=1)


def replica(doc: Doc[Any]) -> Doc[Any]:
    copy: Doc[Any] = Doc()
    copy.apply_update(doc.get_update())
    return copy


def test_messages_are_listed_the_oldest_first() -> None:
    doc: Doc[Any] = Doc()
    thread = Thread(doc)
    parent, file_id = uuid4(), uuid4()
    moment = datetime(2026, 1, 31, 8, 30, tzinfo=UTC)
    second = thread.add("second", user_id=ADA)
    first = thread.add(
        "first",
        user_id=ADA,
        message_type="voice",
        metadata={"seconds": 3},
        attachments=[file_id],
        parent_message_id=parent,
        created_at=moment,
    )
    one, two = Thread(replica(doc)).list()
    assert (one.id, one.content, two.id, two.content) == (first, "first", second, "second")
    assert (one.user_id, one.message_type, one.metadata) == (str(ADA), "voice", {"seconds": 3})
    assert (one.attachments, one.parent_message_id) == ([str(file_id)], str(parent))
    assert (one.created_at, one.status) == ("2026-01-31T08:30:00.000Z", "sent")
    assert (two.attachments, two.metadata, two.is_ai_generated) == ([], None, False)


def test_a_message_is_one_update() -> None:
    doc: Doc[Any] = Doc()
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    thread = Thread(doc)
    made = thread.add("hello", user_id=ADA, metadata={"a": 1})
    thread.edit(made, "hallo, you")
    assert thread.remove(made)
    doc.unobserve(subscription)
    assert len(updates) == 3
    assert not thread.remove(made)
    assert thread.list() == []
    assert made not in thread


def test_adding_by_an_id_that_is_there_changes_nothing() -> None:
    thread = Thread(Doc())
    made = thread.add("first", user_id=ADA, message_id=UUID(int=5))
    assert thread.add("second", user_id=ADA, message_id=made) == made
    assert [message.content for message in thread.list()] == ["first"]


@pytest.mark.parametrize(
    ("hers", "his", "both"),
    [
        ("one 2 three", "one two three four", "one 2 three four"),
        ("zero one two three", "one two", "zero one two"),
        ("one two \U0001f600 three", "\u00e9one two three", "\u00e9one two \U0001f600 three"),
    ],
)
def test_two_devices_edit_one_message_offline_and_both_edits_survive(
    hers: str, his: str, both: str
) -> None:
    ada: Doc[Any] = Doc()
    made = Thread(ada).add("one two three", user_id=ADA)
    bob = replica(ada)
    Thread(ada).edit(made, hers)
    Thread(bob).edit(made, his)
    ada.apply_update(bob.get_update())
    bob.apply_update(ada.get_update())
    assert str(Thread(ada).body(made)) == str(Thread(bob).body(made)) == both


def test_values_are_set_and_taken_away() -> None:
    doc: Doc[Any] = Doc()
    thread = Thread(doc)
    made = thread.add("x", user_id=ADA)
    thread.put(made, "metadata", {"a": 1})
    assert thread.list()[0].metadata == {"a": 1}
    before = doc.get_state()
    thread.put(made, "metadata", {"a": 1})
    assert doc.get_state() == before
    thread.put(made, "metadata", None)
    thread.put(made, "metadata", None)
    assert thread.list()[0].metadata is None


def test_what_is_no_message_is_left_out_and_cannot_be_edited() -> None:
    doc: Doc[Any] = Doc()
    messages = doc.get("messages", type=Map)
    odd, no_text = UUID(int=7), UUID(int=8)
    messages["no id"] = Map({"body": Text("x")})
    messages[str(odd)] = "a string"
    messages[str(UUID(int=9))] = Map({"body": XmlFragment()})
    messages[str(UUID(int=10))] = Map({"userId": "x"})
    messages[str(UUID(int=11))] = Map({"body": 5})
    messages[str(no_text)] = {"body": "plain"}
    thread = Thread(doc)
    assert [message.id for message in thread.list()] == [no_text]
    messages[str(no_text)] = {"body": "plain", "userId": 5, "attachments": "x", "metadata": []}
    [message] = thread.list()
    assert (message.user_id, message.attachments, message.metadata) == (None, [], None)
    for unknown in (odd, no_text, uuid4()):
        with pytest.raises(KeyError):
            thread.edit(unknown, "x")
        with pytest.raises(KeyError):
            thread.put(unknown, "status", "read")
    assert thread.remove(no_text)
