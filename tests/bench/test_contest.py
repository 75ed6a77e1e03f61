"""Peers are started, put under load and left out, with their reasons, when they fail."""

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest

from bench.contest import Field, Standing, held
from bench.errors import BenchmarkFailed
from bench.host import Contestant
from bench.loads import Broadcast, Contest, Crowd, Target
from bench.peers.installation import NotInstalled, _install
from bench.peers.peer import PROGRAMS, Peer, Program, serving

STAND_IN = Program(
    "stand-in",
    "y-websocket",
    lambda: None,
    (sys.executable, str(Path(__file__).with_name("stand_in.py"))),
)
LOADS: list[Contest] = [
    Broadcast(readers=3, in_flight=2, updates=20, warm_up=5, target=Target(1, 1)),
    Crowd(readers=3, rate=100, seconds=0.1, warm_up=0.05, target=Target(1, 1)),
]


@pytest.fixture(scope="module")
def generator() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


def test_every_delivery_of_every_load_is_counted(generator: ProcessPoolExecutor) -> None:
    with serving(STAND_IN) as peer:
        contestant = Contestant("stand-in", STAND_IN.wire, peer)
        broadcast, crowd = standings = [Standing(load, {}, {}) for load in LOADS]
        for seed in range(2):
            held(standings, seed, Field([contestant], [], {}), generator, None)
    assert [run.deliveries for run in broadcast.runs["stand-in"]] == [60, 60]
    assert [run.deliveries for run in crowd.runs["stand-in"]] == [30, 30]
    for run in (*broadcast.runs["stand-in"], *crowd.runs["stand-in"]):
        assert run.usage.server > 0
        assert run.usage.postgres == 0
    for run in crowd.runs["stand-in"]:
        assert len(run.latencies) == 30
        assert run.latencies == sorted(run.latencies)
        assert run.latencies[0] > 0


def test_a_peer_that_fails_is_left_out_with_its_reason(generator: ProcessPoolExecutor) -> None:
    with serving(STAND_IN) as peer:
        pass
    gone = Contestant("gone", "y-websocket", Peer(psutil.Process().pid, peer.port))
    with serving(STAND_IN) as peer:
        works = Contestant("works", "y-websocket", peer)
        standing = Standing(LOADS[0], {}, {})
        for seed in range(2):
            held([standing], seed, Field([works], [gone], {}), generator, None)
    assert list(standing.runs) == ["works"]
    assert len(standing.runs["works"]) == 2
    assert list(standing.failed) == ["gone"]
    assert "nobody listens on port" in standing.failed["gone"]


def test_a_failure_of_this_server_ends_the_benchmark(generator: ProcessPoolExecutor) -> None:
    with serving(STAND_IN) as peer:
        pass
    gone = Contestant("gone", "y-websocket", Peer(psutil.Process().pid, peer.port))
    with pytest.raises(BenchmarkFailed, match="nobody listens on port"):
        held([Standing(LOADS[0], {}, {})], 1, Field([gone], [], {}), generator, None)


def test_a_peer_that_does_not_start_says_why() -> None:
    broken = STAND_IN._replace(command=(sys.executable, "-c", "raise SystemExit('no such thing')"))
    refused = pytest.raises(BenchmarkFailed, match="stand-in did not start: no such thing")
    with refused, serving(broken):
        pass


def test_a_peer_is_gone_when_it_is_no_longer_needed() -> None:
    with serving(STAND_IN) as peer:
        process = psutil.Process(peer.pid)
        assert process.is_running()
    assert not process.is_running()


def test_the_names_of_the_peers_differ() -> None:
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)


def test_what_cannot_be_installed_says_why_in_one_line(tmp_path: Path) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("something")
    fails = [sys.executable, "-c", "import sys; sys.exit('first\\nno such package')"]
    with pytest.raises(NotInstalled, match=r"^python.* failed: no such package$"):
        _install([fails], pins, tmp_path)
    with pytest.raises(NotInstalled, match="there is no no-such-program on this machine"):
        _install([["no-such-program"]], pins, tmp_path)


def test_what_was_installed_is_not_installed_again_until_its_pins_change(tmp_path: Path) -> None:
    pins, count = tmp_path / "pins.txt", tmp_path / "count"
    pins.write_text("one")
    add = f"open({str(count)!r}, 'a').write('x')"
    for _ in range(2):
        _install([[sys.executable, "-c", add]], pins, tmp_path)
    assert count.read_text() == "x"
    pins.write_text("two")
    _install([[sys.executable, "-c", add]], pins, tmp_path)
    assert count.read_text() == "xx"
