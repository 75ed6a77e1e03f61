"""The tables of the comparison: medians, ratios to Hocuspocus, and what they must and aim at."""

import re

from bench.comparison import compared, opened
from bench.contest import Standing
from bench.cpu import Usage
from bench.generator import ContestRun
from bench.loads import Broadcast, Crowd, Target
from bench.opening import LongDocument, Opening

BROADCAST = Broadcast(readers=99, in_flight=1, updates=10, warm_up=1, target=Target(0.75, 0.55))
CROWD = Crowd(readers=50, rate=10, seconds=1, warm_up=1, target=Target(1.0, 0.5))


def test_a_ratio_is_of_medians_of_all_processes_but_postgresql() -> None:
    ours = [_run(server=6.0, workers=1.0, postgres=9.0), _run(server=4.0, workers=1.0)]
    ours.append(_run(server=99.0))
    [row] = _rows(_page(BROADCAST, ours, [_run(server=10.0)] * 3), "this server, /ws")
    assert row[:6] == ["7.0 µs", "0.70", "0.75 (met)", "0.55 (missed)", "", "1.0 µs"]


def test_what_is_above_its_bound_is_named_missed() -> None:
    [row] = _rows(_page(BROADCAST, [_run(server=8.0)], [_run(server=10.0)]), "this server, /ws")
    assert row[1:4] == ["0.80", "0.75 (missed)", "0.55 (missed)"]


def test_nothing_is_asked_of_a_peer() -> None:
    [row] = _rows(_page(BROADCAST, [_run(server=8.0)], [_run(server=10.0)]), "Hocuspocus")
    assert row[1:4] == ["1.00", "", ""]


def test_the_ratio_to_the_older_hocuspocus_stands_beside_it() -> None:
    runs = {
        "this server, /ws": [_run(server=8.0)],
        "Hocuspocus": [_run(server=10.0)],
        "Hocuspocus 3.4": [_run(server=16.0)],
    }
    page = compared([Standing(BROADCAST, runs, {})], {})
    assert _rows(page, "this server, /ws")[0][4] == "0.50"
    assert _rows(page, "Hocuspocus 3.4")[0][1:5] == ["1.60", "", "", "1.00"]


def test_without_hocuspocus_there_are_numbers_and_no_ratios() -> None:
    page = compared(
        [Standing(BROADCAST, {"this server, /ws": [_run(server=8.0)]}, {})],
        {"Hocuspocus": "there is no npm on this machine"},
    )
    [row] = _rows(page, "this server, /ws")
    assert row[:4] == ["8.0 µs", "", "", ""]
    assert "- Not measured: Hocuspocus (there is no npm on this machine).\n" in page


def test_a_crowd_has_the_99th_percentile_and_its_ratio() -> None:
    ours = _run(server=5.0, latencies=[0.001] * 98 + [0.004] * 2)
    peer = _run(server=10.0, latencies=[0.010] * 100)
    [row] = _rows(_page(CROWD, [ours], [peer]), "this server, /ws")
    assert row[7:12] == ["1.00 ms", "4.00 ms", "0.40", "1 (met)", "0.5 (met)"]


def test_the_spread_is_that_of_the_runs() -> None:
    runs = [_run(server=8.0), _run(server=10.0), _run(server=13.0)]
    [row] = _rows(_page(BROADCAST, runs, [_run(server=10.0)]), "this server, /ws")
    assert row[8] == "50%"


def test_a_peer_that_failed_is_named_with_its_reason() -> None:
    runs = {"this server, /ws": [_run(server=8.0)], "Slow": [_run(server=90.0)]}
    page = compared([Standing(BROADCAST, runs, {"Slow": "it did not keep up"})], {})
    assert "\nSlow failed in run 2: it did not keep up.\n" in page


def test_the_long_document_is_compared_and_weighed() -> None:
    document = LongDocument(
        edits=1000,
        characters=400,
        ours=[Opening("this server, /ws", [0.010, 0.030, 0.020])],
        stored=20_000,
        stored_trimmed=1400,
        peer=Opening("Hocuspocus", [0.040]),
        peer_stored=800,
    )
    page = opened(document, {})
    [row] = _rows(page, "this server, /ws")
    assert row == ["20.00 ms", "0.50", "10.00 ms", "30.00 ms", "1,400 B", "3.50"]
    [peer] = _rows(page, "Hocuspocus")
    assert peer == ["40.00 ms", "1.00", "40.00 ms", "40.00 ms", "800 B", "2.00"]
    assert "must 4 (met), aim 3 (missed)" in page
    assert re.search(r"20,000 B,\s+50.0 times", page)


def _page(load: Broadcast | Crowd, ours: list[ContestRun], peer: list[ContestRun]) -> str:
    return compared([Standing(load, {"this server, /ws": ours, "Hocuspocus": peer}, {})], {})


def _run(
    server: float,
    workers: float = 0.0,
    postgres: float = 0.0,
    latencies: list[float] | None = None,
) -> ContestRun:
    """A run of a million deliveries, so that seconds are microseconds of each."""
    return ContestRun(Usage(server, workers, postgres, 0.5, 1.0), 1_000_000, latencies or [])


def _rows(page: str, name: str) -> list[list[str]]:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.split("\n")]
    return [line[1:] for line in lines if line and line[0] == name]
