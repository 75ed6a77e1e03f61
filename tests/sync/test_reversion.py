"""Making a document what it was: exactly, by small edits, that merge with others' edits."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from sync.document import load, project
from sync.reversion import revert


class Pair:
    """A document, and what it was when it was last kept."""

    def __init__(self, write: Callable[[Doc[Any]], None] | None = None) -> None:
        self.doc: Doc[Any] = Doc()
        if write is not None:
            write(self.doc)
        self.kept = self.doc.get_update()

    def copy(self) -> Doc[Any]:
        """A device that has what there is now."""
        return load([self.doc.get_update()])

    def restore(self) -> bytes:
        """Make it what it was; what that took."""
        before = self.doc.get_state()
        with self.doc.transaction():
            revert(self.doc, load([self.kept]))
        return self.doc.get_update(before)

    def is_as_it_was(self) -> bool:
        return bool(looks(self.doc) == looks(load([self.kept])))


def looks(doc: Doc[Any]) -> Any:
    """Everything that can be seen of a document."""
    text = doc.get("content", type=Text)
    rich = doc.get("default", type=XmlFragment)
    maps = [doc.get(name, type=Map).to_py() for name in ("properties", "tags", "messages")]
    return maps, plain(text.diff()), [markup(node) for node in rich.children]


def plain(chunks: list[tuple[Any, dict[str, Any] | None]]) -> list[Any]:
    joined: list[Any] = []
    for value, attributes in chunks:
        value = value.to_py() if hasattr(value, "to_py") else value  # noqa: PLW2901
        last = joined[-1] if joined else (None, None)
        if isinstance(value, str) and isinstance(last[0], str) and last[1] == (attributes or {}):
            joined[-1] = (last[0] + value, last[1])
        else:
            joined.append((value, attributes or {}))
    return joined


def markup(node: Any) -> Any:
    if isinstance(node, XmlText):
        return plain(node.diff())
    return node.tag, sorted(node.attributes), [markup(child) for child in node.children]


def content(doc: Doc[Any]) -> Text:
    text: Text = doc.get("content", type=Text)
    return text


def body(text: str) -> Callable[[Doc[Any]], None]:
    def write(doc: Doc[Any]) -> None:
        content(doc).insert(0, text)

    return write


def put_message(doc: Doc[Any], key: str, **fields: Any) -> None:
    said = fields.pop("body")
    doc.get("messages", type=Map)[key] = message = Map(fields)
    message["body"] = Text(said)


def test_a_body_comes_back_by_edits_of_what_changed_and_others_merge() -> None:
    pair = Pair(body("The quick brown fox. It jumps. The lazy dog sleeps."))
    text = content(pair.doc)
    del text[4:9]
    text.insert(4, "slow")
    text.insert(len(text), " The end.")
    device = pair.copy()
    # Meanwhile, without having heard of it, somebody writes in the middle.
    its = content(device)
    its.insert(str(its).index(" It jumps."), " Look!")
    update = pair.restore()
    assert pair.is_as_it_was()
    device.apply_update(update)
    pair.doc.apply_update(device.get_update())
    assert str(its) == str(text)
    assert str(text) == "The quick brown fox. Look! It jumps. The lazy dog sleeps."


def test_restoring_what_is_there_takes_no_edit() -> None:
    pair = Pair(body("as it is"))
    put_message(pair.doc, "1", body="hi")
    pair.kept = pair.doc.get_update()
    assert pair.restore() == b"\x00\x00"


def test_formats_and_embeds_of_a_body_come_back() -> None:
    pair = Pair(body("één two three four"))
    text = content(pair.doc)
    text.format(0, 5, {"bold": True})
    text.insert_embed(6, {"image": "a.png"})
    pair.kept = pair.doc.get_update()
    was = plain(text.diff())
    text.format(0, 5, {"bold": None, "link": "https://example.com"})
    text.format(8, 12, {"italic": True})
    del text[6:7]
    text.insert_embed(len(text), {"image": "b.png"})
    text.insert(0, "zero ")
    pair.restore()
    assert plain(text.diff()) == was


def test_a_shared_type_within_a_text_comes_back() -> None:
    pair = Pair(body("before after"))
    text = content(pair.doc)
    text.insert_embed(7, Map({"a": 1, "list": Array([1, 2])}))
    pair.kept = pair.doc.get_update()
    del text[7:8]
    pair.restore()
    [_, (value, _), _] = text.diff()
    assert value.to_py() == {"a": 1, "list": [1, 2]}


def test_properties_come_back_and_new_ones_go() -> None:
    pair = Pair()
    properties = pair.doc.get("properties", type=Map)
    properties["title"] = "then"
    properties["metadata"] = {"a": [1, {"b": None}]}
    properties["nested"] = Map({"x": Text("deep"), "y": Array([1, 2, 3]), "z": 1.5})
    pair.doc.get("tags", type=Map)["old"] = True
    pair.kept = pair.doc.get_update()
    properties["title"] = "now"
    properties["description"] = "new"
    del properties["metadata"]
    nested = properties["nested"]
    nested["x"].insert(4, "er")
    del nested["y"][1]
    nested["y"].append(9)
    nested["z"] = True
    tags = pair.doc.get("tags", type=Map)
    del tags["old"]
    tags["new"] = True
    pair.restore()
    assert pair.is_as_it_was()
    assert "description" not in properties


def test_a_property_that_has_become_another_type_comes_back() -> None:
    pair = Pair()
    properties = pair.doc.get("properties", type=Map)
    properties["a"], properties["b"] = Map({"k": Text("v")}), "plain"
    pair.kept = pair.doc.get_update()
    properties["a"], properties["b"] = [1], Array([2])
    pair.restore()
    assert pair.is_as_it_was()


def test_a_thread_gets_back_what_was_deleted_or_changed_and_keeps_what_is_new() -> None:
    pair = Pair()
    put_message(pair.doc, "1", body="first words", status="sent", userId="u")
    put_message(pair.doc, "2", body="second", metadata={"k": [1]})
    pair.kept = pair.doc.get_update()
    messages = pair.doc.get("messages", type=Map)
    messages["1"]["body"].insert(5, " changed")
    messages["1"]["status"] = "read"
    del messages["2"]
    put_message(pair.doc, "3", body="since")
    device = pair.copy()
    device.get("messages", type=Map)["1"]["body"].insert(0, "My ")
    update = pair.restore()
    device.apply_update(update)
    pair.doc.apply_update(device.get_update())
    assert messages.to_py() == {
        "1": {"body": "My first words", "status": "read", "userId": "u"},
        "2": {"body": "second", "metadata": {"k": [1]}},
        "3": {"body": "since"},
    }


def paragraph(text: str, tag: str = "paragraph", **attributes: str) -> XmlElement:
    return XmlElement(tag, attributes, [XmlText(text)])


def test_rich_text_comes_back_node_by_node_and_others_merge() -> None:
    pair = Pair()
    rich = pair.doc.get("default", type=XmlFragment)
    rich.children.append(paragraph("A title", "heading", level="1"))
    rich.children.append(paragraph("The first paragraph."))
    rich.children.append(
        XmlElement("list", {}, [paragraph("one", "item"), paragraph("two", "item")])
    )
    rich.children.append(paragraph("The last."))
    rich.children[1].children[0].format(4, 9, {"bold": {}})
    pair.kept = pair.doc.get_update()
    was = looks(pair.doc)
    rich.children[0].attributes["level"] = "2"
    rich.children[1].children[0].insert(0, "Not ")
    rich.children[1].children[0].format(8, 13, {"bold": None})
    del rich.children[2].children[0]
    rich.children.insert(1, paragraph("A new one."))
    rich.children.append(paragraph("Another."))
    device = pair.copy()
    last = device.get("default", type=XmlFragment).children[4]
    last.children[0].insert(8, "!")
    update = pair.restore()
    assert looks(pair.doc) == was
    device.apply_update(update)
    pair.doc.apply_update(device.get_update())
    assert str(rich).endswith("<paragraph>The last!.</paragraph>")


@pytest.mark.parametrize("seed", range(40))
def test_whatever_was_done_to_it_a_document_is_what_it_was(seed: int) -> None:
    chance = random.Random(seed)
    pair = Pair(lambda doc: scribble(doc, chance, 30))
    scribble(pair.doc, chance, 30)
    pair.restore()
    was = looks(load([pair.kept]))
    now = looks(pair.doc)
    assert (now[1], now[2]) == (was[1], was[2])
    assert now[0][:2] == was[0][:2]
    assert was[0][2].items() <= now[0][2].items()


def scribble(doc: Doc[Any], chance: random.Random, times: int) -> None:
    text, rich = content(doc), doc.get("default", type=XmlFragment)
    properties, messages = doc.get("properties", type=Map), doc.get("messages", type=Map)
    for _ in range(times):
        match chance.randrange(9):
            case 0 | 1:
                text.insert(spot(str(text), chance), chance.choice(["é ", "ab", "x 👍 y", "\n"]))
            case 2 if plain(text.diff()) and len(text) == len(str(text).encode()):
                start, end = sorted(spot(str(text), chance) for _ in range(2))
                del text[start:end]
            case 3 if len(text) == len(str(text).encode()):
                start, end = sorted(spot(str(text), chance) for _ in range(2))
                text.format(start, end, {"b": chance.choice([True, None])})
            case 4:
                properties[chance.choice("abc")] = chance.choice([1, "x", {"k": [1]}, None])
            case 5:
                put_message(doc, chance.choice("12345"), body=chance.choice(["hi you", "so"]))
            case 6 if len(messages):
                del messages[chance.choice(sorted(messages.keys()))]
            case 7:
                place = chance.randrange(len(rich.children) + 1)
                node = paragraph(chance.choice(["one two", "three"]), chance.choice(["p", "h"]))
                rich.children.insert(place, node)
            case 8 if len(rich.children):
                del rich.children[chance.randrange(len(rich.children))]


def spot(text: str, chance: random.Random) -> int:
    """A place between characters, as pycrdt counts."""
    return len(text[: chance.randrange(len(text) + 1)].encode())


def test_what_it_projects_to_is_what_it_was() -> None:
    pair = Pair(body("text"))
    pair.doc.get("properties", type=Map)["title"] = "t"
    pair.kept = pair.doc.get_update()
    del content(pair.doc)[0:2]
    pair.doc.get("properties", type=Map)["title"] = "other"
    pair.restore()
    assert project([pair.doc.get_update()]) == project([pair.kept])
