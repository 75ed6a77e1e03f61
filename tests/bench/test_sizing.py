"""The sizing adds up, follows what was measured, and refuses figures that are none."""

from pathlib import Path

import msgspec
import pytest

from bench.errors import BenchmarkFailed
from bench.sizing import BUSY, Habits, Measured, main, needs, table

# Each figure is another, so that no two can be mixed up unnoticed.
MEASURED = Measured(
    date="2026-01-31",
    place="a machine",
    node_update=100.0,
    rows_update=20.0,
    postgres_update=300.0,
    commit=2500.0,
    stored_update=160.0,
    wal_update=2000.0,
    delivery=10.0,
    idle_socket=3.0,
    socket_bytes=14_000.0,
    arrival=5000.0,
    postgres_arrival=1500.0,
    redis_message=4.0,
    publish=11.0,
    receive=7.0,
    look=0.5,
)
HABITS = Habits(
    online=0.1,
    sockets=2.0,
    writing=0.05,
    edits=2.0,
    readers=3.0,
    documents=4.0,
    shared=0.5,
    visits=3.6,
    busy_hours=5.0,
)


def test_needs_are_what_each_thing_costs_times_how_often_it_happens() -> None:
    found = needs(10_000, MEASURED, HABITS)
    assert found.sockets == 2000
    assert found.updates == pytest.approx(200)
    assert found.deliveries == pytest.approx(600)
    assert found.arrivals == pytest.approx(2)
    assert found.rooms == 8000
    # Updates, deliveries, sockets, arrivals, messages: microseconds a second.
    node = 200 * 120 + 600 * 10 + 2000 * 3 + 2 * 5000 + 200 * (11 + 7 * 0.5)
    assert found.node_cores == pytest.approx(node / 1e6)
    assert found.postgres_cores == pytest.approx((200 * 300 + 2 * 1500 + 800 * 0.5) / 1e6)
    assert found.redis_cores == pytest.approx(200 * 4 / 1e6)
    assert found.memory == 28_000_000
    assert found.log_bytes == pytest.approx(200 * 5 * 3600 * 160)
    assert found.wal_bytes == pytest.approx(200 * 5 * 3600 * 2000)


def test_a_few_people_have_two_of_each_so_that_one_may_fail() -> None:
    few = needs(10, MEASURED, HABITS)
    assert (few.workers, few.machines) == (2, 2)


def test_workers_have_room_to_spare() -> None:
    many = needs(10_000_000, MEASURED, HABITS)
    assert many.node_cores / many.workers <= BUSY
    assert many.node_cores / (many.workers - 1) > BUSY
    assert 8 * (many.machines - 1) < many.workers <= 8 * many.machines


def test_commits_are_shared_the_more_the_busier_the_workers_are() -> None:
    few, many = needs(1000, MEASURED, HABITS), needs(10_000_000, MEASURED, HABITS)
    assert 0.9 < few.commits / few.updates < 1
    assert many.commits < 0.8 * many.updates


def test_the_table_has_a_column_for_each_number_of_people() -> None:
    lines = table(MEASURED, HABITS, (1000, 10_000_000)).splitlines()
    assert lines[0] == "| people | 1,000 | 10,000,000 |"
    assert "| sockets | 200 | 2,000,000 |" in lines
    assert {line.count("|") for line in lines} == {4}


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    MEASURED.write(path)
    assert Measured.read(path) == MEASURED
    assert path.read_bytes().endswith(b"\n}\n")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"look": -1.0}, "look is -1 and has to be positive"),
        ({"look": 0}, "look is 0 and has to be positive"),
        ({"look": "fast"}, "look"),
        ({"lock": 1.0}, "lock"),
    ],
)
def test_a_figure_that_is_none_is_named(
    changed: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "measured.json"
    path.write_bytes(msgspec.json.encode({**msgspec.structs.asdict(MEASURED), **changed}))
    with pytest.raises(BenchmarkFailed, match=said):
        Measured.read(path)


def test_a_figure_that_is_none_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    MEASURED.write(path)
    with pytest.raises(BenchmarkFailed, match="receive is -2 and has to be positive"):
        msgspec.structs.replace(MEASURED, receive=-2.0).write(path)
    assert Measured.read(path) == MEASURED


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="cannot be used"):
        Measured.read(tmp_path / "measured.json")


def test_assumptions_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["5000", "--online", "0.5", "--sockets", "1"]) == 0
    assert "| sockets | 2,500 |" in capsys.readouterr().out


def test_the_table_of_the_documentation_is_the_one_that_is_computed() -> None:
    page = Path(__file__).parents[2] / "docs" / "scaling.md"
    assert table(Measured.read(), Habits()) in page.read_text()
