"""The benchmark measures what it says, and its report has a row for every load."""

import subprocess
import sys
import time
from random import Random

import psutil
import pytest
from pycrdt import Doc, Text

from bench.__main__ import main, measure
from bench.cpu import Meter
from bench.edits import keystrokes
from bench.errors import BenchmarkFailed
from bench.loads import LOADS
from bench.report import percentile
from bench.websocket import messages
from bench.wires import Counter, memo_frames
from protocol import frames
from server.connection import MemoWire
from server.websocket import binary_message
from server.yjs import YjsWire

UPDATES = [b"\x00\x00", b"\x00\x00", b"\x00\x00"]


@pytest.mark.timeout(60)
def test_the_report_has_a_row_of_measurements_for_every_load() -> None:
    started = time.monotonic()
    page = measure([load.scaled(0) for load in LOADS], runs=1)
    assert time.monotonic() - started < 50
    rows = {
        cells[0]: [float(cell.split()[0].strip("%").replace(",", "")) for cell in cells[1:]]
        for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in page.split("\n"))
        if len(cells) > 1 and cells[1][:1].isdigit()
    }
    assert list(rows) == [load.name for load in LOADS]
    for name, values in rows.items():
        rate, *_ = values
        assert rate > 0, name
        assert max(values[1:]) > 0, name


def test_a_name_that_no_load_has_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--only", "nothing"]) == 2
    assert capsys.readouterr().err == "bench: no load's name has 'nothing' in it\n"


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


def test_updates_are_counted_on_both_wires() -> None:
    arrived: list[int] = []
    memo, yjs = Counter("/ws", arrived.append), Counter("/yjs", arrived.append)
    pushed = MemoWire().push(1, 1, UPDATES)
    for _ in range(2):  # the second time it is known
        assert memo(pushed) == b""
        assert yjs(YjsWire().push(1, 1, UPDATES)) == b""
    assert memo(binary_message(frames.encode(frames.Ack(1, 1, 1)))) == b""
    assert memo(pushed + pushed[:5]) == pushed[:5]
    assert arrived == [3, 3, 3, 3, 0, 3]


def test_a_refusal_ends_the_benchmark() -> None:
    refused = frames.Error(None, frames.ErrorBody("gone", "It is gone."))
    with pytest.raises(BenchmarkFailed, match="gone: It is gone"):
        memo_frames(frames.encode(refused))


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
