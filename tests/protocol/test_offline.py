"""One suite for every offline store, and what a file must outlive."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from protocol.errors import ErrorCode, MemoError
from protocol.offline import Kept, MemoryStore, OfflineStore, SqliteStore

ONE, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OfflineStore]:
    store: OfflineStore = (
        MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "offline.db")
    )
    yield store
    store.close()


def test_nothing_is_kept_of_an_unknown_document(store: OfflineStore) -> None:
    assert store.load(ONE) == Kept(None, 0, [], [])


def test_recorded_edits_are_pending_in_their_order(store: OfflineStore) -> None:
    first = store.record(ONE, b"a")
    store.record(OTHER, b"x")
    second = store.record(ONE, b"b")
    assert first < second
    kept = store.load(ONE)
    assert kept.updates == [b"a", b"b"]
    assert kept.pending == [(first, b"a"), (second, b"b")]
    assert kept.epoch is None


def test_received_updates_carry_the_position(store: OfflineStore) -> None:
    store.receive(ONE, [b"a", b"b"], "e", 2)
    store.receive(ONE, [], "e", 3)
    assert store.load(ONE) == Kept("e", 3, [b"a", b"b"], [])
    assert store.load(OTHER) == Kept(None, 0, [], [])


def test_settled_edits_stay_as_content_in_their_place(store: OfflineStore) -> None:
    first = store.record(ONE, b"a")
    other = store.record(OTHER, b"x")
    second = store.record(ONE, b"b")
    store.receive(ONE, [b"c"], "e", 1)
    third = store.record(ONE, b"d")
    store.settle(ONE, range(first, second + 1), "e", 2)
    assert store.load(ONE) == Kept("e", 2, [b"a", b"b", b"c", b"d"], [(third, b"d")])
    assert store.load(OTHER).pending == [(other, b"x")]


def test_an_ack_of_nothing_recorded_moves_the_position_alone(store: OfflineStore) -> None:
    number = store.record(ONE, b"a")
    store.settle(ONE, range(0), "e", 7)
    assert store.load(ONE) == Kept("e", 7, [b"a"], [(number, b"a")])


def test_compacting_leaves_pending_edits_and_other_documents(store: OfflineStore) -> None:
    store.receive(ONE, [b"a", b"b"], "e", 2)
    store.receive(OTHER, [b"x"], "o", 1)
    number = store.record(ONE, b"c")
    store.compact(ONE, b"ab", "e", 2)
    kept = store.load(ONE)
    assert (kept.epoch, kept.offset) == ("e", 2)
    assert sorted(kept.updates) == [b"ab", b"c"]
    assert kept.pending == [(number, b"c")]
    assert store.load(OTHER) == Kept("o", 1, [b"x"], [])


def test_a_forgotten_document_is_unknown(store: OfflineStore) -> None:
    store.receive(ONE, [b"a"], "e", 1)
    store.record(ONE, b"b")
    store.record(OTHER, b"x")
    store.forget(ONE)
    assert store.load(ONE) == Kept(None, 0, [], [])
    assert store.load(OTHER).updates == [b"x"]


def test_ids_are_never_used_again(store: OfflineStore) -> None:
    number = store.record(ONE, b"a")
    store.forget(ONE)
    assert store.record(ONE, b"b") > number


def test_requests_stand_in_the_line_in_their_order_until_they_are_taken_out(
    store: OfflineStore,
) -> None:
    assert list(store.queued()) == []
    first = store.enqueue("memories.delete", b"one", "2026-01-31T08:30:00.000Z")
    second = store.enqueue("memories.create", b"two", "2026-01-31T08:31:00.000Z")
    assert first.number < second.number
    assert list(store.queued()) == [first, second]
    assert store.dequeue(first.number)
    assert not store.dequeue(first.number)
    assert list(store.queued()) == [second]
    assert store.dequeue(second.number)
    assert store.enqueue("memories.delete", b"three", "").number > second.number


def test_a_file_keeps_what_was_recorded_before_it_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "offline.db"
    first = SqliteStore(path)
    first.receive(ONE, [b"a"], "e", 1)
    number = first.record(ONE, b"b")
    first.close()
    second = SqliteStore(path)
    assert second.load(ONE) == Kept("e", 1, [b"a", b"b"], [(number, b"b")])
    second.close()


def test_a_killed_process_loses_nothing_that_it_recorded(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from uuid import UUID
from protocol.offline import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
store.receive(UUID(int=1), [b"theirs"], "e", 4)
store.record(UUID(int=1), b"mine")
print("recorded", flush=True)
sys.stdin.read()
"""
    path = tmp_path / "offline.db"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"recorded\n"
        process.send_signal(signal.SIGKILL)
    store = SqliteStore(path)
    kept = store.load(ONE)
    assert (kept.epoch, kept.offset, kept.updates) == ("e", 4, [b"theirs", b"mine"])
    assert [update for _, update in kept.pending] == [b"mine"]
    store.close()


def test_a_file_in_use_is_a_conflict_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "offline.db"
    store = SqliteStore(path)
    with pytest.raises(MemoError, match=r"offline\.db") as caught:
        SqliteStore(path)
    assert caught.value.code is ErrorCode.CONFLICT
    store.close()
    SqliteStore(path).close()


def test_a_file_that_is_no_store_is_a_coded_error(tmp_path: Path) -> None:
    path = tmp_path / "offline.db"
    path.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(MemoError, match="offline store failed") as caught:
        SqliteStore(path)
    assert caught.value.code is ErrorCode.INTERNAL


def test_a_file_that_cannot_be_opened_is_a_coded_error(tmp_path: Path) -> None:
    with pytest.raises(MemoError) as caught:
        SqliteStore(tmp_path / "missing" / "offline.db")
    assert caught.value.code is ErrorCode.INTERNAL


def test_a_write_that_fails_is_a_coded_error_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "offline.db"
    SqliteStore(path).close()
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TRIGGER full BEFORE INSERT ON positions BEGIN SELECT RAISE(FAIL, 'full'); END"
    )
    database.close()
    store = SqliteStore(path)
    with pytest.raises(MemoError, match="full") as caught:
        store.receive(ONE, [b"a"], "e", 1)
    assert caught.value.code is ErrorCode.INTERNAL
    assert store.load(ONE) == Kept(None, 0, [], [])
    store.close()
