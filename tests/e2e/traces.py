"""Recorded editing sessions of real people, read in place from outside the repository."""

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text

TRACES = Path(__file__).parents[2].parent / "shared" / "data" / "editing-traces"


@dataclass(frozen=True)
class Trace:
    """A session as Yjs updates, one for each of its transactions, in an order that respects
    what each was typed on. `agents` says who typed it."""

    end: str
    updates: list[bytes]
    agents: list[int]


def read(name: str) -> dict[str, Any]:
    """The trace as it was recorded. Where it is absent, CI fails and others are told why."""
    path = TRACES / f"{name}.json.gz"
    if not path.exists():
        message = f"the editing trace {path.name} is not at {TRACES}; this test replays it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with gzip.open(path) as file:
        trace: dict[str, Any] = json.load(file)
    assert all(text.isascii() for txn in trace["txns"] for _, _, text in txn["patches"]), (
        "positions would have to be converted"
    )
    return trace


def typed_alone(name: str) -> Trace:
    """A session of one person."""
    trace = read(name)
    device = _Device(1)
    updates = [device.type(txn["patches"]) for txn in trace["txns"]]
    return Trace(trace["endContent"], updates, [0] * len(updates))


def typed_together(name: str) -> Trace:
    """A session of several, each transaction typed on exactly the text its author saw."""
    trace = read(name)
    txns = trace["txns"]
    agents = [txn["agent"] for txn in txns]
    devices = [_Device(agent + 1) for agent in range(trace["numAgents"])]
    updates: list[bytes] = []
    # Each author's own transactions are a chain; so what a transaction has seen is, for each
    # author, how many of theirs.
    of_agent: list[list[int]] = [[] for _ in devices]
    seen: list[list[int]] = []
    for number, txn in enumerate(txns):
        known = [0] * len(devices)
        for parent in txn["parents"]:
            known = [max(pair) for pair in zip(known, seen[parent], strict=True)]
        author = devices[agents[number]]
        for agent, count in enumerate(known):
            for other in of_agent[agent][author.has[agent] : count]:
                author.doc.apply_update(updates[other])
            assert author.has[agent] <= count or agent == agents[number]
            author.has[agent] = max(author.has[agent], count)
        updates.append(author.type(txn["patches"]))
        of_agent[agents[number]].append(number)
        known[agents[number]] = author.has[agents[number]] = len(of_agent[agents[number]])
        seen.append(known)
    return Trace(trace["endContent"], updates, agents)


class _Device:
    def __init__(self, client_id: int) -> None:
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.text = self.doc.get("content", type=Text)
        self.has: list[int] = [0, 0]
        self._made: list[bytes] = []
        self.doc.observe(lambda event: self._made.append(event.update))

    def type(self, patches: list[tuple[int, int, str]]) -> bytes:
        self._made.clear()
        with self.doc.transaction():
            for position, deleted, inserted in patches:
                if deleted:
                    del self.text[position : position + deleted]
                if inserted:
                    self.text.insert(position, inserted)
        [update] = self._made
        return update
