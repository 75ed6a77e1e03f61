"""Making a document what it was, by edits that merge with those that others make meanwhile.

Texts are changed by words, lists and XML by their items, maps by their keys: what is as it was is
left alone. The thread is a conversation: messages that were written since stay.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from sync.comparison import changes, words

# What readers do to a message; going back to what it said does not undo it. Nor is whose it is
# anything to go back to: a version may bear any name.
_STAYS = frozenset(("reactions", "status", "userId"))

# Changes of one text times its bytes, as each change walks through the text: some seconds.
MAX_WALKS = 4_000_000_000

Markup = XmlElement | XmlText | XmlFragment


@dataclass(frozen=True)
class _Embed:
    """A thing within a text; the same if its key is."""

    key: Any
    value: Any = field(compare=False)


def revert(doc: Doc[Any], was: Doc[Any]) -> None:
    """Make `doc` what `was` is. Call it within a transaction of `doc`."""
    for name in ("properties", "tags"):
        _revert_map(doc.get(name, type=Map), was.get(name, type=Map))
    _revert_text(doc.get("content", type=Text), was.get("content", type=Text))
    _revert_children(doc.get("default", type=XmlFragment), was.get("default", type=XmlFragment))
    _revert_thread(doc.get("messages", type=Map), was.get("messages", type=Map))


def maps(messages: Map[Any]) -> dict[str, Map[Any]]:
    """The entries of a thread that may be messages."""
    entries = {key: _at(messages, key) for key in sorted(messages.keys())}
    return {key: value for key, value in entries.items() if isinstance(value, Map)}


def _revert_thread(messages: Map[Any], was: Map[Any]) -> None:
    for key, message in maps(was).items():
        here = _at(messages, key) if key in messages else None
        if isinstance(here, Map):
            _revert_map(here, message, but=_STAYS)
        else:
            messages[key] = here = Map()
            _revert_map(here, message)


def _revert_map(map: Map[Any], was: Map[Any], but: frozenset[str] = frozenset()) -> None:  # noqa: A002
    for key in sorted(set(map.keys()) - set(was.keys()) - but):
        del map[key]
    for key in sorted(set(was.keys()) - but):
        value = _at(was, key)
        here = _at(map, key) if key in map else None
        if isinstance(value, Map | Array | Text):
            if type(here) is not type(value):
                map[key] = here = type(value)()
            _revert_value(here, value)
        elif value is not _UNREADABLE and (key not in map or _key(here) != _key(value)):
            map[key] = value


def _revert_value(value: Any, was: Any) -> None:
    if isinstance(value, Map):
        _revert_map(value, was)
    elif isinstance(value, Array):
        _revert_array(value, was)
    else:
        _revert_text(value, was)


def _revert_array(array: Array[Any], was: Array[Any]) -> None:
    old, new = list(array), list(was)
    for change in reversed(changes([*map(_key, old)], [*map(_key, new)])):
        if change.start < change.end:
            del array[change.start : change.end]
        for place, value in enumerate(new[change.first : change.last], change.start):
            if isinstance(value, Map | Array | Text):
                array.insert(place, made := type(value)())
                _revert_value(made, value)
            else:
                array.insert(place, value)


def _revert_text(text: Text | XmlText, was: Text | XmlText) -> None:
    old, new = _pieces(text), _pieces(was)
    at = _length(old)
    end = len(old)
    limit = max(MAX_WALKS // max(at, 1), 1)
    for change in reversed(changes(old, new, limit)):
        at -= _length(old[change.start : end])
        end = change.start
        removed = _length(old[change.start : change.end])
        if removed:
            del text[at : at + removed]
        _insert(text, at, new[change.first : change.last])
    _format(text, was)


def _insert(text: Text | XmlText, at: int, pieces: Sequence[str | _Embed]) -> None:
    run = ""
    for piece in pieces:
        if isinstance(piece, str):
            run += piece
            continue
        if run:
            text.insert(at, run)
            at += len(run.encode())
            run = ""
        value = piece.value
        if isinstance(value, Map | Array | Text):
            text.insert_embed(at, made := type(value)())
            _revert_value(made, value)
        elif isinstance(value, XmlElement | XmlText | XmlFragment):
            continue  # no frontend puts markup within a text as a thing
        else:
            text.insert_embed(at, value)
        at += 1
    if run:
        text.insert(at, run)


def _format(text: Text | XmlText, was: Text | XmlText) -> None:
    """Give the text, which reads as it did, the formats that it had."""
    here, there = _formats(text), _formats(was)
    at = i = j = 0
    here_left = there_left = 0
    while True:
        if not here_left:
            if i == len(here):
                return
            here_left, here_attributes = here[i]
            i += 1
        if not there_left:
            if j == len(there):
                return
            there_left, there_attributes = there[j]
            j += 1
        length = min(here_left, there_left)
        if here_attributes != there_attributes:
            wanted = {
                name: there_attributes.get(name)
                for name in here_attributes.keys() | there_attributes.keys()
                if here_attributes.get(name) != there_attributes.get(name)
            }
            text.format(at, at + length, wanted)
        at += length
        here_left -= length
        there_left -= length


def _revert_children(parent: XmlFragment | XmlElement, was: XmlFragment | XmlElement) -> None:
    old, new = list(parent.children), list(was.children)
    for change in reversed(changes([*map(_key, old)], [*map(_key, new)])):
        # Of what differs, nodes of one kind in the same order are taken for the same.
        before, after = old[change.start : change.end], new[change.first : change.last]
        at, other = len(before), len(after)
        for place in reversed(changes([*map(_shape, before)], [*map(_shape, after)])):
            while at > place.end:
                at, other = at - 1, other - 1
                _revert_node(before[at], after[other])
            for index in range(place.end - 1, place.start - 1, -1):
                del parent.children[change.start + index]
            for index, node in enumerate(
                after[place.first : place.last], change.start + place.start
            ):
                _insert_node(parent, index, node)
            at, other = place.start, place.first
        while at:
            at, other = at - 1, other - 1
            _revert_node(before[at], after[other])


def _revert_node(node: Markup, was: Markup) -> None:
    if isinstance(node, XmlText) and isinstance(was, XmlText):
        _revert_text(node, was)
    elif isinstance(node, XmlElement) and isinstance(was, XmlElement):
        _revert_attributes(node, was)
        _revert_children(node, was)


def _insert_node(parent: XmlFragment | XmlElement, index: int, node: Markup) -> None:
    made: XmlText | XmlElement
    made = XmlText() if isinstance(node, XmlText) else XmlElement(_shape(node))
    parent.children.insert(index, made)
    _revert_node(made, node)


def _revert_attributes(node: XmlElement, was: XmlElement) -> None:
    here, there = _attributes(node), _attributes(was)
    for name in sorted(here.keys() - there.keys()):
        del node.attributes[name]
    for name, value in sorted(there.items()):
        if name not in here or _key(here[name]) != _key(value):
            node.attributes[name] = value


def _pieces(text: Text | XmlText) -> list[str | _Embed]:
    """The text's words and the things between them."""
    pieces: list[str | _Embed] = []
    run = ""
    for value, _ in text.diff():
        if isinstance(value, str):
            run += value
        else:
            pieces += words(run)
            pieces.append(_Embed(_key(value), value))
            run = ""
    return pieces + words(run)


def _length(pieces: Sequence[str | _Embed]) -> int:
    """How long they are as pycrdt counts: bytes of UTF-8, and one for each thing."""
    return sum(len(piece.encode()) if isinstance(piece, str) else 1 for piece in pieces)


def _formats(text: Text | XmlText) -> list[tuple[int, dict[str, Any]]]:
    return [
        (len(value.encode()) if isinstance(value, str) else 1, attributes or {})
        for value, attributes in text.diff()
    ]


_UNREADABLE = object()


def _at(map: Map[Any], key: str) -> Any:  # noqa: A002 (the type's name)
    """A map's value; one that is markup has no value here."""
    try:
        value = map[key]
    except ValueError:
        return _UNREADABLE
    return _UNREADABLE if isinstance(value, XmlElement | XmlText | XmlFragment) else value


def _key(value: Any) -> Any:
    """Equal for what looks the same."""
    match value:
        case Map():
            return "map", tuple((key, _key(_at(value, key))) for key in sorted(value.keys()))
        case Array():
            return "array", tuple(map(_key, value))
        case Text() | XmlText():
            parts = tuple((_key(part), _key(formats or {})) for part, formats in value.diff())
            return type(value).__name__, parts
        case XmlElement():
            attributes = tuple(sorted((name, _key(to)) for name, to in _attributes(value).items()))
            return _shape(value), attributes, tuple(map(_key, value.children))
        case str():
            return value
        case _:
            return "value", json.dumps(value, sort_keys=True, default=repr)


def _attributes(node: XmlElement) -> dict[str, Any]:
    pairs: Iterable[tuple[str, Any]] = node.attributes.__iter__()
    return dict(pairs)


def _shape(node: Markup) -> str:
    return (node.tag or "") if isinstance(node, XmlElement) else "#text"
