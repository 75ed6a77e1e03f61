"""What the scanner lets in, Yjs and yrs take without an error, and make the same document of.

Yjs runs in Node as an oracle. The cases are random but seeded, so that a failure comes again.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from subprocess import PIPE, Popen
from typing import Any

import pytest
from pycrdt import Doc, Map, Text, XmlFragment

from sync.state import State
from sync.update import MalformedUpdate, decode_vector, scan
from tests.sync.test_update import (
    NULL,
    Id,
    binary,
    deleted,
    embed,
    garbage,
    hole,
    item,
    mark,
    shared,
    string,
    text,
    update,
    values,
)

ORACLE = Path(__file__).with_name("yjs_oracle.mjs")
YJS = ORACLE.parents[2] / "protocol" / "javascript" / "node_modules" / "yjs"


class Yjs:
    """The Yjs that the browsers run."""

    def __init__(self, process: Popen[str]) -> None:
        self._process = process

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def apply(self, updates: Iterable[bytes]) -> dict[str, Any]:
        return self.ask(apply=[b64encode(data).decode() for data in updates])

    def session(self, seed: int, steps: int) -> tuple[list[bytes], list[bytes]]:
        """The updates of a random editing session, in order, and the documents it ends with."""
        made = self.ask(session=seed, steps=steps)
        return [b64decode(data) for data in made["log"]], [b64decode(s) for s in made["states"]]


@pytest.fixture(scope="module")
def yjs() -> Iterator[Yjs]:
    if not YJS.is_dir():
        pytest.fail("the JavaScript packages are not installed: run `make setup`")
    with Popen(["node", str(ORACLE)], stdin=PIPE, stdout=PIPE, text=True) as process:
        yield Yjs(process)
        assert process.stdin is not None
        process.stdin.close()


def yrs(updates: Iterable[bytes]) -> tuple[dict[int, int], bytes]:
    """What pycrdt makes of the updates; reads the document as the server does."""
    doc: Doc[Any] = Doc()
    try:
        for data in updates:
            doc.apply_update(data)
        state = doc.get_update()
        str(doc.get("content", type=Text))
        str(doc.get("default", type=XmlFragment))
        doc.get("properties", type=Map).to_py()
    except BaseException as error:  # noqa: BLE001 - a panic of yrs is no Exception
        if "no Python equivalent" not in str(error):  # an XML type in a map is none of its faults
            pytest.fail(f"yrs: {error!r}")
    return decode_vector(doc.get_state()), state


def unordered(content: Any) -> Any:
    """The same content with its lists sorted.

    Who names a right neighbour that is on the left makes even copies of Yjs order it differently.
    """
    if isinstance(content, dict):
        return {name: unordered(inner) for name, inner in content.items()}
    if isinstance(content, list):
        return sorted((unordered(inner) for inner in content), key=json.dumps)
    return content


def let_in(state: State, data: bytes) -> State | None:
    """What a document holds once it has taken in an update; None if it refuses it."""
    try:
        scanned = scan(data)
        if state.missing(scanned) or not state.brings(scanned):
            return None
        state.validate(scanned)
    except MalformedUpdate:
        return None
    held = state.copy()
    held.add(scanned)
    return held


def check(yjs: Yjs, updates: list[bytes], held: State, *, ordered: bool) -> None:
    """Both libraries must hold the same as `held`, and alike, even from each other's copy."""
    case = [data.hex() for data in updates]
    vector, snapshot = yrs(updates)
    direct, copied = yjs.apply(updates), yjs.apply([snapshot])
    for answer in (direct, copied):
        assert "error" not in answer, (answer, case)
        assert not answer["pending"], case
        assert dict(answer["vector"]) == held.clocks, case
    assert vector == held.clocks, case
    if ordered:
        assert direct["content"] == copied["content"], case
    assert unordered(direct["content"]) == unordered(copied["content"]), case
    for state in (snapshot, b64decode(direct["state"])):
        assert State.of([state]).covers(held), case


def test_sessions_of_yjs_are_let_in(yjs: Yjs) -> None:
    for seed in range(100):
        log, states = yjs.session(seed, 30)
        held = State()
        for data in log:
            scanned = scan(data)
            assert held.missing(scanned) == {}
            held.validate(scanned)
            held.add(scanned)
        check(yjs, log, held, ordered=True)
        for data in states:
            assert State.of([data]).covers(held)
            held.validate(scan(data))


def mutated(data: bytes, random: Random) -> bytes:
    out = bytearray(data)
    for _ in range(random.choice([1, 1, 1, 2, 3, 5])):
        at = random.randrange(len(out)) if out else 0
        match random.randrange(6):
            case 0:
                out[at : at + 1] = bytes((out[at] ^ 1 << random.randrange(8),)) if out else b"\0"
            case 1:
                out[at : at + 1] = bytes((random.choice([*range(11), 0x20, 0x7F, 0x80, 0xFF]),))
            case 2:
                out.insert(at, random.randrange(256))
            case 3:
                del out[at : at + random.choice([1, 1, 1, 2, 4])]
            case 4:
                start = random.randrange(len(out) + 1)
                out[at:at] = out[start : start + random.randrange(12)]
            case 5:
                out[at : at + 1] = out[-1 - at : len(out) - at]
    return bytes(out)


def test_random_bytes_are_refused_or_harmless(yjs: Yjs) -> None:
    random = Random(1)
    for _ in range(20_000):
        data = random.randbytes(random.randrange(40))
        held = let_in(State(), data)
        if held is not None:
            check(yjs, [data], held, ordered=False)


def test_damaged_updates_are_refused_or_taken_alike(yjs: Yjs) -> None:
    random = Random(2)
    taken = 0
    for seed in range(100, 160):
        log, states = yjs.session(seed, random.choice([2, 5, 20]))
        for _ in range(100):
            count = random.randrange(len(log)) if log else 0
            state, before = State.of(log[:count]), log[:count]
            data = mutated(random.choice([log[count], *states[:1]]) if log else b"\0\0", random)
            held = let_in(state, data)
            if held is not None:
                taken += 1
                check(yjs, [*before, data], held, ordered=False)
    assert taken > 100


CONTENTS = [
    *[text(word) for word in ("a", "bc", "😀", "x😀y", "é", "\n")],
    *[shared(kind) for kind in (0, 1, 2, 4, 6)],
    shared(3, "p"),
    deleted(1),
    deleted(3),
    values(NULL),
    values(b"\x77" + string("q"), b"\x7d\5", NULL),
    embed('{"a":1}'),
    mark("bold", "true"),
    mark("bold", "null"),
    binary(b"ab"),
]
LENGTHS = [1, 2, 2, 4, *[1] * 9, 3, 1, 3, *[1] * 4]
ROOTS = ["content", "properties", "list", "default", "other"]


def forged(state: State, random: Random) -> bytes:
    """An update put together from valid parts that name each other at random."""
    clients = random.sample([*state.clocks, 7, 8, 9, 5_000_000_000], random.choice([1, 1, 2, 3]))
    first = {client: state.clocks.get(client, 0) for client in clients}
    for client, clock in first.items():
        if random.random() < 0.1:
            first[client] = max(0, clock - random.randrange(4))
    reached = state.clocks | first
    structs: dict[int, list[bytes]] = {client: [] for client in clients}

    def some() -> Id:
        known = [(client, clock) for client, clock in reached.items() if clock]
        if not known or random.random() < 0.03:
            return random.choice(clients), random.randrange(9)
        client, clock = random.choice(known)
        return client, clock - 1 - min(clock - 1, int(random.expovariate(0.3)))

    for _ in range(random.choice([1, 1, 2, 3, 5, 8])):
        client = random.choice(clients)
        chosen = random.randrange(len(CONTENTS) + 3)
        if chosen < len(CONTENTS):
            key = random.choice(["k", "l", "m😀"]) if random.random() < 0.3 else None
            place: dict[str, Any] = random.choice(
                [
                    {"left": some()},
                    {"left": some()},
                    {"right": some()},
                    {"left": some(), "right": some()},
                    {"parent": some(), "key": key},
                    {"parent": random.choice(ROOTS), "key": key},
                ]
            )
            structs[client].append(item(*CONTENTS[chosen], **place))
            reached[client] += LENGTHS[chosen]
        else:
            length = random.randrange(1, 4)
            structs[client].append((hole if random.random() < 0.1 else garbage)(length))
            reached[client] += length
    deletes = {}
    for client, clock in reached.items():
        if clock and random.random() < 0.2:
            bounds = sorted(
                random.sample(range(clock + 1), min(clock + 1, 2 * random.choice([1, 2])))
            )
            pairs = zip(bounds[::2], bounds[1::2], strict=False)
            deletes[client] = [(start, end - start) for start, end in pairs]
    listed = [(client, first[client], made) for client, made in structs.items() if made]
    return update(*sorted(listed, reverse=True), deletes=deletes.items())


def test_forged_updates_are_refused_or_taken_alike(yjs: Yjs) -> None:
    random = Random(3)
    taken = 0
    for seed in range(200, 290):
        log, _ = yjs.session(seed, random.choice([1, 3, 6, 20]))
        state = State.of(log)
        for _ in range(40):
            data = forged(state, random)
            held = let_in(state, data)
            if held is None:
                continue
            taken += 1
            check(yjs, [*log, data], held, ordered=False)
            log, state = [*log, data], held
    assert taken > 400
