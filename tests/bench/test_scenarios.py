"""The scenarios measure what they say, however small they are run."""

import subprocess
import sys
from random import Random

import psutil
import pytest
from pycrdt import Doc, Text

from bench.errors import BenchmarkFailed
from bench.scenarios.__main__ import main, table
from bench.scenarios.all import SCENARIOS
from bench.scenarios.queries import read_log
from bench.scenarios.resident import Peak, Resident
from bench.scenarios.scenario import Figure, Finding, Scenario, percentile, scaled
from bench.scenarios.soak import Sample, growth
from bench.scenarios.writing import pastes

SMOKE = 0.001
SHARES = {"soak": 0.003}  # a shorter one may end between two samples
JUDGED = {
    "presence": ["cursors no older than 2 s", "edits lost", "edit to reader, p99"],
    "joins": ["time to full content, p99", "peak memory over that before"],
    "idle": ["memory a socket"],
    "reconnect": ["bytes sent / bytes missed", "the same without the feed"],
    "overwrites": ["one writer: stored / content", "two in turn: bytes an overwrite"],
    "mix": ["operation, p95", "query, mean"],
    "soak": [
        "main process, growth in 100,000 updates",
        "workers, growth in 100,000 updates",
    ],
}
# What depends on neither the machine nor the size: the least and the most it can be.
KNOWN = {
    "cursors no older than 2 s": (99, 100),
    "edits lost": (0, 0),
    "the same without the feed": (1, 1.3),
    "one writer: stored / content": (1, 1.2),
    "two in turn: bytes an overwrite": (5, 13),
}


@pytest.mark.timeout(100)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_a_scenario_finds_what_is_asked_of_the_server(scenario: Scenario) -> None:
    finding = scenario.run(SHARES.get(scenario.name, SMOKE))
    judged = {row.name: row for row in finding.rows if row.holds is not None}
    assert list(judged) == JUDGED[scenario.name]
    for name, row in judged.items():
        assert row.must
        if name in KNOWN:
            least, most = KNOWN[name]
            assert least <= _number(row.value) <= most, row
    assert finding.note.endswith(".")


def _number(value: str) -> float:
    return float(value.split(maxsplit=1)[0].replace(",", ""))


def test_a_figure_says_whether_it_reaches_what_it_must() -> None:
    assert Figure.at_most("size", 2.0, 2, 1, "kB") == ("size", "2 kB", "2 kB", "1 kB", True)
    assert Figure.at_most("size", 2.01, 2, 1).holds is False
    assert Figure.at_least("seen", 90, 90, "%") == ("seen", "90 %", "90 %", "", True)
    assert Figure.at_least("seen", 89.9, 90).holds is False
    assert Figure.stated("rate", 12_345.6, "/s") == ("rate", "12,346 /s", "", "", None)


def test_a_table_says_no_where_a_figure_falls_short() -> None:
    rows = [Figure.at_most("much", 30.0, 2, 1), Figure.stated("more", 4.0)]
    assert table(Finding(rows, "")).splitlines() == [
        "      measured  must  aim",
        "much  30        2     1    NO",
        "more  4",
    ]


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (0.0, 1.0)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == value


def test_a_share_of_a_size_has_a_least() -> None:
    assert [scaled(200, share, 5) for share in (1.0, 0.1, 0.001)] == [200, 20, 5]


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["joins", "--share", "0"], ["joins", "--share", "x"]]
)
def test_what_cannot_be_run_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert arguments[-1] in capsys.readouterr().err.splitlines()[-1]


def test_pastes_append_texts_of_their_sizes() -> None:
    document: Doc[Text] = Doc()
    text = document.get("content", type=Text)
    for update, length in zip(pastes([10, 300, 5], Random(1)), (10, 310, 315), strict=True):
        document.apply_update(update)
        assert len(str(text)) == length


def test_growth_is_the_slope_over_the_updates() -> None:
    samples = [Sample(number * 1000, 10**8 + number * 5000, 0) for number in range(10)]
    sizes = [sample.main for sample in samples]
    assert growth("main", samples, sizes) == Figure.at_most(
        "main, growth in 100,000 updates", 0.5, 1, 0.1, "MB"
    )
    with pytest.raises(BenchmarkFailed, match="larger share"):
        growth("main", samples[:2], sizes[:2])


def test_the_peak_of_a_process_is_seen_after_it_has_passed() -> None:
    code = (
        "import sys\n"
        "for line in sys.stdin:\n"
        "    held = b'x' * int(line)\n"
        "    del held\n"
        "    print('done', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def hold(size: int) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{size}\n")
            process.stdin.flush()
            process.stdout.readline()

        hold(1)
        before = Resident(process.pid).main
        hold(60_000_000)
        peak = Peak(process.pid)
        assert peak.size - before < 5_000_000  # what was before is forgotten
        hold(30_000_000)
        assert 25_000_000 < peak.size - before < 40_000_000
        assert Resident(process.pid).main - before < 5_000_000
        assert Resident(process.pid).workers == 0
        process.stdin.close()


def test_memory_of_workers_is_that_of_a_process_children() -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'print(1, flush=True); input()'],"
        " stdin=subprocess.PIPE)\n"
        "input()\n"
        "child.communicate()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        [child] = psutil.Process(process.pid).children()
        assert Resident(process.pid).workers == child.memory_info().rss > 0
        process.communicate("\n")


def test_queries_are_read_from_the_log_of_postgresql() -> None:
    log = (
        "00:00:00 UTC [7] LOG:  duration: 0.500 ms  statement: BEGIN;\n"
        "00:00:00 UTC [7] LOG:  duration: 1.000 ms  parse __asyncpg_stmt_1__: \n"
        "\t    SELECT 1 FROM t WHERE note = 'duration: 9 ms'\n"
        "00:00:00 UTC [7] LOG:  duration: 0.250 ms  bind __asyncpg_stmt_1__: SELECT 1\n"
        "00:00:00 UTC [7] LOG:  duration: 0.250 ms  execute __asyncpg_stmt_1__: SELECT 1\n"
        "00:00:00 UTC [7] LOG:  duration: 2.000 ms  statement: COMMIT;\n"
        "00:00:00 UTC [8] LOG:  duration: 1.000 ms  statement: UPDATE t SET a = 1\n"
        "00:00:00 UTC [8] LOG:  received SIGHUP, reloading configuration files\n"
    )
    queries = read_log(log)
    assert queries.number == 2
    assert queries.mean == pytest.approx(0.0025)
