"""The memory document: what it projects to, how it is edited, and how it is merged."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from protocol.lexemes import lexemes_of
from protocol.log import BASE, Known, Projection
from protocol.thread import Thread
from sync.document import (
    EMPTY_UPDATE,
    MAX_CHANGED,
    Edit,
    difference,
    edit,
    hold,
    load,
    merge,
    project,
)
from sync.state import State
from sync.update import MalformedUpdate, scan


def written(write: Callable[[Doc[Any]], None]) -> bytes:
    doc: Doc[Any] = Doc()
    with doc.transaction():
        write(doc)
    return doc.get_update()


def projected(write: Callable[[Doc[Any]], None]) -> Projection:
    return project([written(write)])


def test_an_empty_document_projects_to_empty_rows() -> None:
    empty = Projection(None, None, {"text": ""}, [], {}, [])
    assert project([]) == empty
    assert project([EMPTY_UPDATE]) == empty


def test_the_fields_of_a_memory_are_read_from_its_document() -> None:
    def write(doc: Doc[Any]) -> None:
        doc.get("content", type=Text).insert(0, "Milk, and \U0001f95a")
        properties = doc.get("properties", type=Map)
        properties["title"] = "Groceries"
        properties["description"] = "for Sunday"
        properties["metadata"] = {"source": "voice", "score": 1.5, "count": 3.0}
        properties["data"] = {"kind": "note", "text": "not the body"}
        doc.get("tags", type=Map).update({"home": True, "food": True, "old": False, "": True})

    expected = Projection(
        title="Groceries",
        description="for Sunday",
        content={"kind": "note", "text": "Milk, and \U0001f95a"},
        tags=["food", "home"],
        metadata={"source": "voice", "score": 1.5, "count": 3},
        messages=[],
    )
    words = lexemes_of(expected)
    assert projected(write) == msgspec.structs.replace(expected, words=words)
    assert "'~milk':" in words


def test_the_body_of_a_rich_editor_is_read_as_text_behind_the_plain_one() -> None:
    def write(doc: Doc[Any]) -> None:
        doc.get("content", type=Text).insert(0, "plain")
        fragment = doc.get("default", type=XmlFragment)
        paragraph = fragment.children.append(XmlElement("paragraph"))
        bold = paragraph.children.append(XmlText("Hello"))
        bold.format(0, 2, {"bold": True})
        paragraph.children.append(XmlText(" world"))
        bullets = fragment.children.append(XmlElement("bulletList"))
        for item in ("one", "two"):
            bullets.children.append(XmlElement("listItem")).children.append(XmlText(item))
        fragment.children.append(XmlElement("horizontalRule"))

    assert projected(write).content == {"text": "plain\nHello world\none\ntwo"}


def test_what_postgresql_cannot_store_is_replaced() -> None:
    def write(doc: Doc[Any]) -> None:
        doc.get("content", type=Text).insert(0, "a\x00b")
        doc.get("properties", type=Map).update(
            {
                "title": "t\x00",
                "metadata": {
                    "nan": math.nan,
                    "infinite": math.inf,
                    "bytes": b"\x00\xff",
                    "k\x00": ["\x00", {"deep": -math.inf}],
                    "large": 2.0**60,
                },
            }
        )
        doc.get("tags", type=Map)["x\x00"] = True

    rows = projected(write)
    assert rows.title == "t\ufffd"
    assert rows.content["text"] == "a\ufffdb"
    assert rows.tags == ["x\ufffd"]
    assert rows.metadata == {
        "nan": None,
        "infinite": None,
        "bytes": None,
        "k\ufffd": ["\ufffd", {"deep": None}],
        "large": 2.0**60,
    }


@pytest.mark.parametrize("value", [7, True, None, "text", ["a"], {"a": 1}, b"x", 1.5])
def test_properties_of_any_type_leave_the_rows_well_typed(value: Any) -> None:
    def write(doc: Doc[Any]) -> None:
        names = ("title", "description", "metadata", "data")
        doc.get("properties", type=Map).update(dict.fromkeys(names, value))
        doc.get("tags", type=Map)["tag"] = value
        messages = doc.get("messages", type=Map)
        messages[str(uuid4())] = value
        messages["no id"] = {"body": "x"}

    rows = projected(write)
    text = value if isinstance(value, str) else None
    table = value if isinstance(value, dict) else {}
    assert (rows.title, rows.description, rows.metadata) == (text, text, table)
    assert rows.content == {**table, "text": ""}
    assert rows.tags == (["tag"] if value else [])
    assert rows.messages == []


def test_shared_types_in_place_of_plain_values_are_read_as_values() -> None:
    def write(doc: Doc[Any]) -> None:
        properties = doc.get("properties", type=Map)
        properties["title"] = Text("a title")
        properties["metadata"] = Map({"list": Array([1, 2]), "text": Text("x")})

    rows = projected(write)
    assert rows.title == "a title"
    assert rows.metadata == {"list": [1, 2], "text": "x"}


@pytest.mark.parametrize("kind", [Text, Array, XmlFragment])
def test_roots_of_another_type_than_agreed_harm_nobody(kind: type[Any]) -> None:
    def write(doc: Doc[Any]) -> None:
        for name in ("properties", "tags", "messages"):
            root = doc.get(name, type=kind)
            if kind is Text:
                root.insert(0, "text")
            elif kind is Array:
                root.append(1)
            else:
                root.children.append(XmlText("x"))
        doc.get("content", type=Map)["a"] = 1
        doc.get("default", type=Map)["a"] = 1

    assert projected(write) == Projection(None, None, {"text": ""}, [], {}, [])


def test_too_long_values_are_cut_to_what_the_rows_hold() -> None:
    def write(doc: Doc[Any]) -> None:
        doc.get("properties", type=Map).update({"title": "t" * 300, "description": "d" * 2000})
        doc.get("tags", type=Map).update({f"{number:03}" + "x" * 80: True for number in range(150)})

    rows = projected(write)
    assert (len(rows.title or ""), len(rows.description or "")) == (255, 1000)
    assert len(rows.tags) == 100
    assert {len(tag) for tag in rows.tags} == {50}


def test_a_property_of_more_values_than_rows_may_hold_is_left_out() -> None:
    def write(doc: Doc[Any]) -> None:
        properties = doc.get("properties", type=Map)
        properties.update({"data": {"list": [[]] * 10_000}, "metadata": {"list": [1] * 9_000}})

    rows = projected(write)
    assert rows.content == {"text": ""}
    assert len(rows.metadata["list"]) == 9_000


def test_a_rich_text_among_the_properties_costs_the_others_nothing() -> None:
    def write(doc: Doc[Any]) -> None:
        properties = doc.get("properties", type=Map)
        properties["data"] = Map({"note": XmlFragment()})
        properties["title"] = "still here"
        doc.get("tags", type=Map).update({"a": True, "b": XmlFragment()})

    rows = projected(write)
    assert (rows.title, rows.content, rows.tags) == ("still here", {"text": ""}, ["a"])


def test_messages_are_read_with_their_fields() -> None:
    message_id, author, parent = uuid4(), uuid4(), uuid4()

    def write(doc: Doc[Any]) -> None:
        messages = doc.get("messages", type=Map)
        messages[str(message_id)] = Map(
            {
                "body": Text("hello\x00"),
                "messageType": "voice",
                "userId": str(author),
                "parentMessageId": str(parent),
                "metadata": {"seconds": 3},
                "attachments": [str(author), 7, "b", str(parent).upper()],
                "isAiGenerated": True,
                "status": "read",
                "createdAt": "2026-01-31T09:30:00+01:00",
            }
        )

    [message] = projected(write).messages
    assert message.id == message_id
    assert message.content == "hello\ufffd"
    assert (message.message_type, message.status) == ("voice", "read")
    assert message.parent_message_id == parent
    # A name in a document is nobody's word.
    assert message.user_id is None
    assert (message.metadata, message.attachments) == (
        {"seconds": 3},
        [author, parent],
    )
    assert message.is_ai_generated
    assert message.created_at == datetime(2026, 1, 31, 8, 30, tzinfo=UTC)


def test_wrong_fields_of_a_message_are_left_out_and_the_message_stays() -> None:
    def write(doc: Doc[Any]) -> None:
        doc.get("messages", type=Map)[str(UUID(int=5))] = {
            "body": "plain",
            "messageType": 5,
            "userId": "nobody",
            "parentMessageId": ["x"],
            "metadata": "x",
            "attachments": "x",
            "isAiGenerated": "yes",
            "status": None,
            "createdAt": "yesterday",
        }

    [message] = projected(write).messages
    assert (message.content, message.message_type, message.status) == ("plain", "text", "sent")
    assert (message.user_id, message.parent_message_id, message.created_at) == (None, None, None)
    assert (message.metadata, message.attachments, message.is_ai_generated) == (None, None, False)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_moment_beyond_the_calendar_is_none(moment: str) -> None:
    def write(doc: Doc[Any]) -> None:
        doc.get("messages", type=Map)[str(UUID(int=5))] = {"body": "x", "createdAt": moment}

    assert projected(write).messages[0].created_at is None


def test_an_edit_changes_only_what_it_names_and_projects_what_it_made() -> None:
    first, rows = edit([], Edit(title="a", text="body", tags=["x", "y"], data={"k": 1}), 1)
    assert first is not None
    assert rows == project([first])
    second, rows = edit([first], Edit(tags=["y", "z"]), 1)
    assert second is not None
    assert rows == project([first, second])
    assert (rows.title, rows.content, rows.tags) == ("a", {"k": 1, "text": "body"}, ["y", "z"])
    third, rows = edit([first, second], Edit(title=None, data=None), 1)
    assert third is not None
    assert (rows.title, rows.content) == (None, {"text": "body"})


def test_an_edit_that_changes_nothing_makes_no_update() -> None:
    same = Edit(title="a", text="body", tags=["x"], data={"k": [1, {}]}, metadata={"m": None})
    first, _ = edit([], same, 1)
    assert first is not None
    assert edit([first], same, 2)[0] is None
    assert edit([], Edit(), 1)[0] is None
    assert edit([], Edit(title=None, data=None, tags=[], text=""), 1)[0] is None


def test_an_edit_continues_the_clocks_of_its_client_id() -> None:
    first, _ = edit([], Edit(text="abc"), 7)
    assert first is not None
    second, _ = edit([first], Edit(text="abcd"), 7)
    assert second is not None
    assert scan(first).structs == {7: (0, 3)}
    assert scan(second).structs == {7: (3, 4)}


@pytest.mark.parametrize(
    ("old", "new", "inserted", "deleted"),
    [
        ("the cat sat", "the dog sat", 3, 3),
        ("aaaa", "aaaaa", 1, 0),
        ("abab", "ab", 0, 2),
        ("", "new", 3, 0),
        ("old", "", 0, 3),
        ("\u00e9\U0001f600x", "\u00e9\U0001f601x", 2, 2),
        ("\U0001f600", "\U0001f600\U0001f600", 2, 0),
    ],
)
def test_a_text_is_rewritten_by_the_smallest_edit(
    old: str, new: str, inserted: int, deleted: int
) -> None:
    first, _ = edit([], Edit(text=old), 1)
    second, rows = edit([first] if first else [], Edit(text=new), 1)
    assert second is not None
    assert rows.content["text"] == new
    update = scan(second)
    assert sum(end - start for start, end in update.structs.values()) == inserted
    assert sum(end - start for gone in update.deletes.values() for start, end in gone) == deleted


def test_an_edit_at_the_same_time_elsewhere_in_the_text_survives() -> None:
    first, _ = edit([], Edit(text="one two three"), 1)
    assert first is not None
    device = load([first])
    state = device.get_state()
    device.get("content", type=Text).insert(13, " four")
    theirs = device.get_update(state)
    ours, _ = edit([first], Edit(text="one 2 three"), 1)
    assert ours is not None
    for order in ([first, theirs, ours], [first, ours, theirs]):
        assert project(order).content["text"] == "one 2 three four"


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_an_edit_that_would_store_too_deep_a_value_is_refused() -> None:
    payload, rows = edit([], Edit(metadata=nested(32)), 1)
    assert payload is not None
    assert rows.metadata == nested(32)
    with pytest.raises(MalformedUpdate, match="nesting"):
        edit([], Edit(metadata=nested(33)), 1)


def test_a_merge_holds_all_that_the_log_holds() -> None:
    doc: Doc[Any] = Doc()
    text = doc.get("content", type=Text)
    updates = []
    for number in range(450):  # more than are merged at once
        state = doc.get_state()
        text.insert(number // 2, "x")
        if number % 10 == 9:
            del text[0:3]
        updates.append(doc.get_update(state))
    payload, state = merge(None, None, updates[:300])
    again, whole = merge(payload, state, updates[300:])
    assert project([again]) == project(updates)
    assert load([again]).get_update() == load(updates).get_update()
    assert State.decode(whole).clocks == State.of(updates).clocks
    assert State.decode(whole).deletes() == State.of(updates).deletes()


def test_what_is_overwritten_again_and_again_weighs_nothing_in_a_snapshot() -> None:
    doc: Doc[Any] = Doc()
    properties = doc.get("properties", type=Map)
    updates = []
    for number in range(300):
        state = doc.get_state()
        properties["title"] = f"{number:03}" + "x" * 200
        updates.append(doc.get_update(state))
    payload, _ = merge(None, None, updates)
    assert sum(map(len, updates)) > 60_000
    assert len(payload) < 500
    assert project([payload]).title == "299" + "x" * 200


def test_a_merge_that_would_lose_something_is_refused() -> None:
    doc: Doc[Any] = Doc()
    doc.get("content", type=Text).insert(0, "abc")
    whole = doc.get_update()
    state = hold(None, [whole])
    # A snapshot that lacks what its state says it has: as if its bytes were lost.
    with pytest.raises(ValueError, match="lacks"):
        merge(
            EMPTY_UPDATE, state, [written(lambda doc: doc.get("tags", type=Map).update({"a": 1}))]
        )


def test_a_difference_is_what_a_state_vector_lacks() -> None:
    first, _ = edit([], Edit(text="abc"), 1)
    second, _ = edit([first or b""], Edit(text="abcdef"), 1)
    assert first is not None
    assert second is not None
    device = load([first])
    device.apply_update(difference([first, second], device.get_state()))
    assert str(device.get("content", type=Text)) == "abcdef"


def thread_of(count: int) -> list[bytes]:
    doc: Doc[Any] = Doc()
    thread = Thread(doc)
    with doc.transaction():
        for number in range(count):
            thread.add(str(number), user_id=UUID(int=1), message_id=UUID(int=number + 1))
    return [doc.get_update()]


def known(projection: Projection) -> Known:
    return Known(7, b"".join(each.id.bytes + each.digest for each in projection.messages))


def test_of_a_thread_only_what_rows_do_not_have_is_projected() -> None:
    updates = thread_of(3)
    rows = known(project(updates))
    assert project(updates, rows).messages == []
    doc = load(updates, 5)
    Thread(doc).edit(UUID(int=2), "new")
    Thread(doc).remove(UUID(int=3))
    Thread(doc).add("4", user_id=UUID(int=1), message_id=UUID(int=4))
    projection = project([doc.get_update()], rows)
    changed = {each.id.int: each.content for each in projection.messages}
    assert (changed, projection.gone) == ({2: "new", 4: "4"}, [UUID(int=3)])
    assert (projection.known, projection.more) == (7, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("messageType", "voice"),
        ("parentMessageId", str(UUID(int=7))),
        ("metadata", {"a": 1}),
        ("attachments", [str(UUID(int=7))]),
        ("isAiGenerated", True),
        ("status", "read"),
    ],
)
def test_every_field_that_may_change_is_told_from_what_it_was(name: str, value: Any) -> None:
    updates = thread_of(1)
    doc = load(updates, 5)
    Thread(doc).put(UUID(int=1), name, value)
    changed = project([doc.get_update()], known(project(updates)))
    assert [each.id.int for each in changed.messages] == [1]


def test_many_changes_of_a_thread_are_projected_one_part_after_the_other() -> None:
    updates, rows = thread_of(2 * MAX_CHANGED + 1), Known(7, b"")
    found: set[UUID] = set()
    for more in (True, True, False):
        part = project(updates, rows)
        assert part.more is more
        found |= {each.id for each in part.messages}
        rows = Known(7, rows.digests + known(part).digests)
    assert len(found) == 2 * MAX_CHANGED + 1
    emptied = project([], rows)
    assert (len(emptied.gone), emptied.more) == (MAX_CHANGED, True)


def test_an_edit_projects_of_a_thread_what_it_touched() -> None:
    updates = thread_of(3)
    touched = [UUID(int=2), UUID(int=9)]
    made, rows = edit(updates, Edit(title="a"), 1, touched)
    assert made is not None
    assert [each.id for each in rows.messages] == touched[:1]
    assert (rows.gone, rows.known, rows.title) == (touched[1:], BASE, "a")
    assert edit(updates, Edit(title="a"), 1, ())[1].messages == []
    assert len(edit(updates, Edit(title="a"), 1)[1].messages) == 3


def test_a_message_is_of_the_client_that_began_its_text() -> None:
    message_id = UUID(int=1)
    first = thread_of(1)
    [message] = project(first).messages
    began = message.client
    doc = load(first, 5)
    Thread(doc).body(message_id).insert(0, "typed by another ")
    Thread(doc).put(message_id, "userId", str(uuid4()))
    [message] = project([doc.get_update()]).messages
    assert (message.client, message.content) == (began, "typed by another 0")
    doc.get("messages", type=Map)[str(message_id)]["body"] = Text("put in its place")
    assert project([doc.get_update()]).messages[0].client == 5
    doc.get("messages", type=Map)[str(message_id)]["body"] = "plain"
    assert project([doc.get_update()]).messages[0].client is None


def test_of_the_files_of_a_message_it_is_told_who_wrote_which_they_are() -> None:
    files = [str(uuid4()), str(uuid4())]
    ids = [uuid4() for _ in range(4)]
    ada: Doc[Any] = Doc(client_id=2)
    messages = ada.get("messages", type=Map)
    with ada.transaction():
        for message_id in ids:
            messages[str(message_id)] = Map({"body": Text("a"), "attachments": files})
        messages[str(ids[2])]["attachments"] = Array(files)
        messages[str(ids[3])]["attachments"] = Array(files[:1])
    bob: Doc[Any] = Doc(client_id=3)
    bob.apply_update(ada.get_update())
    theirs = bob.get("messages", type=Map)
    theirs[str(ids[1])]["attachments"] = files
    theirs[str(ids[3])]["attachments"].append(files[1])
    updates = [ada.get_update(), bob.get_update()]
    projection = project(updates, Known(0, b""))
    assert all(message.attachments == [*map(UUID, files)] for message in projection.messages)
    told = {message.id: message.attached_by for message in projection.messages}
    # The last list is of them both.
    assert told == dict(zip(ids, (2, 3, 2, None), strict=True))
    # Rows that are made with an edit say the same.
    _, projection = edit(updates, Edit(title="t"), 4, ids)
    assert {message.id: message.attached_by for message in projection.messages} == told


def test_of_a_message_too_large_for_a_page_of_them_rows_have_a_part() -> None:
    def write(doc: Doc[Any]) -> None:
        Thread(doc).add(
            "x" * 100_000,
            user_id=uuid4(),
            metadata={"a": "x" * 100_000},
            attachments=[uuid4() for _ in range(30)],
        )

    [message] = projected(write).messages
    assert (len(message.content), message.metadata) == (20_000, None)
    assert len(message.attachments or []) == 20


def test_an_id_is_written_in_one_way_only() -> None:
    def write(doc: Doc[Any]) -> None:
        messages = doc.get("messages", type=Map)
        for key in (str(UUID(int=10)), str(UUID(int=10)).upper(), UUID(int=10).hex, "{}", ""):
            messages[key] = Map({"body": Text(key)})

    [message] = projected(write).messages
    assert message.content == str(UUID(int=10))
