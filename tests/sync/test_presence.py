"""Presence: whose states are taken, what is relayed, and what is refused."""

import json

import pytest

from protocol.errors import ErrorCode, MemoError
from sync.lib0 import write_bytes, write_uint
from sync.presence import MAX_BYTES, MAX_CLIENTS_PER_OWNER, Presence, State, decode, encode

ADA, BOB = "ada's connection", "bob's connection"
GONE = b"null"


@pytest.fixture
def presence() -> Presence[str]:
    return Presence()


def state(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def update(*states: tuple[int, int, bytes]) -> bytes:
    return encode([(client, (clock, value)) for client, clock, value in states])


def changes(presence: Presence[str]) -> dict[int, State]:
    return presence.take_changes().states


def test_an_update_reads_as_it_was_written() -> None:
    states = {0: (0, state()), 2**53 - 1: (2**40, state(name="\u00e9", at=[1, 2])), 7: (1, GONE)}
    assert decode(encode(states.items())) == states
    assert encode([(5, (1, b'{"user":1}'))]) == b'\x01\x05\x01\x0a{"user":1}'


def test_the_newest_state_of_each_client_is_relayed_once(presence: Presence[str]) -> None:
    for clock in range(1, 500):
        assert presence.apply(ADA, update((1, clock, state(at=clock))))
    assert changes(presence) == {1: (499, state(at=499))}
    assert changes(presence) == {}


def test_an_older_or_equal_clock_changes_nothing(presence: Presence[str]) -> None:
    presence.apply(ADA, update((1, 5, state(at=5))))
    changes(presence)
    assert not presence.apply(ADA, update((1, 4, state(at=4))))
    assert not presence.apply(ADA, update((1, 5, state(at=6))))
    assert not presence.apply(ADA, update((1, 4, GONE)))
    assert decode(presence.all() or b"") == {1: (5, state(at=5))}


def test_who_joins_is_shown_everyone_who_is_here(presence: Presence[str]) -> None:
    assert presence.all() is None
    presence.apply(ADA, update((1, 1, state(name="ada"))))
    presence.apply(BOB, update((2, 1, state(name="bob"))))
    presence.apply(BOB, update((2, 2, GONE)))
    assert decode(presence.all() or b"") == {1: (1, state(name="ada"))}


def test_a_connection_that_leaves_takes_its_clients_back_at_their_last_clock(
    presence: Presence[str],
) -> None:
    presence.apply(ADA, update((1, 5, state()), (2, 9, state())))
    presence.apply(BOB, update((3, 1, state())))
    changes(presence)
    assert presence.leave(ADA)
    taken = presence.take_changes()
    assert taken.states == {1: (5, GONE), 2: (9, GONE)}
    assert taken.owners == {None}
    assert len(presence) == 1
    assert not presence.leave(ADA)
    # It may come back, by another connection, at the clock that follows.
    assert presence.apply(BOB, update((1, 6, state())))


def test_a_client_says_goodbye_at_an_equal_clock_too(presence: Presence[str]) -> None:
    presence.apply(ADA, update((1, 5, state())))
    assert presence.apply(ADA, update((1, 5, GONE)))
    assert changes(presence) == {1: (5, GONE)}
    assert presence.all() is None


def test_states_of_clients_that_another_connection_holds_are_passed_over(
    presence: Presence[str],
) -> None:
    presence.apply(ADA, update((1, 1, state(name="ada"))))
    changes(presence)
    assert not presence.apply(BOB, update((1, 2, state(name="not ada"))))
    assert not presence.apply(BOB, update((1, 9, GONE)))
    assert presence.apply(BOB, update((1, 9, GONE), (2, 1, state(name="bob"))))
    assert changes(presence) == {2: (1, state(name="bob"))}


def test_whose_the_changes_are_is_told_so_that_they_are_not_echoed(
    presence: Presence[str],
) -> None:
    presence.apply(ADA, update((1, 1, state())))
    assert presence.take_changes().owners == {ADA}
    presence.apply(ADA, update((1, 2, state())))
    presence.apply(BOB, update((2, 1, state())))
    assert presence.take_changes().owners == {ADA, BOB}


def test_one_connection_shows_a_bounded_number_of_clients(presence: Presence[str]) -> None:
    most = [(client, 1, state()) for client in range(MAX_CLIENTS_PER_OWNER)]
    assert presence.apply(ADA, update(*most))
    with pytest.raises(MemoError) as refused:
        presence.apply(ADA, update((0, 2, state(new=1)), (1000, 1, state())))
    assert refused.value.code is ErrorCode.MALFORMED_AWARENESS
    assert len(presence) == MAX_CLIENTS_PER_OWNER
    assert decode(presence.all() or b"")[0] == (1, state())  # nothing of it was taken
    assert presence.apply(ADA, update((5, 2, GONE)))
    assert presence.apply(ADA, update((1000, 1, state())))


def raw(count: int, *parts: int | bytes) -> bytes:
    out = bytearray()
    write_uint(out, count)
    for part in parts:
        if isinstance(part, int):
            write_uint(out, part)
        else:
            write_bytes(out, part)
    return bytes(out)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x80", id="cut within the count"),
        pytest.param(raw(1), id="fewer clients than declared"),
        pytest.param(raw(2**50), id="a count of quadrillions"),
        pytest.param(raw(1, 1, 1), id="no state"),
        pytest.param(raw(1, 1, 1) + b"\x7f{}", id="state shorter than declared"),
        pytest.param(raw(1, 1, 1, b"{}") + b"\x00", id="bytes behind the end"),
        pytest.param(raw(1, 1, 1, b"{"), id="broken JSON"),
        pytest.param(raw(1, 1, 1, b"\xff"), id="not UTF-8"),
        pytest.param(raw(1, 1, 1, b'"\xff"'), id="not UTF-8 in a string"),
        pytest.param(raw(1, 1, 1, b""), id="empty state"),
        pytest.param(raw(1, 1, 1, b"[" * 8000), id="deeply nested"),
        pytest.param(raw(1, 1, 1, b"[" * 4000 + b"]" * 4000), id="deeply nested and closed"),
        pytest.param(raw(1, 2**53, 1, b"{}"), id="client id past 53 bits"),
        pytest.param(raw(1, 1, 2**53, b"{}"), id="clock past 53 bits"),
        pytest.param(b"\x01" + b"\xff" * 30, id="endless number"),
        pytest.param(raw(1, 1, 1, b'"%s"' % (b"x" * 9000)), id="huge state"),
        pytest.param(raw(90_000) + raw(1, 1, b"1") * 90_000, id="huge update"),
    ],
)
def test_what_is_no_awareness_update_is_refused_and_changes_nothing(
    presence: Presence[str], payload: bytes
) -> None:
    presence.apply(ADA, update((1, 1, state())))
    with pytest.raises(MemoError) as refused:
        presence.apply(ADA, payload)
    assert refused.value.code is ErrorCode.MALFORMED_AWARENESS
    assert decode(presence.all() or b"") == {1: (1, state())}


def test_the_largest_update_is_taken(presence: Presence[str]) -> None:
    value = b'"%s"' % (b"x" * 8000)
    payload = update(*[(client, 1, value) for client in range(MAX_CLIENTS_PER_OWNER)])
    assert MAX_BYTES - 16_384 < len(payload) <= MAX_BYTES
    assert presence.apply(ADA, payload)
