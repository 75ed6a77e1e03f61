"""Smoke runs of what is measured beside the benchmark: it runs to its end, and figures come out."""

from pathlib import Path

import pytest

from bench import caching, constants, records
from bench.loads import Stream
from bench.parts import local_postgres, local_redis


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (caching, "SECONDS", 0.05),
        (caching, "RUNS", 1),
        (records, "ACCOUNTS", 2),
        (records, "MEMORIES", 3),
        (constants, "TYPING", Stream(documents=4, devices=2, rate=40, seconds=0.5, warm_up=0.2)),
        (constants, "ARRIVALS", 4),
        (constants, "MESSAGES", 500),
        (constants, "TOPICS", 10),
        (constants, "DOCUMENTS", 20),
        (constants, "LOOKS", 20),
        (constants, "LOOKED_AT", 20),
    ):
        monkeypatch.setattr(module, name, value)


def test_each_read_is_shown_beside_its_cache_at_one_and_at_many_in_flight(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert caching.main() == 0
    one, many = capsys.readouterr().out.split("## 1 in flight")[1].split("## 50 in flight")
    for part in (one, many):
        assert part.count("| PostgreSQL |") == part.count("| Redis GET |") == 4
        assert part.count("% misses |") == 4


async def test_an_update_takes_what_it_holds_and_more_in_the_log_before_it(
    data_directory: Path,
) -> None:
    async with local_postgres(data_directory) as pool:
        found = await constants._storage(pool)
    # A keystroke's row with its index, and what stands before it in the write-ahead log.
    assert 50 < found.stored < 5000
    assert found.wal > found.stored
    assert found.look > 0


async def test_messages_cost_their_node_and_redis(data_directory: Path) -> None:
    with local_redis(data_directory) as (place, redis):
        found = await constants._broker(f"unix://{place}", redis)
    assert found.publish > 0
    assert found.redis > 0


def test_updates_and_arrivals_cost_a_node_and_its_database() -> None:
    found = constants._node()
    assert found.update > 0
    assert found.postgres > 0
    assert found.arrival > 0
    assert found.postgres_arrival > 0
