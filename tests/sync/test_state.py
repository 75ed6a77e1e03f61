"""What a document holds, and what it refuses to take in."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from sync.state import State
from sync.update import MAX_NESTING, MalformedUpdate, decode_vector, scan
from tests.sync.test_update import (
    ARRAY,
    MAP,
    NULL,
    TEXT,
    XML_TEXT,
    deleted,
    embed,
    garbage,
    hole,
    item,
    mark,
    rich_document,
    shared,
    text,
    update,
    values,
)

HELLO = update((1, 0, [item(*text("hello"))]))
EMOJI = update((1, 0, [item(*text("a😀b"))]))


def take(state: State, data: bytes) -> None:
    """Let an update in as a room does."""
    scanned = scan(data)
    assert state.missing(scanned) == {}
    state.validate(scanned)
    state.add(scanned)


def refusal(state: State, data: bytes) -> str:
    scanned = scan(data)
    assert state.missing(scanned) == {}
    before = state.encode()
    with pytest.raises(MalformedUpdate) as refused:
        state.validate(scanned)
    assert state.encode() == before
    return str(refused.value)


def written(*structs: bytes, client: int = 2, clock: int = 0) -> bytes:
    return update((client, clock, structs))


def test_a_state_holds_what_the_document_holds() -> None:
    data = rich_document()
    doc: Doc[Any] = Doc()
    doc.apply_update(data)
    state = State.of([data])
    assert state.vector() == doc.get_state()
    assert state.deletes() == scan(data).deletes != {}


def test_a_vector_is_what_yjs_reads() -> None:
    state = State.of([HELLO, written(item(*text("x")), client=4_000_000_000)])
    assert decode_vector(state.vector()) == state.clocks == {1: 5, 4_000_000_000: 1}
    assert State().vector() == b"\0"


def test_skipped_clocks_are_missing() -> None:
    state = State.of([HELLO])
    assert state.missing(scan(written(garbage(1), client=1, clock=6))) == {1: 6}
    assert state.missing(scan(written(garbage(1), client=3, clock=2))) == {3: 2}
    assert state.missing(scan(written(garbage(1), client=1, clock=5))) == {}


def test_clocks_in_a_hole_are_missing_unless_known() -> None:
    holed = scan(written(garbage(2), hole(3), garbage(1), client=1))
    assert State().missing(holed) == {1: 5}
    assert State.of([HELLO]).missing(holed) == {}
    assert State.of([HELLO]).new_ranges(holed) == [(1, 5, 6)]


@pytest.mark.parametrize(
    "place",
    [{"left": (1, 5)}, {"right": (1, 5)}, {"parent": (1, 5)}, {"left": (1, 4), "right": (3, 0)}],
)
def test_unknown_neighbours_and_parents_are_missing(place: Any) -> None:
    missing = State.of([HELLO]).missing(scan(written(item(*text("x"), **place))))
    assert missing in ({1: 6}, {3: 1})


def test_unknown_deletions_are_missing() -> None:
    state = State.of([HELLO])
    assert state.missing(scan(update(deletes=[(1, [(3, 2)])]))) == {}
    assert state.missing(scan(update(deletes=[(1, [(3, 3)])]))) == {1: 6}
    assert state.missing(scan(update(deletes=[(2, [(0, 1)])]))) == {2: 1}


def test_what_is_known_brings_nothing() -> None:
    state = State.of([HELLO])
    deletion = scan(update(deletes=[(1, [(1, 2)])]))
    assert not state.brings(scan(HELLO))
    assert state.brings(scan(written(garbage(6), client=1)))
    assert state.brings(deletion)
    state.add(deletion)
    assert not state.brings(deletion)
    assert not state.brings(scan(update(deletes=[(1, [(2, 1)])])))
    assert state.brings(scan(update(deletes=[(1, [(2, 2)])])))
    assert not state.brings(scan(update()))


def test_a_second_writer_with_the_same_client_id_brings_no_new_clocks() -> None:
    first: Doc[Any] = Doc(client_id=7)
    first.get("content", type=Text).insert(0, "mine")
    second: Doc[Any] = Doc(client_id=7)
    second.get("content", type=Text).insert(0, "theirs")
    state = State.of([first.get_update()])
    assert state.new_ranges(scan(first.get_update())) == []
    assert state.new_ranges(scan(second.get_update())) == [(7, 4, 6)]


def test_deleted_ranges_are_united() -> None:
    state = State.of([written(item(*text("x" * 500)), client=1)])
    for ranges in ([(10, 5)], [(20, 5)], [(15, 5)], [(0, 5)], [(4, 8), (30, 10)], [(2, 100)]):
        state.add(scan(update(deletes=[(1, ranges)])))
    assert state.deletes() == {1: [(0, 102)]}
    state.add(scan(update(deletes=[(1, [(n, 1) for n in range(100, 500, 2)])])))
    expected = [(0, 103), *((n, n + 1) for n in range(104, 500, 2))]
    assert state.deletes() == {1: expected}


def test_garbage_counts_as_deleted() -> None:
    state = State.of([written(garbage(2), item(*deleted(3)), item(*text("x")), client=1)])
    assert state.deletes() == {1: [(0, 5)]}


def test_one_update_does_not_nest_types_too_deep() -> None:
    def nested(levels: int) -> bytes:
        types = [item(*shared(MAP), parent=(1, n)) for n in range(levels - 1)]
        return written(item(*shared(MAP)), *types, client=1)

    take(State(), nested(MAX_NESTING))
    for levels in (MAX_NESTING + 1, 8_000):
        assert refusal(State(), nested(levels)).startswith("nesting deeper than 32")


def test_many_updates_do_not_nest_types_too_deep() -> None:
    state = State.of([written(item(*shared(MAP)), client=1)])
    for level in range(1, MAX_NESTING):
        take(state, written(item(*shared(MAP), parent=(1, level - 1)), client=1, clock=level))
    deepest = written(item(*shared(MAP), parent=(1, MAX_NESTING - 1)), client=2)
    assert refusal(state, deepest).startswith("nesting deeper than 32")
    assert refusal(State.decode(state.encode()), deepest).startswith("nesting deeper than 32")


@pytest.mark.parametrize("side", ["left", "right"])
def test_items_that_name_only_a_neighbour_are_as_deep_as_it(side: str) -> None:
    state = State.of([written(item(*shared(ARRAY)), client=1)])
    for level in range(1, MAX_NESTING):
        first = item(*values(NULL), parent=(1, 2 * level - 2))
        beside: Any = {side: (1, 2 * level - 1)}
        take(
            state,
            written(first, item(*shared(ARRAY), **beside), client=1, clock=2 * level - 1),
        )
    deepest = written(item(*values(NULL), parent=(1, 2 * MAX_NESTING - 2)), client=2)
    assert refusal(state, deepest).startswith("nesting deeper than 32")


def test_nesting_is_followed_from_client_to_client_within_an_update() -> None:
    levels = [[item(*shared(MAP))], []]
    for level in range(1, MAX_NESTING + 1):
        parent = (1 + (level - 1) % 2, (level - 1) // 2)
        levels[level % 2].append(item(*shared(MAP), parent=parent))
    assert refusal(State(), update((2, 0, levels[1]), (1, 0, levels[0]))).startswith("nesting")


@pytest.mark.parametrize("content", [text("abc"), values(NULL), embed("1"), mark("b", "true")])
def test_a_parent_is_a_shared_type(content: tuple[int, bytes]) -> None:
    state = State.of([written(item(*content), client=1)])
    child = item(*values(NULL), parent=(1, 0))
    assert refusal(state, written(child)).startswith("in what is no shared type")
    state.add(scan(update(deletes=[(1, [(0, 1)])])))
    assert refusal(state, written(child)).startswith("in what is no shared type")


@pytest.mark.parametrize("parent", [garbage(1), item(*deleted(1)), item(*shared(MAP))])
def test_what_goes_into_something_collected_is_let_in(parent: bytes) -> None:
    state = State.of([update((1, 0, [parent]), deletes=[(1, [(0, 1)])])])
    take(state, written(item(*shared(MAP), parent=(1, 0)), item(*values(NULL), parent=(2, 0))))


def test_what_is_collected_may_stand_beside_what_else_is_collected() -> None:
    state = State.of([written(garbage(1), item(*deleted(1)), client=1)])
    take(state, written(item(*shared(MAP), parent=(1, 0)), item(*shared(MAP), parent=(1, 1))))
    take(state, written(item(*values(NULL), left=(2, 0), right=(2, 1)), client=3))
    take(state, written(item(*values(NULL), parent=(3, 0)), client=4))


def test_text_does_not_go_into_arrays_or_under_keys() -> None:
    types = [item(*shared(kind), key=str(kind)) for kind in (ARRAY, MAP, TEXT, XML_TEXT)]
    state = State.of([written(*types, client=1)])
    for content in (text("😀"), embed("1"), mark("b", "true")):
        assert "no text" in refusal(state, written(item(*content, parent=(1, 0))))
        assert "no text" in refusal(state, written(item(*content, parent=(1, 1), key="k")))
        assert "no text" in refusal(state, written(item(*content, left=(1, 0))))
        take(state.copy(), written(item(*content, parent=(1, 2))))
        take(state.copy(), written(item(*content, parent=(1, 3))))
    take(state, written(item(*values(NULL), parent=(1, 0))))
    follower = written(item(*text("x"), left=(2, 0)), client=3)
    assert "no text" in refusal(state, follower)


def test_several_values_under_a_key_are_deleted_together() -> None:
    several = item(*values(NULL, NULL), key="k")
    assert "several values" in refusal(State(), written(several))
    assert "several values" in refusal(State(), update((2, 0, [several]), deletes=[(2, [(1, 1)])]))
    take(State(), update((2, 0, [several]), deletes=[(2, [(0, 2)])]))
    state = State.of([written(item(*values(NULL), key="k"), client=1)])
    assert "several values" in refusal(state, written(item(*values(NULL, NULL), left=(1, 0))))
    take(state, written(item(*values(NULL), left=(1, 0)), item(*values(NULL), left=(2, 0))))


def test_a_value_is_not_put_before_another_of_its_key() -> None:
    state = State.of([written(item(*values(NULL), key="k"), client=1)])
    state.add(scan(written(item(*values(NULL), left=(1, 0)))))
    for place in ({"right": (1, 0)}, {"left": (1, 0), "right": (2, 0)}):
        last: Any = place
        data = written(item(*values(NULL), **last), client=3)
        assert refusal(state, data).startswith("before another value of its key")


@pytest.mark.parametrize(
    ("left", "right"),
    [((1, 0), (1, 1)), ((1, 0), (1, 3)), ((1, 2), (1, 3)), ((1, 4), (1, 0)), ((1, 5), (1, 6))],
    ids=["roots", "root and type", "types", "garbage and root", "keys"],
)
def test_an_item_is_not_between_items_of_different_places(
    left: tuple[int, int], right: tuple[int, int]
) -> None:
    state = State.of(
        [
            written(
                item(*shared(ARRAY), parent="a"),
                item(*shared(ARRAY), parent="b"),
                item(*values(NULL), parent=(1, 0)),
                item(*values(NULL), parent=(1, 1)),
                garbage(1),
                item(*values(NULL), parent="c", key="k"),
                item(*values(NULL), parent="c", key="l"),
                client=1,
            )
        ]
    )
    between = written(item(*values(NULL), left=left, right=right))
    assert refusal(state, between).startswith("between items of different places")
    restored = State.decode(state.encode())
    assert refusal(restored, between).startswith("between items of different places")


def test_every_keystroke_of_a_run_stays_between_items_of_its_place() -> None:
    state = State.of([HELLO, written(item(*text("other"), parent="b"), client=3)])
    typed = [
        item(*text("x"), left=(1, 0), right=(1, 1)),
        item(*text("y"), left=(2, 0), right=(3, 1)),
    ]
    assert refusal(state, written(*typed)).startswith("between items of different places")


def test_a_struct_goes_on_where_its_known_part_is() -> None:
    state = State.of([HELLO, written(garbage(2))])
    take(state.copy(), written(item(*text("hello world")), client=1))
    collected = state.copy()
    take(collected, written(garbage(9), client=1))
    assert collected.deletes() == {1: [(5, 9)], 2: [(0, 2)]}
    assert "not where it was" in refusal(
        state, written(item(*text("hello?"), parent="x"), client=1)
    )
    assert "not where it was" in refusal(state, written(item(*text("abc"))))


def test_what_is_known_stays_what_it_is() -> None:
    state = State.of([written(item(*deleted(1)), client=1)])
    take(state, written(item(*text("abc")), client=1))
    take(state, written(item(*values(NULL), parent=(1, 0))))
    child = written(item(*values(NULL), parent=(1, 1)), client=3)
    assert refusal(state, child).startswith("in what is no shared type")
    state.add(scan(update((1, 0, [item(*text("a"))]), deletes=[(1, [(1, 1)])])))
    assert state.clocks == {1: 3, 2: 1}


@pytest.mark.parametrize(
    "data",
    [
        written(item(*text("x"), left=(1, 1))),
        written(item(*text("x"), right=(1, 2))),
        written(item(*text("x"), left=(1, 0), right=(1, 2))),
        update(deletes=[(1, [(0, 2)])]),
        update(deletes=[(1, [(2, 2)])]),
        update((1, 4, [item(*text("c"), left=(1, 3))]), deletes=[(1, [(1, 1), (4, 1)])]),
    ],
)
def test_a_surrogate_pair_is_not_cut(data: bytes) -> None:
    for state in (State.of([EMOJI]), State.decode(State.of([EMOJI]).encode())):
        assert refusal(state, data).startswith("cuts a surrogate pair")


def test_a_surrogate_pair_is_not_cut_by_the_update_that_brings_it() -> None:
    pair = item(*text("😀"))
    for struct in (item(*text("x"), left=(1, 0)), item(*text("x"), right=(1, 1))):
        assert "surrogate" in refusal(State(), written(pair, struct, client=1))
    assert "surrogate" in refusal(State(), update((1, 0, [pair]), deletes=[(1, [(0, 1)])]))
    assert "surrogate" in refusal(
        State.of([written(item(*text("a")), client=1)]), written(item(*text("😀")), client=1)
    )


def test_surrogate_pairs_are_noted_once() -> None:
    state = State()
    at_once = state.copy()
    take(state, EMOJI)
    for held in (state, at_once):
        take(held, written(item(*text("a😀b😀")), client=1))
        for clock in (2, 5):
            assert "surrogate" in refusal(held, update(deletes=[(1, [(clock, 1)])]))
    assert state.encode() == at_once.encode()


def test_around_a_surrogate_pair_there_may_be_cuts() -> None:
    state = State.of([EMOJI])
    take(state, written(item(*text("x"), left=(1, 0), right=(1, 1)), item(*text("y"), left=(1, 2))))
    take(state, update(deletes=[(1, [(1, 2)])]))


def test_known_text_is_not_claimed_to_be_another() -> None:
    state = State.of([EMOJI])
    other = written(item(*text("ab")), item(*text("cd"), left=(1, 1)), garbage(1), client=1)
    assert refusal(state, other).startswith("not what it was before")


def test_who_has_not_seen_a_deletion_may_send_the_text_again() -> None:
    state = State.of([update((1, 0, [item(*deleted(4))]), deletes=[(1, [(0, 4)])])])
    take(state, written(item(*text("a😀b and more")), client=1))


def test_a_state_covers_what_it_holds_at_least() -> None:
    state = State.of([HELLO])
    longer = State.of([HELLO, written(garbage(1), client=1, clock=5)])
    shorter = State.of([HELLO, update(deletes=[(1, [(1, 2)])])])
    assert state.covers(state)
    assert state.covers(State())
    assert longer.covers(state)
    assert not state.covers(longer)
    assert shorter.covers(state)
    assert not state.covers(shorter)
    assert not State().covers(state)
    more = State.of([HELLO, update(deletes=[(1, [(0, 3)])])])
    assert more.covers(shorter)
    assert not shorter.covers(more)


def test_a_state_is_restored_as_it_was() -> None:
    states = [State(), State.of([rich_document()]), State.of([EMOJI, written(garbage(3))])]
    for state in states:
        restored = State.decode(state.encode())
        assert restored.clocks == state.clocks
        assert restored.deletes() == state.deletes()
        assert restored.encode() == state.encode()


def test_a_damaged_state_is_refused() -> None:
    data = State.of([rich_document()]).encode()
    for damaged in (b"", b"\0", b"\2" + data[1:], *(data[:end] for end in range(len(data) - 1))):
        with pytest.raises(ValueError, match="state"):
            State.decode(damaged)


def test_a_copy_changes_apart() -> None:
    state = State.of([HELLO])
    copy = state.copy()
    copy.add(scan(written(garbage(1))))
    copy.add(scan(update(deletes=[(1, [(0, 5)])])))
    assert state.clocks == {1: 5}
    assert state.deletes() == {}


def test_what_was_validated_may_be_added_after_other_updates() -> None:
    structs = [item(*shared(MAP)), item(*text("x")), item(*shared(MAP))]
    first = scan(written(*structs[:2], client=3))
    second = scan(written(*structs, client=3))
    state = State()
    again = state.copy()
    state.validate(first)
    state.add(second)
    state.add(first)
    again.add(second)
    again.add(first)
    assert state.clocks == {3: 3}
    assert state.encode() == again.encode()


def test_text_costs_a_state_nothing() -> None:
    doc: Doc[Any] = Doc(client_id=1)
    body = doc.get("content", type=Text)
    for _ in range(500):
        body.insert(len(body) // 2, "some more text")
    doc.get("other", type=Text).insert(0, "x")
    assert len(doc.get_update()) > 10_000
    assert len(State.of([doc.get_update()]).encode()) < 60


def test_keystrokes_add_nothing_but_their_clocks() -> None:
    log: list[bytes] = []
    doc: Doc[Any] = Doc(client_id=1)
    properties = doc.get("properties", type=Map)
    properties["body"] = Text("typed: ")
    doc.observe(lambda event: log.append(event.update))
    state = State.of([doc.get_update()])
    size = len(state.encode())
    body = properties["body"]
    for _ in range(100):
        body.insert(len(body), "x")
    for data in log:
        take(state, data)
    assert len(state.encode()) == size


Edit = tuple[int, str, int, int]

edits: st.SearchStrategy[list[tuple[Edit, bool]]] = st.lists(
    st.tuples(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["insert", "delete", "format", "set", "unset", "nest", "xml"]),
            st.integers(0, 30),
            st.integers(1, 4),
        ),
        st.booleans(),
    ),
    max_size=40,
)


def edit(doc: Doc[Any], what: str, where: int, size: int) -> None:
    body = doc.get("content", type=Text)
    content = str(body)
    start = len(content[:where].encode())
    end = len(content[: where + size].encode())
    properties = doc.get("properties", type=Map)
    fragment = doc.get("default", type=XmlFragment)
    key = "key" + str(where % 3)
    if what == "insert":
        body.insert(start, "é😀x漢"[:size])
    elif what == "delete" and end > start:
        del body[start:end]
    elif what == "format" and end > start:
        body.format(start, end, {"bold": True})
    elif what == "set":
        properties[key] = where
    elif what == "unset" and key in properties:
        del properties[key]
    elif what == "nest":
        properties[key] = Map({"list": Array([where, Map({"text": Text("a😀")})])})
    elif what == "xml" and len(fragment.children) > size:
        del fragment.children[0]
    elif what == "xml":
        fragment.children.append(XmlElement("p")).children.append(XmlText("text"))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(edits)
def test_the_state_of_a_log_is_that_of_its_document(session: list[tuple[Edit, bool]]) -> None:
    docs: list[Doc[Any]] = [Doc(client_id=10 + n) for n in range(3)]
    log: list[bytes] = []
    state = State()
    concurrent = False
    for doc in docs:
        doc.observe(lambda event: log.append(event.update))
    for (writer, what, where, size), synced in session:
        log.clear()
        edit(docs[writer], what, where, size)
        for data in log:
            take(state, data)
        concurrent |= not synced
        if synced:
            for doc in docs:
                doc.apply_update(docs[writer].get_update())
    for doc in docs:
        for other in docs:
            doc.apply_update(other.get_update())
    for doc in docs:
        held = State.of([doc.get_update()])
        assert decode_vector(doc.get_state()) == state.clocks == held.clocks
        assert held.covers(state)
        if not concurrent:  # of concurrent values of a key, all but one are deleted unsaid
            assert held.deletes() == state.deletes()
        take(state.copy(), doc.get_update())
