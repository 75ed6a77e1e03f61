"""Presence between two documents, without a server."""

import time
from typing import Any

import pytest
from pycrdt import Doc

from protocol.presence import LIFETIME_MS, Presence


@pytest.fixture
def ann() -> Presence:
    return Presence(Doc(client_id=1))


@pytest.fixture
def bob() -> Presence:
    return Presence(Doc(client_id=2))


def test_nothing_is_shown_until_it_is_said(ann: Presence) -> None:
    assert ann.states == {}
    assert not ann.shown


def test_others_see_what_is_shown_and_that_it_is_taken_back(ann: Presence, bob: Presence) -> None:
    state: dict[str, Any] = {"name": "Änn", "cursor": {"at": 3}}
    assert bob.receive(ann.show(state)) is None
    assert bob.states == {1: state}
    bob.receive(ann.show(None))
    assert bob.states == {}


def test_one_who_is_said_to_be_gone_contradicts(ann: Presence, bob: Presence) -> None:
    bob.receive(ann.show({"name": "Ann"}))
    bob.receive(ann.show(None))
    ann.show({"name": "Ann"})
    # A server that thinks her gone counts one further than she did.
    gone = b"\x01\x01\x7f\x04null"
    answer = ann.receive(gone)
    assert answer is not None
    bob.receive(gone)
    bob.receive(answer)
    assert bob.states == {1: {"name": "Ann"}}


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x01", b"\xff" * 20, b"\x01\x02\x01\x03{]}", b"\x01\x02\x01\x02\xff\xfe"],
    ids=["empty", "cut off", "a huge number", "no JSON", "no UTF-8"],
)
def test_what_cannot_be_read_changes_nothing(ann: Presence, payload: bytes) -> None:
    assert ann.receive(payload) is None
    assert ann.states == {}


def test_a_state_that_is_not_renewed_expires(
    ann: Presence, bob: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob.receive(ann.show({"name": "Ann"}))
    bob.show({"name": "Bob"})
    late = time.time() + LIFETIME_MS / 1000 + 1
    monkeypatch.setattr("protocol.presence.time.time", lambda: late)
    bob.expire()
    assert bob.states == {2: {"name": "Bob"}}


def test_without_a_connection_nobody_else_is_there(ann: Presence, bob: Presence) -> None:
    bob.receive(ann.show({"name": "Ann"}))
    bob.show({"name": "Bob"})
    bob.forget_others()
    assert bob.states == {2: {"name": "Bob"}}
    bob.receive(ann.renew())
    assert bob.states == {1: {"name": "Ann"}, 2: {"name": "Bob"}}
