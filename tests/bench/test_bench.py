"""The benchmark measures what it says, and its report has a row for every load."""

import subprocess
import sys
import time
from random import Random

import psutil
import pytest
from pycrdt import Doc, Text

from bench.__main__ import Plan, main, measure
from bench.cpu import Meter
from bench.edits import keystrokes
from bench.loads import CONTESTS, STREAMS
from bench.table import percentile
from bench.websocket import messages
from server.websocket import binary_message


@pytest.mark.timeout(100)
def test_the_report_has_rows_of_measurements_for_every_load() -> None:
    started = time.monotonic()
    contests = [load.scaled(0) for load in CONTESTS]
    streams = [load.scaled(0) for load in STREAMS]
    page = measure(Plan(contests=contests, streams=streams, edits=200))
    assert time.monotonic() - started < 90
    ours = ["this server, /ws", "this server, /yjs"]
    expected = [*ours * len(contests), *ours, *(load.name for load in streams)]
    found = _rows(page)
    assert [name for name, _ in found] == expected
    for name, numbers in found:
        assert numbers[0] > 0, name
    assert [heading for heading in page.split("\n") if heading.startswith("### ")] == [
        f"### {load.name}" for load in contests
    ]


def _rows(page: str) -> list[tuple[str, list[float]]]:
    """What the tables' rows are called, and their numbers."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.split("\n")]
    return [
        (name, [float(cell.split()[0].strip("%").replace(",", "")) for cell in cells if cell])
        for name, *cells in (line for line in lines if len(line) > 1)
        if cells[0][:1].isdigit()
    ]


def test_a_name_that_no_load_has_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--only", "nothing"]) == 2
    assert capsys.readouterr().err == "bench: nothing has 'nothing' in its name\n"


def test_keystrokes_are_updates_of_one_character_each() -> None:
    document: Doc[Text] = Doc()
    text = document.get("content", type=Text)
    for length, update in enumerate(keystrokes(30, Random(1)), 1):
        document.apply_update(update)
        assert len(str(text)) == length


def test_keystrokes_are_the_same_for_the_same_seed() -> None:
    assert keystrokes(5, Random(1)) == keystrokes(5, Random(1))
    assert keystrokes(5, Random(1)) != keystrokes(5, Random(2))


@pytest.mark.parametrize("size", [0, 125, 126, 70_000])
def test_messages_are_found_wherever_the_stream_is_cut(size: int) -> None:
    stream = binary_message(bytes(size)) + binary_message(b"second")
    for cut in {0, 1, 2, 3, 9, 11, len(stream) - 1, len(stream)}:
        found, rest = messages(stream[:cut])
        more, nothing = messages(rest + stream[cut:])
        assert [*found, *more] == [bytes(size), b"second"]
        assert nothing == b""


def test_the_time_of_a_process_and_of_its_children_that_ended_is_counted() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    parent = f"import subprocess, sys\n{burn}\nsubprocess.run([sys.executable, '-c', {burn!r}])"
    code = f"{parent}\nprint('done', flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        usage = Meter(process.pid).read()
        own = psutil.Process(process.pid).cpu_times()
        process.communicate()
    assert 0.2 <= usage.server < own.user + own.system + 0.1
    assert usage.workers >= 0.19  # in ticks of 10 ms
    assert usage.postgres == 0


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (0.0, 1.0)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == value
